"""Demand by modality and window, from a trace; as scenarios, or with budgeted uncertainty (Bertsimas and Sim, 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import EmptyError, InputError, ZeroDemandError
from slackwise.streams import stream
from slackwise.traces import Trace

BIN_S = 30.0
"""Bursts of image requests last 10 to 60 s (Azure LMM 2025): their spread is looked at in bins of this length."""

LONGEST_S = 86400.0

Rates = NDArray[np.float64]


@dataclass(frozen=True)
class Demand:
    """Mean rates of each window in each scenario, (O, W); `spread_*` is how far a load may rise above its mean."""

    window_s: float
    text_rps: Rates
    image_rps: Rates
    images_per_s: Rates
    text_spread_rps: Rates  # (W,) standard deviation over bins of BIN_S, and below
    image_spread_rps: Rates

    @property
    def windows(self) -> int:
        """W."""
        return int(self.text_rps.shape[1])

    def scaled(self, factor: float) -> Demand:
        """All rates times `factor`."""
        return Demand(self.window_s, *(factor * getattr(self, name) for name in list(vars(self))[1:]))


def demand(trace: Trace, window_s: float, burst: float = 0.0) -> Demand:
    """The demand of a trace, one scenario: means of each window, plus `burst` standard deviations of its bins.

    Bins before the first and after the last arrival do not count: a window that the trace covers in part has the rate
    of that part. Raises InputError for a window shorter than a bin or longer than a day, EmptyError if the trace has no
    window, ZeroDemandError if it has no request.
    """
    if not BIN_S <= window_s <= LONGEST_S:
        raise InputError(f"window_s is {window_s:g}: it must be from {BIN_S:g} to {LONGEST_S:g}")
    if len(trace) == 0:
        raise ZeroDemandError("the trace has no request in the window: nothing is demanded")
    first_s = float(np.floor(trace.arrival_s[0] / window_s)) * window_s
    windows = int((trace.arrival_s[-1] - first_s) // window_s) + 1
    if windows < 1:
        raise EmptyError("the horizon has no window")
    at_s, pictured = trace.arrival_s - first_s, trace.images > 0
    per_window = max(1, round(window_s / BIN_S))
    text = _bins(at_s[~pictured], None, windows, per_window, window_s)
    image = _bins(at_s[pictured], None, windows, per_window, window_s)
    images = _bins(at_s[pictured], trace.images[pictured], windows, per_window, window_s)
    covered = _covered(at_s, text.shape, window_s / per_window)
    spreads = [each.std(axis=1, where=covered) for each in (text, image)]
    means = [each.mean(axis=1, where=covered) for each in (text, image, images)]
    share = np.maximum(means[1], 1e-12)
    raised = [means[0] + burst * spreads[0], means[1] + burst * spreads[1]]
    return Demand(window_s, raised[0][None], raised[1][None], (means[2] * raised[1] / share)[None], *spreads)


def _covered(at_s: Rates, shape: tuple[int, ...], width_s: float) -> NDArray[np.bool_]:
    """Bins from that of the first to that of the last arrival."""
    at = np.arange(shape[0] * shape[1])
    first, last = (min(int(each // width_s), len(at) - 1) for each in (at_s[0], at_s[-1]))
    return np.asarray(((first <= at) & (at <= last)).reshape(shape))


def _bins(at_s: Rates, weight: NDArray[np.int32] | None, windows: int, per_window: int, window_s: float) -> Rates:
    """Rates per second in the bins of each window, (windows, per_window)."""
    width_s = window_s / per_window
    place = np.minimum((at_s // width_s).astype(np.int64), windows * per_window - 1)
    counts = np.bincount(place, weight, windows * per_window).reshape(windows, per_window)
    return np.asarray(counts / width_s)


def scenarios(base: Demand, count: int, seed: int, allowed_violation: float = 0.0) -> Demand:
    """`count` draws around the means of `base`: each window's bins redrawn with their own mean and spread.

    Counts of a bin are negative binomial (Poisson where the spread is no wider); the mean of a window's bins is its
    rate. Of each window the share `allowed_violation` of the scenarios with the highest load is not planned for: they
    are set to the next lower one.
    """
    if count < 1:
        raise InputError(f"{count} scenarios: at least 1 is needed")
    if not 0.0 <= allowed_violation < 1.0:
        raise InputError(f"allowed_violation is {allowed_violation:g}: it must be from 0 to below 1")
    generator = stream(seed, "scenarios")
    per_window = max(1, round(base.window_s / BIN_S))
    text = _redrawn(base.text_rps[0], base.text_spread_rps, per_window, count, generator)
    image = _redrawn(base.image_rps[0], base.image_spread_rps, per_window, count, generator)
    dropped = int(np.floor(allowed_violation * count + 1e-9))
    text, image = _without_worst(text, dropped), _without_worst(image, dropped)
    per_request = base.images_per_s[0] / np.maximum(base.image_rps[0], 1e-12)
    return replace(base, text_rps=text, image_rps=image, images_per_s=image * per_request)


def _redrawn(mean: Rates, spread: Rates, per_window: int, count: int, generator: np.random.Generator) -> Rates:
    """(count, W): means over `per_window` bins of counts with this mean and spread."""
    expected = np.maximum(mean * BIN_S, 1e-9)
    excess = np.maximum((spread * BIN_S) ** 2 - expected, 0.0)
    shape = np.where(excess > 0, expected**2 / np.maximum(excess, 1e-12), 1e9)
    size = (per_window, count, len(mean))
    level = generator.gamma(np.broadcast_to(shape, size), np.broadcast_to(expected / shape, size))
    return np.asarray(np.where(mean > 0, generator.poisson(level).mean(axis=0) / BIN_S, 0.0))


def _without_worst(rates: Rates, dropped: int) -> Rates:
    if dropped == 0:
        return rates
    limit = np.sort(rates, axis=0)[-1 - dropped]
    return np.asarray(np.minimum(rates, limit))


def budgeted(base: Demand, budget: float, reach: float = 1.0) -> Demand:
    """Budgeted uncertainty: in each window at most `budget` of the two loads are at their upper value at a time.

    Upper value = mean + reach x spread. A fraction of the budget raises one more load by that fraction. The vertices
    of this set are its scenarios: a plan that holds in each holds in the whole set, as it serves the more the less is
    asked (Bertsimas and Sim, 2004, whose dual states the same for many loads). Raises InputError for a budget outside
    0 to 2 or a negative reach.
    """
    if not 0.0 <= budget <= 2.0 or reach < 0.0:
        raise InputError(f"budget is {budget:g} and reach {reach:g}: budget must be from 0 to 2, reach 0 or more")
    per_request = base.images_per_s[0] / np.maximum(base.image_rps[0], 1e-12)
    text, image = [], []
    for raised in _vertices(budget):
        text.append(base.text_rps[0] + raised[0] * reach * base.text_spread_rps)
        image.append(base.image_rps[0] + raised[1] * reach * base.image_spread_rps)
    images = np.array(image) * per_request
    return replace(base, text_rps=np.array(text), image_rps=np.array(image), images_per_s=images)


def _vertices(budget: float) -> Iterator[tuple[float, float]]:
    """Shares by which (text, image) rise: as many wholly as the budget holds, one by what is left of it."""
    whole, rest = int(budget), budget - int(budget)
    found = set()
    for full in combinations(range(2), whole):
        for part in range(2):
            raised = [1.0 if at in full else rest if at == part else 0.0 for at in range(2)]
            found.add((raised[0], raised[1]))
    yield from sorted(found)
