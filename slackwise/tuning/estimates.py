"""Metrics of a run under resampling weights: one number for each resample, the run's own first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.jit import compiled
from slackwise.simulator.metrics import QUANTILES
from slackwise.simulator.result import Result
from slackwise.simulator.state import CLASSES

METRICS: Mapping[str, bool] = {
    "attainment": True,
    "goodput_rps": True,
    "gpu_s_per_good": False,
    "ttft_mean_s": False,
    "ttft_p50_s": False,
    "ttft_p90_s": False,
    "ttft_p99_s": False,
    "tbt_mean_s": False,
    "request_tbt_p50_s": False,
    "request_tbt_p90_s": False,
    "request_tbt_p99_s": False,
}
"""Metrics that get an interval, and whether more is better. `gpu_s_per_good`: GPU-seconds for each request that met its
objectives. `request_tbt`: mean time between the tokens of a request, over requests; the quantiles over tokens have no
interval, since a run keeps them as one histogram."""

ALL = "all"
SUMS = ("requests", "met", "ttft_s", "unserved", "gap_s", "gaps")


@dataclass(frozen=True)
class Ordered:
    """The requests of a class by a value, largest first, with the cell of each: all a weighted quantile needs."""

    value: NDArray[np.float64]  # (n,)
    cell: NDArray[np.int64]  # (n,)


class Estimator:
    """Metrics by class of one configuration for weights of the cells; `cell` holds the cell of each request."""

    def __init__(self, result: Result, cell: NDArray[np.int64], cells: int) -> None:
        self.span_s, self.gpu_s = result.span_s, result.gpu_s
        members = {ALL: np.ones(len(cell), bool)}
        members |= {name: result.category == at for at, name in enumerate(CLASSES)}
        self.members = {name: rows for name, rows in members.items() if rows.any()}
        self.sums = {name: _sums(result, cell, cells, rows) for name, rows in self.members.items()}
        self.ordered = {
            (name, prefix): _ordered(values[rows], cell[rows])
            for name, rows in self.members.items()
            for prefix, values in (("ttft", result.ttft_s), ("request_tbt", result.tbt_s))
        }

    def estimates(self, weights: NDArray[np.int32]) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Class -> metric -> float64, shape (resamples,); `weights`: shape (resamples, cells). nan if undefined."""
        return {name: self._means(name, weights) | self._quantiles(name, weights) for name in self.members}

    def _means(self, name: str, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        summed = weights.astype(np.float64) @ self.sums[name]
        requests, met, ttft, unserved, gap, gaps = summed.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "attainment": met / requests,
                "goodput_rps": met / self.span_s,
                "gpu_s_per_good": self.gpu_s / met,
                "ttft_mean_s": np.where(unserved > 0, np.inf, ttft / requests),
                "tbt_mean_s": gap / gaps,
            }

    def _quantiles(self, name: str, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        found: dict[str, NDArray[np.float64]] = {}
        levels = np.array(sorted(QUANTILES.values(), reverse=True))
        for prefix in ("ttft", "request_tbt"):
            ordered = self.ordered[name, prefix]
            columns = weighted_quantiles(ordered.value, ordered.cell, weights, levels).T
            names = sorted(QUANTILES, key=QUANTILES.__getitem__, reverse=True)
            found |= {f"{prefix}_{key}_s": column for key, column in zip(names, columns, strict=True)}
        return found

    def stretches(self, name: str, metric: str, block: NDArray[np.int64]) -> float:
        """How many blocks a metric of a class really rests on; `block` holds the block of each cell.

        A quantile in the tail is made by the requests beyond it, which often come from a few stretches of congestion:
        (sum c)^2 / sum c^2 over their counts c by block (Kish's effective number, 1965). All blocks for other metrics.
        """
        prefix, _, level = metric.removesuffix("_s").rpartition("_")
        if level not in QUANTILES:
            return math.inf
        cell = self.ordered[name, prefix].cell
        beyond = max(1, round((1 - QUANTILES[level]) * len(cell)))
        counts = np.bincount(block[cell[:beyond]]).astype(np.float64)
        return float(counts.sum() ** 2 / (counts**2).sum())

    def series(self) -> list[NDArray[np.float64]]:
        """What each cell adds to attainment, to the mean TTFT and to the tail beyond P99, each of shape (cells,)."""
        requests, met, ttft = self.sums[ALL][:, :3].T
        ordered = self.ordered[ALL, "ttft"]
        beyond = np.bincount(ordered.cell[: max(1, len(ordered.cell) // 100)], minlength=len(requests))
        total = requests.sum()
        return [each - requests * (each.sum() / total) for each in (met, ttft, beyond)]


def _sums(result: Result, cell: NDArray[np.int64], cells: int, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """SUMS over the requests of each cell, float64, shape (cells, len(SUMS))."""
    served = result.served
    gaps = np.where(served, np.maximum(0, result.output_tokens - 1), 0)
    ttft, tbt = np.where(served, result.ttft_s, 0.0), np.where(served, result.tbt_s, 0.0)
    columns = (np.ones(len(cell)), result.met, ttft, ~served, tbt * gaps, gaps)
    return np.stack([np.bincount(cell[rows], each[rows], cells) for each in columns], axis=1)


def _ordered(values: NDArray[np.float64], cell: NDArray[np.int64]) -> Ordered:
    order = np.argsort(-values, kind="stable")
    return Ordered(values[order], cell[order])


@compiled()
def weighted_quantiles(
    value: NDArray[np.float64],
    cell: NDArray[np.int64],
    weights: NDArray[np.int32],
    levels: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Quantiles of `value` (falling, shape (n,)), each as often as its cell weighs, shape (resamples, levels).

    `levels` fall too. As NumPy's method "higher": the value of rank ceil(level * (m - 1)) among the m drawn; nan if
    none is drawn. One walk from the largest value down to the lowest level.
    """
    found = np.full((len(weights), len(levels)), np.nan)
    inside = np.zeros(weights.shape[1], np.int64)
    for each in cell:
        inside[each] += 1
    for row in range(len(weights)):
        drawn = 0
        for at in range(len(inside)):
            drawn += inside[at] * weights[row, at]
        passed, at = 0, -1
        for level in range(len(levels)):
            above = drawn - 1 - np.ceil(levels[level] * (drawn - 1))
            while drawn > 0 and passed <= above:
                at += 1
                passed += weights[row, cell[at]]
            if drawn > 0:
                found[row, level] = value[at]
    return found
