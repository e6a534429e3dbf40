"""Blocks of time to resample: requests that queue behind each other are not independent, whole minutes nearly are.

Windows are cut into cells of a few seconds. A resample draws blocks of consecutive cells, around the end of their
window, until each window is as long as it was: the circular block bootstrap of Politis & Romano (1992), which gives
every cell the same chance, unlike the moving blocks of Künsch (1989) at the edges. What comes out is a number for each
cell: how often it was drawn. All configurations are weighted by the same numbers: that is what makes it paired.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError

SHORTEST_BLOCK_S = 60.0
CELLS_A_BLOCK = 6
MOST_CELLS = 20_000
FEWEST_BLOCKS = 5
"""With fewer blocks than this in all windows there is no interval."""
LONGEST_SHARE = 1 / 10
"""A chosen block is at most this share of the windows' length: the rest would not be told from chance."""


@dataclass(frozen=True)
class Cells:
    """Cells of time over windows laid end to end: `windows` holds the number of cells of each."""

    windows: tuple[int, ...]
    seconds: float  # length of a cell

    @property
    def count(self) -> int:
        """Cells of all windows."""
        return sum(self.windows)

    def of(self, arrivals_s: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
        """Cell of each request, int64, shape (n,); `arrivals_s` holds the arrivals of each window."""
        firsts = np.cumsum((0, *self.windows[:-1]))
        places = [_places(each, self.seconds) + first for each, first in zip(arrivals_s, firsts, strict=True)]
        return np.concatenate(places)

    def blocks(self, size: int) -> NDArray[np.int64]:
        """Block of each cell when every window is cut into blocks of `size` cells, int64, shape (cells,)."""
        counts = [-(-window // size) for window in self.windows]
        firsts = np.cumsum((0, *counts[:-1]))
        inside = [np.arange(window) // size for window in self.windows]
        return np.concatenate([each + first for each, first in zip(inside, firsts, strict=True)])


@dataclass(frozen=True)
class Blocks:
    """The length of the blocks that were drawn, and whether the windows were long enough for it."""

    seconds: float
    wanted_s: float  # what the windows' correlation asks for; above `seconds` the intervals are too narrow
    cell_s: float
    cells: int  # cells of a block
    count: int  # blocks in all windows

    @property
    def enough(self) -> bool:
        """Whether there are enough blocks for an interval."""
        return self.count >= FEWEST_BLOCKS

    def describe(self) -> str:
        """One line for people."""
        text = f"{self.count} blocks of {self.seconds:.0f} s"
        if not self.enough:
            return f"{text}: too few for intervals, give a longer window"
        if self.wanted_s > 1.5 * self.seconds:
            return f"{text}; queues remember for longer ({self.wanted_s:.0f} s), so the intervals may be too narrow"
        return text


def cut(arrivals_s: Sequence[NDArray[np.float64]], block_s: float | None = None) -> Cells:
    """Cells for windows with these arrivals. Raises InputError unless block_s is positive and finite."""
    if block_s is not None and not 0.0 < block_s < math.inf:
        raise InputError(f"a block must be of positive length, not {block_s:g} s")
    spans = [float(each[-1] - each[0]) for each in arrivals_s]
    seconds = max((block_s or SHORTEST_BLOCK_S) / CELLS_A_BLOCK, sum(spans) / MOST_CELLS)
    return Cells(tuple(int(span // seconds) + 1 for span in spans), seconds)


def blocks(cells: Cells, series: Sequence[NDArray[np.float64]], block_s: float | None = None) -> Blocks:
    """Blocks of `block_s`, or by default as long as the most correlated of `series`, each (cells,), asks for."""
    automatic = max((automatic_length(each) for each in series), default=1.0) * cells.seconds
    wanted = max(automatic, SHORTEST_BLOCK_S)
    longest = max(SHORTEST_BLOCK_S, LONGEST_SHARE * cells.count * cells.seconds)
    seconds = min(wanted, longest) if block_s is None else block_s
    size = max(1, round(seconds / cells.seconds))
    count = sum(window // size for window in cells.windows)
    return Blocks(size * cells.seconds, automatic if block_s is None else block_s, cells.seconds, size, count)


def draw(cells: Cells, size: int, resamples: int, random: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    """How often each cell is drawn in each resample, int32, shape (up to 100, cells), until all are given."""
    for first in range(0, resamples, 100):
        rows = min(100, resamples - first)
        yield np.concatenate([_window(count, size, rows, random) for count in cells.windows], axis=1)


def _window(count: int, size: int, rows: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Draws of one window: whole blocks, and a last one cut to what is left."""
    size = min(size, count)
    whole, rest = divmod(count, size)
    lengths = np.array([size] * whole + [rest] * (rest > 0))
    starts = random.integers(0, count, (rows, len(lengths)))
    steps = np.zeros((rows, 2 * count + 1), np.int32)
    row = np.arange(rows)[:, None]
    np.add.at(steps, (row, starts), 1)
    np.add.at(steps, (row, starts + lengths), -1)
    drawn = np.cumsum(steps, axis=1, dtype=np.int32)
    return drawn[:, :count] + drawn[:, count : 2 * count]


def automatic_length(series: NDArray[np.float64]) -> float:
    """Length of the blocks, in cells, that estimates the variance of the mean of `series` best; 1 if uncorrelated.

    Politis & White (2004), corrected by Patton, Politis & White (2009), circular blocks:
    b = (2 G^2 / D)^(1/3) N^(1/3), G = sum of w(k) |k| R(k), D = 4/3 (sum of w(k) R(k))^2, over lags k whose
    autocovariances R(k) are told from zero, under a flat-top weight w; at most min(3 sqrt(N), N / 3).
    """
    count = len(series)
    covariance = _autocovariance(series, min(count - 1, max(20, int(10 * math.sqrt(count)))))
    if len(covariance) < 2 or covariance[0] <= 0:
        return 1.0
    lags = np.arange(1, min(len(covariance), 2 * _last_lag(covariance, count) + 1))
    weight = np.minimum(1.0, 2.0 * (1.0 - lags / (len(lags) + 1)))
    spread = covariance[0] + 2.0 * float(weight @ covariance[lags])
    slope = 2.0 * float((weight * lags) @ covariance[lags])
    longest = min(3.0 * math.sqrt(count), count / 3)
    if spread <= 0:
        return longest
    length = (2.0 * slope**2 / (4.0 / 3.0 * spread**2)) ** (1 / 3) * count ** (1 / 3)
    return float(min(max(1.0, length), longest))


def _last_lag(covariance: NDArray[np.float64], count: int) -> int:
    """The lag from which on a run of autocorrelations is no more than noise, at least 1."""
    noise = 2.0 * math.sqrt(math.log10(count) / count)
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    small = np.abs(covariance[1:] / covariance[0]) < noise
    for lag in range(len(small)):
        if small[lag : lag + run].all():
            return max(1, lag)
    return len(small)


def _autocovariance(series: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    centred = series - series.mean()
    size = 1 << (2 * len(series) - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    return np.asarray(np.fft.irfft(power, size)[: lags + 1] / len(series))


def _places(arrival_s: NDArray[np.float64], seconds: float) -> NDArray[np.int64]:
    places: NDArray[np.int64] = ((arrival_s - arrival_s[0]) // seconds).astype(np.int64)
    return places
