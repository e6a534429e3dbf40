"""Intervals of the metrics of one configuration: how far they hang on which hours happened to be served.

Blocks of time are resampled as in a comparison (blocks.py), here without a partner. An interval speaks of other traffic
of the same kind; a trend over the day or a rare surge that the trace does not hold is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.simulator import Result
from slackwise.streams import stream
from slackwise.tuning.blocks import Blocks, blocks, cut, draw
from slackwise.tuning.estimates import METRICS, Estimator
from slackwise.tuning.interval import CONFIDENCE, difference
from slackwise.tuning.outcome import joined

Intervals = dict[str, dict[str, tuple[float, float] | None]]
"""Class -> metric -> (low, high), None where there is no interval."""


@dataclass(frozen=True)
class Confidence:
    """Intervals at CONFIDENCE of the metrics of a run, and the blocks that they come from."""

    intervals: Intervals
    blocks: Blocks
    resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "confidence": CONFIDENCE,
            "resamples": self.resamples,
            "seed": self.seed,
            "block_s": self.blocks.seconds,
            "blocks": self.blocks.count,
            "note": self.blocks.describe(),
            "classes": self.intervals,
        }


def confidence(
    results: Sequence[Result], seed: int = 0, block_s: float | None = None, resamples: int = 1000
) -> Confidence:
    """Intervals of the metrics in METRICS over windows served by one configuration, each from an empty cluster.

    Blocks as in `paired.compare`. None where there are too few blocks or a resample has no value. Raises InputError
    unless `block_s` is positive.
    """
    arrivals = [each.arrival_s for each in results]
    cells = cut(arrivals, block_s)
    estimator = Estimator(joined(results), cells.of(arrivals), cells.count)
    chosen = blocks(cells, estimator.series(), block_s)
    weights = [np.ones((1, cells.count), np.int32)]
    weights += draw(cells, chosen.cells, resamples if chosen.enough else 0, stream(seed, "bootstrap"))
    parts = [estimator.estimates(rows) for rows in weights]
    block = cells.blocks(chosen.cells)
    intervals: Intervals = {}
    for name in estimator.members:
        intervals[name] = {}
        for metric, more_is_better in METRICS.items():
            row = np.concatenate([part[name][metric] for part in parts])
            rests = estimator.stretches(name, metric, block)
            found = difference(metric, row, np.zeros_like(row), chosen.count, rests, more_is_better)
            intervals[name][metric] = None if np.isnan(found.low) else (found.low, found.high)
    return Confidence(intervals, chosen, resamples, seed)
