"""The cards of the solver's report, one function each: its question, its answer in words, its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slackwise.reports.solver.cards import Card, change, hours, table
from slackwise.reports.solver.shadow import Binding
from slackwise.reports.words import percent, seconds
from slackwise.simulator import Configuration
from slackwise.solver.confirm import Confirmed
from slackwise.solver.multiples import Multiple
from slackwise.solver.replay import Replayed
from slackwise.solver.study import PlanStudy

MOST_ROWS = 60
"""Rows of the decision table; the JSON document has all."""


def verdict(study: PlanStudy, fresh: Replayed, later: Replayed, today: Replayed) -> Card:
    """One sentence: what it costs, what it attains where it was not planned for, against today."""
    saved = change(fresh.cost, today.cost)
    target = study.request.target
    kept = "and keeps" if later.attainment >= target else "but misses"
    line = (
        f"Run {study.plan.option.topology} on up to {int(study.plan.gpus(study.data).max())} GPUs: "
        f"{hours(fresh.cost)} {study.request.hardware.unit} instead of today's {hours(today.cost)} ({saved}), with "
        f"{percent(fresh.attainment)} of requests within the objectives instead of {percent(today.attainment)}; on the "
        f"held-out part it attains {percent(later.attainment)} {kept} the target of {percent(target)}."
    )
    return Card("verdict", "Verdict", (line,), data={"holds_out_of_sample": later.attainment >= target})


def infeasible(message: str) -> Card:
    """Why there is no plan, in business words."""
    return Card("verdict", "Verdict", (f"There is no such plan: {message}.",), data={"remedies": message})


def decision(study: PlanStudy, today: Configuration, now: Replayed) -> Card:
    """What to run when, and the difference to today."""
    data, plan, rows = study.data, study.plan, study.schedule()
    ever = np.flatnonzero(plan.ready.any(axis=0))
    used = sorted(ever.tolist(), key=lambda at: (-data.kinds[at].tensor_parallel, at))
    present = today.cluster.gpus
    cells = [
        (each["windows"], each["from"], each["fleet"], str(each["gpus"]), f"{each['gpus'] - present:+d}")
        for each in rows
    ]
    lines = [
        f"The TTFT objective is split as {plan.option.describe(data)}.",
        f"Today: {today.cluster.describe()}, all the time. {len(rows)} stretches of {data.window_s:g}-s windows follow"
        + (f"; the first {MOST_ROWS} are shown, report.json has all." if len(rows) > MOST_ROWS else "."),
    ]
    figure = {
        "kinds": [study.named(at) for at in used],
        "gpus": [(plan.ready[:, at] * data.kinds[at].tensor_parallel).tolist() for at in used],
        "load_rps": data.load.max(axis=0).tolist(),
        "window_s": data.window_s,
        "schedule": rows,
        "plan": plan.to_json(data),
        "today": {"cluster": today.cluster.describe(), **now.to_json()},
    }
    shown = table(("windows", "from", "instances", "GPUs", "against today"), cells[:MOST_ROWS])
    most = int(plan.gpus(data).max())
    alt = f"GPUs ready by kind over the plan, at most {most}, above the demand in requests per second."
    return Card("decision", "What to run when", tuple(lines), (shown,), figure, "fleet", alt)


def objective(study: PlanStudy) -> Card:
    """The price by term."""
    terms = study.plan.terms(study.data)
    total = sum(terms.values())
    rows = [(name, hours(value), percent(value / total)) for name, value in terms.items()]
    line = (
        f"What is minimised, {_unit(study)}: GPUs that serve, GPUs while they start, and "
        f"{study.request.terms.switch_gpu_s:g} GPU-seconds for every GPU switched on."
    )
    tables = [table(("term", _heading(study), "share"), [*rows, ("all", hours(total), percent(1.0))])]
    types = study.gpu_hours()
    if len(study.request.hardware.gpus) > 1:
        tables.append(
            table(("GPU type", "GPU-hours that serve"), [(gpu, f"{each:,.2f}") for gpu, each in types.items()])
        )
    data = {"terms_gpu_s": terms, "unit": study.request.hardware.unit, "gpu_hours": types}
    return Card("objective", "Objective by term", (line,), tuple(tables), data)


def _heading(study: PlanStudy) -> str:
    """Of a column of model costs."""
    return "GPU-hours" if study.request.hardware.prices is None else "cost"


def _unit(study: PlanStudy) -> str:
    prices = study.request.hardware.prices
    if prices is None:
        return "in GPU-hours"
    named = ", ".join(f"{each:g} of {gpu}" for gpu, each in zip(study.request.hardware.gpus, prices, strict=True))
    return f"at the prices of a GPU-hour given ({named})"


def proof(study: PlanStudy) -> Card:
    """How good the plan is at least."""
    result, limits = study.result, study.request.limits
    rows = [
        ("plan", f"{hours(result.objective or 0.0)} {study.request.hardware.unit}"),
        ("bound: no plan costs less", f"{hours(result.bound)} {study.request.hardware.unit}"),
        ("gap", f"{100 * (result.gap or 0.0):.2f} %, {percent(limits.gap)} asked for"),
        ("verdict", result.status),
        ("limits", f"seconds {limits.seconds or 'none'}, work {limits.work or 'none'}, workers {limits.workers}"),
        ("solver", f"{result.solver}, OR-Tools {result.version}, seed {result.seed}"),
        ("rules", "checked anew by a validator that uses no solver"),
    ]
    line = "The bound holds for the model: kinds, windows and capacities as given. The replays below test the model."
    return Card("proof", "Proof", (line,), (table(("what", "value"), rows),), result.to_json(times=False))


def binding(found: Sequence[Binding], study: PlanStudy) -> Card:
    """What binds."""
    rows = [(each.limit, str(each.windows), percent(each.windows / each.of)) for each in found]
    split = study.plan.option.describe(study.data)
    line = f"Limits that bind, and in how many windows. The split of the TTFT objective ({split}) binds in all of them."
    shown = table(("limit", "windows", "share"), rows)
    return Card("binding", "Binding constraints", (line,), (shown,), {"binding": [vars(each) for each in found]})


def values(study: PlanStudy, marginal: Mapping[str, float], others: Mapping[str, PlanStudy | None]) -> Card:
    """Marginal values of the LP beside exact re-solves."""
    base = study.result.objective or 0.0
    approximate = [(name, f"{value / 3600:+,.2f}") for name, value in marginal.items()]
    exact = []
    for name, each in others.items():
        cost = None if each is None else each.result.objective
        exact.append((name, "infeasible", "-") if cost is None else (name, hours(cost), change(cost, base)))
    lines = (
        "Approximate: by the prices of the LP, in which instances are not whole; good for small changes only.",
        "Exact: the plan made again, to the same gap.",
    )
    tables = (
        table(("a unit of (approximate)", f"change, {_heading(study)}"), approximate),
        table(("what if (exact)", _heading(study), "change"), exact),
    )
    numbers = {name: None if each is None else each.result.objective for name, each in others.items()}
    data = {
        "marginal_gpu_s_approximate": dict(marginal),
        "what_if_gpu_s": numbers,
        "base_gpu_s": base,
    }
    return Card("values", "What a change is worth", lines, tables, data)


def trade(study: PlanStudy, points: Sequence[tuple[float, Replayed]], today: Replayed) -> Card:
    """The front of cost and attainment, with today's point."""
    best = {factor: not any(_beats(other, each) for _, other in points) for factor, each in points}
    rows = [
        (f"plan for {factor:g} x demand", hours(each.cost), percent(each.attainment), "yes" if best[factor] else "no")
        for factor, each in points
    ]
    line = (
        "Plans for less and for more than the demand, each replayed on the demand itself. On the front is what no "
        "other plan beats in cost and attainment."
    )
    data = {
        "points": [
            {
                "factor": factor,
                "cost": each.cost / 3600,
                "attainment": each.attainment,
                "on_front": best[factor],
            }
            for factor, each in points
        ],
        "today": {"cost": today.cost / 3600, "attainment": today.attainment},
        "target": study.request.target,
        "unit": _heading(study),
    }
    shown = table(
        ("fleet", _heading(study), "attainment", "on the front"),
        [*rows, ("today", hours(today.cost), percent(today.attainment), "-")],
    )
    first, last = points[0][1], points[-1][1]
    alt = (
        f"SLO attainment against {_heading(study)}: plans from {percent(first.attainment)} at {hours(first.cost)} to "
        f"{percent(last.attainment)} at {hours(last.cost)}; today {percent(today.attainment)} at {hours(today.cost)}."
    )
    return Card("front", "Cost and attainment", (line,), (shown,), data, "front", alt)


def _beats(one: Replayed, other: Replayed) -> bool:
    """Whether it is no worse in cost and attainment, and better in one of them."""
    no_worse = one.cost <= other.cost and one.attainment >= other.attainment
    return no_worse and (one.cost, one.attainment) != (other.cost, other.attainment)


def robustness(
    study: PlanStudy, later: Replayed, sure: Mapping[str, PlanStudy | None], kept: Mapping[str, Replayed | None]
) -> Card:
    """What safer plans cost, and what they keep on the held-out part."""
    base = study.result.objective or 0.0
    rows = [("plan for the means", hours(base), "", percent(later.attainment))]
    for name, each in sure.items():
        cost, run = None if each is None else each.result.objective, kept[name]
        if cost is None or run is None:
            rows.append((name, "infeasible", "", "-"))
        else:
            rows.append((name, hours(cost), change(cost, base), percent(run.attainment)))
    line = "Plans that stand longer delays or more demand than the mean, and what they attain on the held-out part."
    data = {name: None if each is None else each.to_json() for name, each in kept.items()}
    shown = table(("plan", _heading(study), "change", "attainment, held out"), rows)
    return Card("robustness", "Robustness", (line,), (shown,), {"held_out": data})


def replays(plan: Confirmed, later: Replayed) -> Card:
    """Predicted against simulated."""
    study, fresh = plan.study, plan.run
    predicted = 3600.0 * sum(study.gpu_hours().values()) + study.plan.starting_gpu_s(study.data)
    target = study.request.target
    rows = [
        ("predicted", hours(predicted), f"at least {percent(target)}", "-", "-"),
        *(
            (name, hours(each.gpu_s), percent(each.attainment), seconds(each.ttft_p99_s), f"{each.requests:,}")
            for name, each in (("simulated, planned for", fresh), ("simulated, held out", later))
        ),
    ]
    line = (
        "The plan in the simulator: on the part it was planned for, and by the clock on the part it never saw. Orders "
        "go out a start-up time ahead, and a kind in use keeps at least one instance: GPU-hours may be a little more."
    )
    if len(study.request.hardware.gpus) > 1:
        line += " GPU-hours are of all GPU types together."
    told = "was enough for the target" if plan.met else "was not enough for the target: nothing tried was"
    more = f"Capacity beyond the load was raised until the replay met the target: {percent(plan.headroom)} {told}."
    data = {
        "headroom": plan.headroom,
        "met": plan.met,
        "predicted_gpu_s": predicted,
        "planned": fresh.to_json(),
        "held_out": later.to_json(),
    }
    shown = table(("run", "GPU-hours", "attainment", "TTFT P99 s", "requests"), rows)
    return Card("replay", "Predicted and simulated", (line, more), (shown,), data)


def baselines(study: PlanStudy, rivals: Sequence[tuple[str, Replayed, Multiple | None]]) -> Card:
    """The plan beside today's fleet and autoscalers, as multiples of what none can go below."""
    priced = study.request.hardware.prices is not None
    rows = [
        (
            name,
            hours(run.gpu_s),
            *([hours(run.cost)] if priced else []),
            percent(run.attainment),
            seconds(run.ttft_p99_s),
            "-" if times is None else f"{times.times:.2f} x",
        )
        for name, run, times in rivals
    ]
    line = (
        "All on the held-out part. The fluid bound knows every arrival, rents fractions of GPUs and lets as many first "
        "tokens be late as the run beside it; a run on which requests failed has none."
    )
    data = {name: run.to_json() | {"fluid": None if times is None else times.to_json()} for name, run, times in rivals}
    costs = ["cost"] if priced else []
    shown = table(("fleet", "GPU-hours", *costs, "attainment", "TTFT P99 s", "times the fluid bound"), rows)
    return Card("baselines", "Baselines", (line,), (shown,), {"runs": data})


def reproduce(facts: Mapping[str, Any]) -> Card:
    """What to type to get this again."""
    trace, made = facts["trace"], ", ".join(f"{name} {each}" for name, each in facts["versions"].items())
    rows = [
        ("command", facts["command"]),
        ("trace", f"{trace['source']}, {trace['requests']:,} requests, sha256 {trace['sha256'][:16]}"),
        ("planned for", f"{facts['planned']['requests']:,} requests in {facts['planned']['span_s'] / 3600:.1f} h"),
        ("held out", f"{facts['held_out']['requests']:,} requests in {facts['held_out']['span_s'] / 3600:.1f} h"),
        ("versions", made),
        ("fingerprint", facts.get("fingerprint", "-")),
    ]
    line = "The same input gives the same bytes, unless a limit of seconds ended the search."
    return Card("reproduce", "How to get this again", (line,), (table(("what", "value"), rows),))
