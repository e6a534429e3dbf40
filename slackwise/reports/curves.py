"""Curves of a report as plain lists: TTFT distributions by class, attainment and load over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Result
from slackwise.simulator.state import CLASSES
from slackwise.traces import Trace
from slackwise.tuning.interval import finite

SHARES = 1.0 - 10.0 ** -np.linspace(0.0, 3.0, 121)
"""Shares of requests at which a distribution is written, from 0 to 99.9 %, ever finer in the tail."""

BINS = 60
"""Points of a series over time."""


def ttft_curves(result: Result) -> dict[str, list[float | None]]:
    """Class -> TTFT in seconds at each of SHARES (None: never served); classes without requests are left out."""
    rows = {name: result.category == at for at, name in enumerate(CLASSES)}
    return {name: _quantiles(result.ttft_s[mine]) for name, mine in rows.items() if mine.any()}


def attainment_series(result: Result, width_s: float) -> list[float | None]:
    """Share of the requests arriving in each bin of `width_s` that met their objectives; None for an empty bin."""
    place = _places(result.arrival_s, width_s)
    arrived, met = np.bincount(place, minlength=BINS), np.bincount(place, result.met, BINS)
    return [float(good / all_) if all_ else None for good, all_ in zip(met, arrived, strict=True)]


def load_series(trace: Trace, width_s: float) -> dict[str, list[float]]:
    """Requests and images per second in each bin of `width_s`."""
    place = _places(trace.arrival_s, width_s)
    images = np.bincount(place, trace.images, BINS)
    return {
        "requests_per_s": (np.bincount(place, minlength=BINS) / width_s).tolist(),
        "images_per_s": (images / width_s).tolist(),
    }


def bin_width_s(trace: Trace) -> float:
    """Width of BINS bins, in whole seconds, that hold the trace from its first arrival on."""
    return float(np.floor(trace.span_s / BINS) + 1.0)


def _quantiles(values: NDArray[np.float64]) -> list[float | None]:
    return [finite(float(each)) for each in np.quantile(values, SHARES, method="higher")]


def _places(arrival_s: NDArray[np.float64], width_s: float) -> NDArray[np.int64]:
    places: NDArray[np.int64] = ((arrival_s - arrival_s[0]) // width_s).astype(np.int64)
    return places
