"""The report of a tuning run: what won or why nothing did, how it was found, what mattered, how to get it again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.optional import require
from slackwise.reports.solver.cards import Card, hours, table
from slackwise.reports.solver.pages import html, markdown
from slackwise.reports.tuned_figures import FIGURES
from slackwise.simulator import summary
from slackwise.traces import Trace
from slackwise.tuning.interval import Difference
from slackwise.tuning.samplers import quiet
from slackwise.tuning.tune import TUNED, Tuned, interval_words
from slackwise.tuning.tune_search import Entry

SCHEMA = "slackwise-tuning-report/1"
MOST_PARAMETERS = 12
"""Parameters whose importance is shown."""

FEWEST_TRIALS = 20
"""Finished trials before importances are told."""


def write_report(folder: Path, found: Tuned, kept: Trace, study: Any, provenance: Mapping[str, Any]) -> list[Path]:
    """Write report.json, report.md and report.html into `folder`. `study` is Optuna's, of all trials.

    Raises InputError if jinja2 or matplotlib is missing; nothing is written then.
    """
    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    document = report(found, kept, study, provenance)
    texts = {
        "report.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "report.md": markdown(document),
        "report.html": html(document, FIGURES),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def report(found: Tuned, kept: Trace, study: Any, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the pages show, for JSON."""
    cards = [_verdict(found), _settings(found), _judged(found, kept), _history(found)]
    cards += [_front(found)] if len(found.history.goals) > 1 else []
    cards += [_importance(found, study), _again(provenance)]
    cluster = found.space.start.cluster
    return {
        "schema": SCHEMA,
        "title": f"Tuning {cluster.model} on {cluster.gpus} x {cluster.gpu}",
        "cards": [each.to_json() for each in cards],
    }


def _verdict(found: Tuned) -> Card:
    return Card("verdict", "Verdict", (found.verdict,), data={"wins": found.wins})


def _settings(found: Tuned) -> Card:
    """What the tuned service is, and what of it is not as in the start."""
    tuned, start = found.space.configuration(found.chosen.values), found.space.start
    rows = []
    theirs, ours = start.policies.to_dict(), tuned.policies.to_dict()
    for role, choice in ours.items():
        if choice != theirs[role]:
            rows.append((role, _words(theirs[role]), _words(choice)))
    lines = (
        f"Start, trial 0: {start.cluster.describe()}.",
        f"Tuned, trial {found.chosen.number}: {tuned.cluster.describe()}.",
    )
    tables = (table(("role", "start", TUNED), rows),)
    return Card("settings", "What was found", lines, tables, {"start": theirs, TUNED: ours})


def _words(choice: Mapping[str, Any]) -> str:
    knobs = ", ".join(f"{name}={_short(value)}" for name, value in choice["knobs"].items())
    return f"{choice['name']} ({knobs})" if knobs else str(choice["name"])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _judged(found: Tuned, kept: Trace) -> Card:
    """The start, the presets and the tuned service on the part that judges."""
    rows, data, metric = [], {}, found.comparison.metric
    for each in found.comparison.outcomes:
        metrics = summary(each.result)["classes"]["all"]
        over = None if each.name == found.comparison.baseline else found.comparison.difference(each.name)
        data[each.name] = {"attainment": metrics["attainment"], "gpu_s": each.result.gpu_s}
        rows.append(
            (
                each.name,
                f"{100 * metrics['attainment']:.2f}",
                _seconds(metrics["ttft_s"]["p99"]),
                _seconds(metrics["tbt_s"]["p99"]),
                hours(each.result.gpu_s),
                _difference(over),
            )
        )
    heads = ("service", "SLO met, %", "TTFT P99, s", "TBT P99, s", "GPU-hours", f"{metric} over the start [95 %]")
    judges = (
        f"{len(kept):,} requests that no trial saw, the same for all. Objectives: {found.task.objectives.describe()}."
    )
    lines = (judges, *(f"Constraint: {each.name}." for each in found.task.bounds))
    return Card("judged", "On the part kept back", lines, (table(heads, rows),), data)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _difference(over: Difference | None) -> str:
    return "start" if over is None else interval_words(over)


def _history(found: Tuned) -> Card:
    goal, best, trials = found.history.goals[0], None, list[dict[str, Any]]()
    for entry in found.history.entries:
        value = _value(entry)
        if entry.measured.counts and value is not None and (best is None or goal.better(value, best)):
            best = value
        trials.append({"number": entry.number, "value": value, "stopped": entry.measured.stopped, "best": best})
    stopped = sum(entry.measured.stopped for entry in found.history.entries)
    told = f"{len(trials)} trials over {len(found.space.parameters)} parameters, {found.history.requests:,} requests"
    lines = (f"{told}; {stopped} trials were stopped early: their values are estimates." if stopped else f"{told}.",)
    alt = (
        f"{goal.name} by trial on the searched part; the line is the best so far of those that were served to the end."
    )
    return Card("search", "The search", lines, (), {"objective": goal.name, "trials": trials}, "history", alt)


def _value(entry: Entry) -> float | None:
    """Of the first objective; None if the trial could not be served."""
    value = entry.measured.values[0] if entry.measured.values else None
    return None if value is None or value in (float("inf"), float("-inf")) else value


def _front(found: Tuned) -> Card:
    names = [each.name for each in found.history.goals]
    front = found.history.front
    whole = [each for each in found.history.entries if each.measured.counts]
    data = {
        "objectives": names,
        "front": [list(each.measured.values) for each in front],
        "others": [list(each.measured.values) for each in whole if each not in front],
        "start": [list(found.history.entries[0].measured.values)],
        "chosen": [list(found.chosen.measured.values)],
    }
    rows = [
        (
            str(each.number),
            *(f"{value:.5g}" for value in each.measured.values),
            found.space.configuration(each.values).cluster.describe().partition(": ")[2],
        )
        for each in front
    ]
    lines = ("Trials that no other one beats in one objective without losing in the other, on the searched part.",)
    alt = f"{names[0]} and {names[1]} of every trial served to its end; the line is the front."
    return Card("front", " and ".join(names), lines, (table(("trial", *names, "cluster"), rows),), data, "front", alt)


def _importance(found: Tuned, study: Any) -> Card:
    shares = importances(found, study)
    title = "What mattered"
    if not shares:
        return Card(
            "importance", title, (f"Fewer than {FEWEST_TRIALS} trials were served to their end: too few to say.",)
        )
    lines = (
        "How far the best tenth of the trials is from all of them in each parameter by itself (PED-ANOVA; Watanabe et "
        "al., IJCAI 2023): a hint where to look, no proof. A knob of a policy that was not chosen can look important.",
    )
    alt = f"Importance of the {len(shares)} parameters that matter most for {found.history.goals[0].name}."
    return Card("importance", title, lines, (), {"importances": shares}, "importance", alt)


def importances(found: Tuned, study: Any) -> dict[str, float]:
    """Parameter -> importance for the first objective, 0 to 1, largest first; none if there are too few trials."""
    whole = [each for each in found.history.entries if each.measured.values and not each.measured.failure]
    if len(whole) < FEWEST_TRIALS:
        return {}
    with quiet() as optuna, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1, region_quantile=1.0)
        sign = -1.0 if found.history.goals[0].more_is_better else 1.0
        target = (lambda trial: sign * trial.values[0]) if len(found.history.goals) > 1 else None
        try:
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"importances cannot be told: {error}") from None
    return {name: float(share) for name, share in list(shares.items())[:MOST_PARAMETERS]}


def _again(provenance: Mapping[str, Any]) -> Card:
    rows = [(name.replace("_", " "), str(value)) for name, value in provenance.items() if name != "command"]
    lines = (str(provenance["command"]), "The study is study.journal (Optuna), its trials are in trials.json.")
    return Card("again", "How to get it again", lines, (table(("what", "value"), rows),), dict(provenance))
