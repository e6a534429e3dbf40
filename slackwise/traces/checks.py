"""What a synthetic week is checked against: numbers of the Azure LMM trace of 2025 that were published, and how near
the generator must come. Where the calibration was fitted to the number itself, or led through it, the check says so:
agreement there shows only that one model meets all of them at once.

Published by Microsoft Azure (CC-BY 4.0) and in aggregates by others; docs/traces.md says which is from where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slackwise.traces.calibration import HOURS, MINUTES
from slackwise.traces.description import correlation, counts_per_bin, fano, ranks
from slackwise.traces.trace import Trace

Floats = NDArray[np.float64]
WEEK_S = MINUTES * 60.0
BURST_WINDOWS_S = ((74_192.709, 74_794.606), (519_361.098, 519_676.591))
"""Two windows of which the real rows are known, seconds from the start of the week: 16 and 21 October 2024."""


class Week:
    """A trace of one week and the quantities that checks ask for."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.image = trace.recorded_images > 0
        self.images = trace.recorded_images.astype(np.float64)
        self.context = trace.context_tokens.astype(np.float64)
        self.output = trace.output_tokens.astype(np.float64)

    @cached_property
    def clean(self) -> NDArray[np.bool_]:
        """Rows with tokens of both kinds and every column at most its 99th percentile."""
        columns = (self.images, self.context, self.output)
        below = np.all([column <= np.percentile(column, 99) for column in columns], axis=0)
        return np.asarray(below & (self.context > 0) & (self.output > 0))

    def clean_rows(self, group: str) -> NDArray[np.bool_]:
        """Clean rows of a group: text, one (recorded image) or more."""
        groups = {"text": ~self.image, "one": self.images == 1, "more": self.images > 1}
        return np.asarray(self.clean & groups[group])

    def per_minute(self, weights: Floats | None = None) -> Floats:
        """Requests, or sums of `weights`, of each minute of the week."""
        minute = (self.trace.arrival_s // 60).astype(np.int64)
        return np.bincount(minute, weights=weights, minlength=MINUTES).astype(np.float64)

    def hourly_share(self) -> Floats:
        """Share of image requests in each hour of the week."""
        images, requests = self.per_minute(self.image.astype(np.float64)), self.per_minute()
        share: Floats = images.reshape(HOURS, 60).sum(axis=1) / requests.reshape(HOURS, 60).sum(axis=1)
        return share

    def dispersion_in_hours(self) -> Floats:
        """Variance over mean of the minutes of each hour."""
        hours = self.per_minute().reshape(HOURS, 60)
        index: Floats = hours.var(axis=1, ddof=1) / hours.mean(axis=1)
        return index

    def minute_autocorrelation(self, lag: int) -> float:
        """Autocorrelation of the counts per minute around their hour's mean."""
        hours = self.per_minute().reshape(HOURS, 60)
        rest = (hours - hours.mean(axis=1, keepdims=True)).ravel()
        return float(np.corrcoef(rest[:-lag], rest[lag:])[0, 1])

    def tokens_per_root(self) -> Floats:
        """Median context tokens per root of the recorded count, for counts of 49 or more with 1,000 rows or more."""
        counts, rows = np.unique(self.images[self.images >= 49], return_counts=True)
        medians = [np.median(self.context[self.images == count]) / np.sqrt(count) for count in counts[rows >= 1000]]
        return np.array(medians)

    def heavy_minutes(self) -> NDArray[np.bool_]:
        """Minutes in which the 30-minute mean of recorded images exceeds 2,000 a minute."""
        level = np.convolve(self.per_minute(self.images), np.ones(30) / 30, "same")
        return np.asarray(level > 2000)

    def burst_fano(self, rows: NDArray[np.bool_], width_s: float) -> float:
        """Fano factor of `rows`, mean over the two burst windows."""
        return float(np.mean([_fano(self._in(rows, *window), width_s, *window) for window in BURST_WINDOWS_S]))

    def burst_fano_inside(self, rows: NDArray[np.bool_]) -> float:
        """Fano factor of 1-s counts inside blocks of 10 s, mean over the two burst windows."""
        return float(np.mean([_fano_inside(self._in(rows, *window), *window) for window in BURST_WINDOWS_S]))

    def _in(self, rows: NDArray[np.bool_], start: float, end: float) -> Floats:
        arrival = self.trace.arrival_s[rows]
        return arrival[(arrival >= start) & (arrival < end)]


def _fano(arrival_s: Floats, width_s: float, start_s: float, end_s: float) -> float:
    found = fano(arrival_s, width_s, start_s, end_s)
    return float("nan") if found is None else found


def _fano_inside(arrival_s: Floats, start_s: float, end_s: float) -> float:
    seconds = counts_per_bin(arrival_s, 1.0, end_s, start_s)
    blocks = seconds[: len(seconds) // 10 * 10].reshape(-1, 10)
    return float(blocks.var(axis=1, ddof=1).mean() / blocks.mean())


@dataclass(frozen=True)
class Check:
    """One quantity of the real week: its value, how far the generator may be off, and what earlier work reached."""

    name: str
    value: float
    tolerance: float  # absolute
    kind: str  # exact, digitised, inferred, or secondary: stated by others without the rows
    measure: Callable[[Week], float]
    reference: float | None = None  # of the reference generator, where known
    drawn_only: bool = False  # says nothing where the minute totals are replayed
    replayed_only: bool = False  # needs the real totals of the minutes
    fitted: bool = False  # the calibration was fitted to this number
    varies: bool = False  # an extreme: the mean over three seeds must be within the tolerance


def _means(
    group: str, mark: str, value: float, relative: float, reference: float | None, fitted: bool = False
) -> Check:
    return Check(
        f"mean {mark} below p99, {group}",
        value,
        relative * value,
        "inferred",
        lambda week: float(getattr(week, mark)[week.clean_rows(group)].mean()),
        reference,
        fitted=fitted,
    )


def _percentiles() -> list[Check]:
    published = {
        "text": {10: 176, 25: 370, 50: 792, 75: 1471, 90: 3151},
        "image": {10: 435, 25: 882, 50: 1422, 75: 4049, 90: 9703},
    }

    def measure(name: str, percent: int) -> Callable[[Week], float]:
        return lambda week: float(np.percentile(week.context[week.image == (name == "image")], percent))

    return [
        Check(f"context p{percent}, {name}", value, 0.01 * value, "exact", measure(name, percent), fitted=True)
        for name, values in published.items()
        for percent, value in values.items()
    ]


def _pearson(first: str, second: str) -> Callable[[Week], float]:
    return lambda week: correlation(getattr(week, first)[week.clean], getattr(week, second)[week.clean]) or 0.0


def _spearman_output(week: Week) -> float:
    return correlation(ranks(week.images[week.image]), ranks(week.output[week.image])) or 0.0


def _squares(week: Week) -> float:
    return float(np.mean(np.rint(np.sqrt(week.images)) ** 2 == week.images))


CHECKS: tuple[Check, ...] = (
    Check("requests", 1_000_000, 0, "exact", lambda week: len(week.trace), 1_000_000),
    Check("image requests", 500_000, 0, "exact", lambda week: int(week.image.sum()), 500_000),
    *_percentiles(),
    Check("mean context tokens", 2912, 58, "exact", lambda week: float(week.context.mean())),
    Check("mean output tokens", 187, 3.7, "exact", lambda week: float(week.output.mean())),
    Check("hourly image share, least", 0.163, 0.04, "exact", lambda week: float(week.hourly_share().min()), 0.196),
    Check("hourly image share, median", 0.491, 0.04, "exact", lambda w: float(np.median(w.hourly_share())), 0.486),
    Check("hourly image share, most", 0.778, 0.04, "exact", lambda week: float(week.hourly_share().max()), 0.771),
    Check(
        "1-s Fano factor, all",
        1.76,
        0.05,
        "secondary",
        lambda w: _fano(w.trace.arrival_s, 1.0, 0.0, WEEK_S),
        1.755,
        fitted=True,
    ),
    Check(
        "median inter-arrival, s",
        0.3,
        0.05,
        "secondary",
        lambda week: float(np.median(np.diff(week.trace.arrival_s))),
        0.328,
    ),
    Check(
        "rows left by the p99 filter", 979_123, 979, "exact", lambda week: int(week.clean.sum()), 978_594, fitted=True
    ),
    Check(
        "of these with one image", 328_709, 329, "exact", lambda w: int(w.clean_rows("one").sum()), 328_713, fitted=True
    ),
    _means("text", "context", 1322.9, 0.02, 1316),
    _means("text", "output", 181.4, 0.02, 181.3),
    _means("one", "context", 1170.4, 0.05, 1170, fitted=True),
    _means("more", "context", 8592.7, 0.05, 8405, fitted=True),
    _means("one", "output", 135.3, 0.05, None, fitted=True),
    _means("more", "output", 166.7, 0.05, None, fitted=True),
    _means("more", "images", 54.52, 0.05, 50.8),
    Check("Pearson images-context", 0.8754, 0.01, "exact", _pearson("images", "context"), 0.78, fitted=True),
    Check("Pearson images-output", -0.0475, 0.01, "exact", _pearson("images", "output"), fitted=True),
    Check("Pearson context-output", 0.0114, 0.05, "exact", _pearson("context", "output"), fitted=True),
    Check("Spearman images-output, image rows", -0.33, 0.07, "exact, burst windows", _spearman_output, fitted=True),
    Check("recorded counts that are squares", 1.0, 0.0, "exact rows", _squares, 1.0),
    Check(
        "tokens per root, least median",
        1535,
        115,
        "exact rows",
        lambda week: float(week.tokens_per_root().min()),
        fitted=True,
    ),
    Check(
        "tokens per root, largest median",
        1535,
        115,
        "exact rows",
        lambda w: float(w.tokens_per_root().max()),
        fitted=True,
    ),
    Check(
        "largest minute, recorded images",
        22_550,
        4500,
        "digitised",
        lambda week: float(week.per_minute(week.images).max()),
        14_500,
        fitted=True,
        varies=True,
    ),
    Check("time in image-heavy episodes", 0.21, 0.02, "digitised", lambda w: float(w.heavy_minutes().mean())),
    Check(
        "recorded images in them",
        0.65,
        0.06,
        "digitised",
        lambda week: float(week.per_minute(week.images)[week.heavy_minutes()].sum() / week.images.sum()),
    ),
    Check(
        "dispersion per minute",
        31.86,
        2.0,
        "exact",
        lambda week: float(week.per_minute().var(ddof=1) / week.per_minute().mean()),
        drawn_only=True,
        fitted=True,
    ),
    *(
        Check(
            f"dispersion in hours, p{percent}",
            value,
            tolerance,
            "exact",
            lambda week, percent=percent: float(np.percentile(week.dispersion_in_hours(), percent)),  # type: ignore[misc]
            drawn_only=True,
            fitted=True,
        )
        for percent, value, tolerance in ((10, 8.85, 1.5), (50, 14.38, 1.5), (90, 25.99, 4.0))
    ),
    *(
        Check(
            f"autocorrelation of minutes, lag {lag}",
            value,
            0.06,
            "exact",
            lambda week, lag=lag: week.minute_autocorrelation(lag),  # type: ignore[misc]
            drawn_only=True,
            fitted=True,
        )
        for lag, value in ((1, 0.247), (2, 0.088), (5, 0.062))
    ),
    Check(
        "Fano of text at 1 s, bursts",
        0.985,
        0.15,
        "exact rows",
        lambda week: week.burst_fano(~week.image, 1.0),
        replayed_only=True,
    ),
    Check(
        "Fano of images at 1 s, bursts",
        3.76,
        1.5,
        "exact rows",
        lambda week: week.burst_fano(week.image, 1.0),
        replayed_only=True,
        varies=True,
    ),
    Check(
        "Fano of images at 10 s, bursts",
        28.6,
        12.0,
        "exact rows",
        lambda week: week.burst_fano(week.image, 10.0),
        replayed_only=True,
        varies=True,
    ),
    Check(
        "Fano of text inside 10 s, bursts",
        0.925,
        0.15,
        "exact rows",
        lambda week: week.burst_fano_inside(~week.image),
        replayed_only=True,
    ),
    Check(
        "Fano of images inside 10 s, bursts",
        1.115,
        0.5,
        "exact rows",
        lambda week: week.burst_fano_inside(week.image),
        replayed_only=True,
        varies=True,
    ),
)
