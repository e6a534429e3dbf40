"""Paired comparison: every configuration serves the same arrivals, and differences come with an interval.

Common random numbers take out what all configurations share, the load; a bootstrap over blocks of time (blocks.py), the
same blocks for all, says what is left to chance. An interval that covers zero is called "no difference shown".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown
from slackwise.simulator import Configuration
from slackwise.streams import stream
from slackwise.traces import Trace
from slackwise.tuning.blocks import Blocks, blocks, cut, draw
from slackwise.tuning.estimates import ALL, METRICS, Estimator
from slackwise.tuning.interval import CONFIDENCE, Difference, difference
from slackwise.tuning.outcome import ObjectivesOf, Outcome, run_windows

Values = dict[str, dict[str, float]]
"""Class -> metric -> value of a configuration; infinite if a request was never served, nan if undefined."""

Differences = dict[str, dict[str, Difference]]
"""Class ("all", "text-only", "image", "image-heavy") -> metric -> difference to the baseline."""


@dataclass(frozen=True)
class Comparison:
    """Outcomes in the order asked for, and for each configuration but the baseline its differences to the baseline."""

    baseline: str
    metric: str  # what the ranking goes by, over all classes
    outcomes: tuple[Outcome, ...]
    values: dict[str, Values]
    differences: dict[str, Differences]
    blocks: Blocks
    resamples: int
    seed: int

    def outcome(self, name: str) -> Outcome:
        """The outcome of a configuration. Raises InputError for an unknown name."""
        found = {each.name: each for each in self.outcomes}
        if name not in found:
            raise unknown("configuration", name, found)
        return found[name]

    def difference(self, name: str, metric: str | None = None, category: str = ALL) -> Difference:
        """The difference of a configuration to the baseline, in `metric` (None: the comparison's) and a class."""
        self.outcome(name)
        if name == self.baseline:
            raise InputError(f"'{name}' is the baseline: it has no difference to itself")
        chosen = self.differences[name]
        if category not in chosen:
            raise unknown("class", category, chosen)
        return chosen[category][check_metric(metric or self.metric)]

    def ranking(self) -> list[str]:
        """Names of the configurations, best first by the metric; ties in the order asked for."""
        scores = {name: found[ALL][self.metric] for name, found in self.values.items()}
        return sorted(scores, key=lambda name: -scores[name] if METRICS[self.metric] else scores[name])

    def to_json(self) -> dict[str, Any]:
        """Everything, for JSON (None where a number does not exist)."""
        return {
            "baseline": self.baseline,
            "metric": self.metric,
            "ranking": self.ranking(),
            "configurations": [each.to_json() | self._differences_of(each.name) for each in self.outcomes],
            "bootstrap": {
                "confidence": CONFIDENCE,
                "resamples": self.resamples,
                "seed": self.seed,
                "block_s": self.blocks.seconds,
                "blocks": self.blocks.count,
                "note": self.blocks.describe(),
                "intervals": self.blocks.enough,
            },
        }

    def _differences_of(self, name: str) -> dict[str, Any]:
        chosen = self.differences.get(name)
        if chosen is None:
            return {"differences": None}
        return {
            "differences": {
                category: {metric: each.to_json() for metric, each in found.items()}
                for category, found in chosen.items()
            }
        }


def compare(
    windows: Sequence[Trace],
    configurations: Sequence[Configuration],
    objectives: ObjectivesOf,
    baseline: str,
    seed: int = 0,
    metric: str = "attainment",
    block_s: float | None = None,
    resamples: int = 1000,
    image_context: str = "subtract",
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Serve the same windows with every configuration and compare each with the one called `baseline`.

    `windows` are independent stretches of traffic, each served from an empty cluster. `block_s` is the length of the
    bootstrap's blocks, by default what the runs' own correlation asks for, at least 60 s. `progress` is told each name
    in turn. Raises InputError for an unknown baseline or metric, names given twice, and as `simulate` does.
    """
    _check(windows, configurations, baseline)
    check_metric(metric)
    outcomes = []
    for configuration in configurations:
        if progress is not None:
            progress(configuration.name)
        outcomes.append(run_windows(windows, configuration, objectives, seed, image_context))
    return judge(outcomes, baseline, seed, metric, block_s, resamples)


def judge(
    outcomes: Sequence[Outcome],
    baseline: str,
    seed: int = 0,
    metric: str = "attainment",
    block_s: float | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare outcomes of the same windows; see `compare`."""
    arrivals = [each.arrival_s for each in outcomes[0].results]
    cells = cut(arrivals, block_s)
    place = cells.of(arrivals)
    estimators = {each.name: Estimator(each.result, place, cells.count) for each in outcomes}
    chosen = blocks(cells, _contrasts(estimators, baseline), block_s)
    weights = draw(cells, chosen.cells, resamples if chosen.enough else 0, stream(seed, "bootstrap"))
    estimates = _estimates(estimators, weights, cells.count)
    values = {
        name: {category: {metric: float(row[0]) for metric, row in found.items()} for category, found in each.items()}
        for name, each in estimates.items()
    }
    rests = _stretches(estimators, baseline, cells.blocks(chosen.cells))
    differences = {
        name: _differences(found, estimates[baseline], rests[name], chosen.count)
        for name, found in estimates.items()
        if name != baseline
    }
    return Comparison(baseline, metric, tuple(outcomes), values, differences, chosen, resamples, seed)


def check_metric(metric: str) -> str:
    """The metric, if there is one of that name; InputError with the closest if not."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    return metric


def _check(windows: Sequence[Trace], configurations: Sequence[Configuration], baseline: str) -> None:
    names = [each.name for each in configurations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two configurations are called '{twice[0]}': give each its own name")
    if baseline not in names:
        raise unknown("baseline", baseline, names)
    if not windows:
        raise InputError("a comparison needs at least one window of a trace")


def _contrasts(estimators: dict[str, Estimator], baseline: str) -> list[NDArray[np.float64]]:
    """What each cell adds to the difference of each configuration to the baseline: see Estimator.series."""
    base = estimators[baseline].series()
    others = [each.series() for name, each in estimators.items() if name != baseline]
    return [one - own for other in others for one, own in zip(other, base, strict=True)]


Estimates = dict[str, dict[str, NDArray[np.float64]]]


def _estimates(
    estimators: dict[str, Estimator], weights: Iterable[NDArray[np.int32]], cells: int
) -> dict[str, Estimates]:
    """Configuration -> class -> metric -> float64, shape (1 + resamples,), the run's own value first."""
    parts: dict[str, list[Estimates]] = {name: [] for name in estimators}
    for rows in chain([np.ones((1, cells), np.int32)], weights):
        for name, estimator in estimators.items():
            parts[name].append(estimator.estimates(rows))
    return {name: _joined(found) for name, found in parts.items()}


def _joined(parts: list[Estimates]) -> Estimates:
    return {
        category: {metric: np.concatenate([each[category][metric] for each in parts]) for metric in METRICS}
        for category in parts[0]
    }


def _stretches(estimators: dict[str, Estimator], baseline: str, block: NDArray[np.int64]) -> dict[str, Values]:
    """Configuration -> class -> metric -> blocks it rests on, there or in the baseline, whichever is fewer."""
    found = {
        name: {
            category: {metric: each.stretches(category, metric, block) for metric in METRICS} for category in each.sums
        }
        for name, each in estimators.items()
    }
    base = found[baseline]
    return {
        name: {
            category: {metric: min(count, base[category][metric]) for metric, count in row.items()}
            for category, row in each.items()
        }
        for name, each in found.items()
    }


def _differences(ours: Estimates, baseline: Estimates, rests: Values, count: int) -> Differences:
    return {
        category: {
            metric: difference(metric, row, baseline[category][metric], count, rests[category][metric], METRICS[metric])
            for metric, row in found.items()
        }
        for category, found in ours.items()
    }
