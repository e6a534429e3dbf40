"""The honest table: every candidate on days that no search saw, beside what it cost to find and where it breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.bundle import ROLES, Policies
from slackwise.policies.declare import PROVISIONING
from slackwise.simulator import Configuration, Objectives, Result, isolated, simulate
from slackwise.testing.records import random_cases
from slackwise.traces import Trace
from slackwise.traces.trace import facts
from slackwise.tuning.bounds import Bound, Bounds
from slackwise.tuning.candidates import DEFAULT, RULES, Candidate, CannotLearnError, Made, Setting
from slackwise.tuning.gate import TOLERANCE, Standing, Verdict, gate
from slackwise.tuning.goals import Goal
from slackwise.tuning.interval import Difference, finite
from slackwise.tuning.outcome import Outcome
from slackwise.tuning.paired import Comparison, judge
from slackwise.tuning.suites import Suite, suites
from slackwise.tuning.trials import Task

WINDOW_S = 600.0
"""Length of the windows whose worst tenth is shown."""

NO_REASONS: Mapping[str, str] = MappingProxyType({})

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One candidate."""

    name: str
    candidate: Candidate
    made: Made
    outcome: Outcome  # on the part kept back
    value: float  # the metric there
    searched_value: float  # the metric on the searched part
    worst_decile: float  # mean of the metric over the worst tenth of windows
    worst_class: tuple[str, float]
    decision_us: float
    bound: Bound  # no schedule on this fleet does better
    suites: Mapping[str, float]  # suite -> the metric there; none of what cannot be deployed
    gains: Mapping[str, float]  # suite -> gain over the default there, larger is better

    @property
    def regret(self) -> float | None:
        """How far it is from the bound, in the metric."""
        return None if self.bound.value is None else self.bound.value - self.value


@dataclass(frozen=True)
class Table:
    """All rows, their differences to the default and to the best of the rules, and the gate's verdict."""

    goal: Goal
    rows: tuple[Row, ...]
    comparison: Comparison  # against the default
    heuristic: str  # the best candidate that is neither searched nor learned
    to_heuristic: Mapping[str, Difference]
    suites: tuple[Suite, ...]
    verdict: Verdict
    tolerance: float
    seed: int
    searched: Trace
    kept: Trace
    left_out: Mapping[str, str]  # candidate -> why it has no row

    @property
    def bound(self) -> tuple[str, Bound]:
        """The row whose fleet has the best bound, and that bound: no schedule on any of the fleets does better."""
        known = {each.name: each.bound for each in self.rows if each.bound.value is not None}
        if not known:
            return "", self.rows[0].bound
        name = (max if self.goal.more_is_better else min)(known, key=lambda each: known[each].value or 0.0)
        return name, known[name]

    def row(self, name: str) -> Row:
        """The row of a candidate."""
        return next(each for each in self.rows if each.name == name)

    def to_json(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "metric": self.goal.name,
            "verdict": self.verdict.to_json(),
            "tolerance": self.tolerance,
            "best_heuristic": self.heuristic,
            "searched": facts(self.searched),
            "reported": facts(self.kept),
            "suites": [{"group": each.group, "name": each.name} for each in self.suites],
            "rows": [self._row(each) for each in self.rows],
            "left_out": dict(self.left_out),
            "bound": self.bound[1].to_json() | {"fleet_of": self.bound[0], "deployable": False},
            "bootstrap": self.comparison.to_json()["bootstrap"],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        difference = None if row.name == DEFAULT else self.comparison.difference(row.name, None, self.goal.category)
        heuristic = self.to_heuristic.get(row.name)
        return {
            "name": row.name,
            "summary": row.candidate.summary,
            "complexity": row.candidate.complexity,
            "value": finite(row.value),
            "to_default": difference.to_json() if difference else None,
            "to_best_heuristic": heuristic.to_json() if heuristic else None,
            "worst_decile": finite(row.worst_decile),
            "worst_class": {"name": row.worst_class[0], "value": finite(row.worst_class[1])},
            "gpu_s": row.outcome.result.gpu_s,
            "decision_us": row.decision_us,
            "requests_simulated": row.made.requests,
            "note": row.made.note,
            "searched_value": finite(row.searched_value),
            "train_test_gap": finite(row.searched_value - row.value),
            "deployable": row.candidate.deployable,
            "bound": row.bound.value,
            "bound_from": row.bound.rung,
            "regret": None if row.regret is None else finite(row.regret),
            "suites": {name: finite(value) for name, value in row.suites.items()},
            "gains": {name: finite(value) for name, value in row.gains.items()},
            "cluster": row.made.configuration.cluster.describe(),
            "policies": row.made.configuration.policies.to_dict(),
        }


def honest_table(
    candidates: Mapping[str, Candidate],
    setting: Setting,
    kept: Trace,
    slo: Callable[[Configuration], Objectives] | None = None,
    suite_requests: int = 20_000,
    tolerance: float = TOLERANCE,
    resamples: int = 1000,
    progress: Progress = lambda what: None,
    left_out: Mapping[str, str] = NO_REASONS,
) -> Table:
    """Make every candidate on the setting's searched part, serve `kept` and every suite with it, and judge.

    All searches have the setting's budget. Suites serve the first `suite_requests` of `kept`. `slo` gives the
    objectives of a configuration whose latency constants were moved. `left_out` says why candidates have no row; a
    learner that cannot learn from this trace and budget joins them. Raises InputError without the default.
    """
    if DEFAULT not in candidates:
        raise InputError(f"the table needs the candidate '{DEFAULT}'")
    task, goal = setting.task, setting.task.goals[0]
    part, chosen = kept.take(slice(0, suite_requests)), suites()
    rows, without, bounds = list[Row](), dict(left_out), Bounds(goal, kept, task)
    for name, candidate in candidates.items():
        progress(f"{name}: {candidate.summary}")
        try:
            made = candidate.make(setting)
        except CannotLearnError as error:
            without[name] = str(error)
            continue
        made = replace(made, configuration=replace(made.configuration, name=name))
        base = rows[0].suites if rows else None
        rows.append(_row(name, candidate, made, task, kept, part, chosen, slo or _usual(task), base, bounds))
    progress("resampling")
    outcomes = [each.outcome for each in rows]
    found = judge(outcomes, DEFAULT, task.seed, goal.metric, resamples=resamples)
    better = max if goal.more_is_better else min
    rules = [each for each in rows if 0 <= each.candidate.complexity <= RULES and each.candidate.deployable]
    heuristic = better(rules, key=lambda each: each.value).name
    against = found if heuristic == DEFAULT else judge(outcomes, heuristic, task.seed, goal.metric, resamples=resamples)
    to_heuristic = {
        each.name: against.difference(each.name, None, goal.category) for each in rows if each.name != heuristic
    }

    def difference(name: str, baseline: str) -> Difference:
        pair = [found.outcome(baseline), found.outcome(name)]
        return judge(pair, baseline, task.seed, goal.metric, resamples=resamples).difference(name, None, goal.category)

    sign = 1.0 if goal.more_is_better else -1.0
    running = [each for each in rows if each.candidate.deployable]
    standings = [Standing(each.name, sign * each.value, each.candidate.complexity, each.gains) for each in running]
    verdict = gate(standings, difference, tolerance)
    return Table(
        goal,
        tuple(rows),
        found,
        heuristic,
        to_heuristic,
        chosen,
        verdict,
        tolerance,
        task.seed,
        task.trace,
        kept,
        without,
    )


def _usual(task: Task) -> Callable[[Configuration], Objectives]:
    given = task.objectives
    return lambda configuration: isolated(configuration.cluster, factor=given.factor, scale=given.scale)


def _row(
    name: str,
    candidate: Candidate,
    made: Made,
    task: Task,
    kept: Trace,
    part: Trace,
    chosen: Sequence[Suite],
    slo: Callable[[Configuration], Objectives],
    default: Mapping[str, float] | None,
    bounds: Bounds,
) -> Row:
    goal, configuration, serve = task.goals[0], made.configuration, candidate.serve or _plainly
    outcome = Outcome(configuration, task.objectives, (serve(kept, configuration, task),))
    searched = serve(task.trace, configuration, task)
    judged = chosen if candidate.deployable else ()
    there = {each.name: _suite_value(each, configuration, task, part, slo) for each in judged}
    base, sign = default or there, 1.0 if goal.more_is_better else -1.0
    return Row(
        name,
        candidate,
        made,
        outcome,
        goal.of(outcome.result),
        goal.of(searched),
        worst_decile(goal, outcome.result),
        worst_class(goal, outcome.result),
        decision_us(configuration.policies),
        bounds.of(configuration, outcome.result),
        there,
        {each: sign * (value - base[each]) for each, value in there.items()},
    )


def _plainly(trace: Trace, configuration: Configuration, task: Task) -> Result:
    """Served by the configuration alone."""
    return simulate(trace, configuration, task.objectives, task.seed, task.image_context)


def _suite_value(
    suite: Suite, configuration: Configuration, task: Task, part: Trace, slo: Callable[[Configuration], Objectives]
) -> float:
    trace = suite.trace(part, task.seed)
    changed = suite.configuration(configuration, trace)
    objectives = slo(changed) if suite.own_objectives else task.objectives
    return task.goals[0].of(simulate(trace, changed, objectives, task.seed, task.image_context))


def worst_decile(goal: Goal, result: Result, window_s: float = WINDOW_S) -> float:
    """Mean of the metric over the worst tenth of the windows (at least one); of its rate or bill over the whole run."""
    window = ((result.arrival_s - result.arrival_s[0]) // window_s).astype(np.int64)
    values = sorted(goal.of(_cut(result, window == each)) for each in np.unique(window) if (window == each).any())
    worst = values if goal.more_is_better else values[::-1]
    return float(np.mean(worst[: max(1, len(values) // 10)]))


def worst_class(goal: Goal, result: Result) -> tuple[str, float]:
    """The class in which the metric is worst, and its value there."""
    from slackwise.simulator.state import CLASSES

    there = [name for at, name in enumerate(CLASSES) if (result.category == at).any()]
    values = {name: replace(goal, category=name).of(result) for name in there}
    pick = min if goal.more_is_better else max
    name = pick(values, key=values.__getitem__)
    return name, values[name]


def decision_us(policies: Policies, cases: int = 200, rounds: int = 5) -> float:
    """Microseconds of one decision of each role but provisioning, summed, called from Python as an engine would.

    The best of `rounds`; the only number of the table that differs from run to run.
    """
    asked = random_cases(cases, 0)
    calls = list(zip(asked.requests, asked.instances, asked.nows, strict=True))
    total = 0.0
    for role in (each for each, family in ROLES.items() if family != PROVISIONING):
        decide, params = policies.policy(role).compiled, policies.params(role)
        least = float("inf")
        for _ in range(rounds):
            since = time.perf_counter()
            for request, instance, now in calls:
                decide(request, instance, now, params)
            least = min(least, time.perf_counter() - since)
        total += 1e6 * least / cases
    return total


def _cut(result: Result, rows: np.ndarray) -> Result:
    """The result of some of the requests, of the whole run's span and bill."""
    names = ("category", "output_tokens", "ttft_s", "tbt_s", "met", "failure")
    return replace(result, **{name: getattr(result, name)[rows] for name in names})
