"""A study as plain data, ready for JSON: rows of the table, curves, the history of the search, the winner."""

from __future__ import annotations

from typing import Any

from slackwise.reports.bundle import winner
from slackwise.reports.curves import SHARES, attainment_series, bin_width_s, load_series, ttft_curves
from slackwise.reports.notes import note
from slackwise.simulator import summary
from slackwise.traces import Trace
from slackwise.tuning.interval import NO_DIFFERENCE, Difference, finite
from slackwise.tuning.outcome import Outcome
from slackwise.tuning.search import Trial
from slackwise.tuning.search_space import DEFAULT
from slackwise.tuning.search_study import TUNED, Study


def card(study: Study) -> dict[str, Any]:
    """The study of one model. Every row is of the reported part; `history` is of the searched part."""
    comparison, reported = study.comparison, study.load.reported
    width_s = bin_width_s(reported)
    outcomes = {each.name: each.result for each in comparison.outcomes}
    return {
        "model": study.service.model,
        "verdict": verdict(study),
        "wins": study.wins,
        "objectives": study.service.objectives.to_json(),
        "objectives_line": study.service.objectives.describe(),
        "factor": study.load.factor,
        "searched": _traffic(study.load.searched),
        "reported": _traffic(reported),
        "rows": [_row(study, outcome) for outcome in comparison.outcomes],
        "strongest": {"name": study.strongest, **study.over_strongest.to_json()},
        "without": [_without(what, each) for what, each in study.without.items()],
        "bootstrap": comparison.to_json()["bootstrap"],
        "ttft": {"share": SHARES.tolist(), "by_name": {name: ttft_curves(each) for name, each in outcomes.items()}},
        "over_time": {
            "bin_s": width_s,
            **load_series(reported, width_s),
            "attainment": {name: attainment_series(each, width_s) for name, each in outcomes.items()},
        },
        "history": [_trial(each) for each in study.search.trials],
        "best_trial": _trial(study.search.best),
        "winner": winner(study).to_dict(),
    }


def verdict(study: Study) -> str:
    """One sentence: whether the tuned service wins, over what, and how sure that is."""
    over = study.over_default
    if over.verdict == "no interval":
        return f"No verdict: the reported part is too short for an interval ({study.comparison.blocks.describe()})."
    if over.verdict == NO_DIFFERENCE:
        return f"No winner: {NO_DIFFERENCE} between tuned and {DEFAULT}, {points(over)} of attainment."
    first = f"tuned is {over.verdict} than {DEFAULT}, {points(over)} of attainment"
    if over.verdict == "worse":
        return f"No winner: {first}."
    second = study.over_strongest
    if study.strongest == DEFAULT:
        return f"Winner: {first}."
    against = f"the strongest baseline, {study.strongest}, {points(second)}"
    if second.verdict == "worse":
        return f"No winner: {first}, but worse than {against}."
    if second.verdict == "better":
        return f"Winner: {first}, and better than {against}."
    return f"Winner over {DEFAULT} alone: {first}; {second.verdict} to {against}."


def points(difference: Difference) -> str:
    """A difference of attainment in percentage points with its interval: "+3.1 points (+2.6 to +3.6)"."""
    return f"{100 * difference.difference:+.1f} points ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def _row(study: Study, outcome: Outcome) -> dict[str, Any]:
    metrics = summary(outcome.result)
    everyone, is_default = metrics["classes"]["all"], outcome.name == DEFAULT
    against = None if is_default else study.comparison.difference(outcome.name)
    differences: dict[str, Any] = {"difference": 0.0, "interval": None, "verdict": "baseline"}
    relative = 1.0
    if against is not None:
        found = against.to_json()
        differences = {key: found[key] for key in differences}
        relative = 1.0 + study.comparison.difference(outcome.name, "ttft_p99_s").relative
    return {
        "name": outcome.name,
        "model": study.service.model,
        "attainment": everyone["attainment"],
        **differences,
        "ttft_p50_s": everyone["ttft_s"]["p50"],
        "ttft_p99_s": everyone["ttft_s"]["p99"],
        "ttft_p99_relative": finite(relative),
        "tbt_p99_s": everyone["tbt_s"]["p99"],
        "goodput_rps": everyone["goodput_rps"],
        "gpu_hours": metrics["gpu_hours"],
        "utilisation": metrics["utilisation"],
        "preemptions": metrics["preemptions"],
        "rejected": metrics["rejected"],
        "classes": {name: _by_class(each) for name, each in metrics["classes"].items() if name != "all"},
        "cluster": outcome.configuration.cluster.describe(),
        "settings": list(study.search.best.candidate.settings) if outcome.name == TUNED else [],
        "hypothetical": note(outcome.configuration),
    }


def _by_class(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "requests": metrics["requests"],
        "attainment": metrics["attainment"],
        "ttft_p99_s": metrics["ttft_s"]["p99"],
        "tbt_p99_s": metrics["tbt_s"]["p99"],
    }


def _traffic(trace: Trace) -> dict[str, Any]:
    return {
        "requests": len(trace),
        "requests_per_s": len(trace) / trace.span_s,
        "images_per_s": float(trace.images.sum()) / trace.span_s,
        "image_share": float((trace.images > 0).mean()),
        "hours": trace.span_s / 3600,
        "start": trace.start,
        "source": trace.source,
        "image_count": trace.image_count,
        "notes": dict(trace.notes),
    }


def _without(what: str, difference: Difference) -> dict[str, Any]:
    return {"put_back": what, **difference.to_json()}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "attainment": trial.attainment,
        "stopped": trial.stopped,
        "text_instances": trial.candidate.text_instances,
        "settings": list(trial.candidate.settings),
    }
