"""The traffic of the experiments: days of the synthetic week, folded to a window, thinned or superposed to a rate.

The paper takes arrival times and images per request, 0 to 16, from the Azure trace: requests with more are left out,
under either reading of the counts. Searches see the first two days of the week, results come from later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from slackwise.simulator import Configuration, simulate
from slackwise.simulator.metrics import stage_utilisation
from slackwise.traces import Trace, fold, scale_image_share, scale_rate, synthesize
from slackwise.traces.resample import noted, period_s
from slackwise.tuning.reproduce.setting import Setting

MOST_IMAGES = 16
DAY_H = 24.0
SEARCHED_H, JUDGED_H = 12.0, 60.0
"""Hours of the week, 0 being Tuesday noon: Wednesday and Thursday are searched, Friday to Monday judge."""
SEARCHED_DAYS, JUDGED_DAYS = 2.0, 4.0

LIGHT = 2000
"""Requests of the light run that tells how much time the traffic needs."""


@lru_cache(maxsize=8)
def capped(seed: int, count: str, start_h: float, hours: float) -> Trace:
    """Hours of the week without the requests of more than MOST_IMAGES images."""
    trace = synthesize(seed, None, start_h, hours, image_count=count)
    return noted(trace.take(trace.images <= MOST_IMAGES), f"at most {MOST_IMAGES} images")


@lru_cache(maxsize=8)
def window(setting: Setting, count: str, start_h: float = JUDGED_H, days: float = JUDGED_DAYS) -> Trace:
    """Days of the week from hour `start_h` on, folded to the setting's minutes."""
    hours = days * DAY_H
    return fold(capped(setting.seed, count, start_h, hours), max(1, round(hours * 60 / setting.minutes)))


def windows(setting: Setting, count: str) -> list[Trace]:
    """The days that judge, one window each, as many as the setting says."""
    return [window(setting, count, JUDGED_H + DAY_H * day, 1.0) for day in range(setting.windows)]


def searched(setting: Setting, count: str) -> Trace:
    """The days that searches see."""
    return window(setting, count, SEARCHED_H, SEARCHED_DAYS)


def one_after_another(traces: Sequence[Trace]) -> Trace:
    """The traces end to end, each request with the images that it has under its own trace's reading of the counts."""
    begins_s = np.cumsum([0.0, *(period_s(each) for each in traces[:-1])])
    return replace(
        traces[0],
        arrival_s=np.concatenate([each.arrival_s + at for each, at in zip(traces, begins_s, strict=True)]),
        recorded_images=np.concatenate([each.images for each in traces]),
        context_tokens=np.concatenate([each.context_tokens for each in traces]),
        output_tokens=np.concatenate([each.output_tokens for each in traces]),
        image_count="raw",
    )


def at_rate(trace: Trace, requests_per_s: float, seed: int) -> Trace:
    """The trace thinned or superposed to a rate."""
    return scale_rate(trace, requests_per_s / rate_of(trace), seed)


def at_share(trace: Trace, share: float, requests_per_s: float, seed: int) -> Trace:
    """The trace with this share of image requests, at a rate."""
    return at_rate(scale_image_share(trace, share, seed), requests_per_s, seed)


def rate_of(trace: Trace) -> float:
    """Requests a second."""
    return len(trace) / period_s(trace)


def busy_rate(trace: Trace, configuration: Configuration, setting: Setting, pool: int = -1) -> float:
    """Requests a second at which encode and prefill would take all of the time of a pool, by default the last.

    From a light run, since that time is in proportion to the requests; a rate that no real service reaches, for it
    has to decode too.
    """
    light = at_rate(trace, min(1.0, LIGHT / len(trace)) * rate_of(trace), setting.seed)
    found = simulate(light, configuration, setting.objectives(configuration.cluster.model), setting.seed)
    shares = stage_utilisation(found)[configuration.cluster.pools[pool].stages]
    return rate_of(light) / (shares["encode"] + shares["prefill"])


def describe(trace: Trace) -> str:
    """Requests, rate and images in a line."""
    images = trace.images[trace.images > 0]
    return (
        f"{len(trace):,} requests in {trace.span_s / 60:.0f} minutes, {rate_of(trace):.1f} a second, "
        f"{np.mean(trace.images > 0):.0%} with images, {images.mean() if len(images) else 0:.2f} each"
    )
