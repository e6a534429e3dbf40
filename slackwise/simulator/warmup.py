"""Warm-up: a run begins with an empty cluster, which flatters it; what came in the first seconds may be left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 5


@dataclass(frozen=True)
class Mark:
    """The counters of a run at a time, to be taken off those of its end."""

    since_s: float  # on the clock of the trace
    tbt_tokens: NDArray[np.int64]  # (classes, BUCKETS)
    engines: Any  # ENGINE (m,)
    held_gpu_s: NDArray[np.float64]  # (m,) GPU-seconds charged to each instance


def mser5(values: NDArray[Any]) -> int:
    """How many of the first values to leave out by the rule MSER-5, at most half of them.

    Batches of five values are averaged to Z; the cut d is where the squared standard error of the mean of what is left,
    sum over i > d of (Z_i - mean)^2 / (k - d)^2, is least (White, Cobb & Spratt 2000). Values that are not finite count
    as the largest finite one.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return 0
    usable = np.where(finite, values, values[finite].max())
    count = len(usable) // BATCH
    if count < 2:
        return 0
    means = usable[: count * BATCH].reshape(count, BATCH).mean(axis=1)
    left = np.arange(count, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    errors = (squares - sums**2 / left) / left**2
    return BATCH * int(np.argmin(errors[: count // 2 + 1]))
