"""What an agent observes of a run: fixed features with fixed transforms, every one within fixed bounds.

Only what a real server knows: no true output length, no arrival to come. No running statistics: the same state always
gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARE, LOG, SIGNED = "share", "log", "signed"
"""Transforms: x cut to [0, 1]; log(1 + x) / log(1 + limit) cut to [0, 1]; x cut to [-1, 1]."""


@dataclass(frozen=True)
class Feature:
    """A number before its transform: its name, its unit, and the value that a LOG maps to 1."""

    name: str
    unit: str
    transform: str = SHARE
    limit: float = 1.0

    @property
    def low(self) -> float:
        """Least value after the transform; the greatest is always 1."""
        return -1.0 if self.transform == SIGNED else 0.0

    def row(self, index: int, name: str) -> str:
        """Its line in a table of observations."""
        transform = f"log(1 + x) / log(1 + {self.limit:g})" if self.transform == LOG else "none"
        return f"| {index} | {name} | {self.low:g} | 1 | {self.unit} | {transform} |"


RATES = (
    Feature("text_requests_per_s", "requests/s", LOG, 1e3),
    Feature("image_requests_per_s", "requests/s", LOG, 1e3),
    Feature("images_per_s", "images/s", LOG, 1e4),
    Feature("text_tokens_per_s", "tokens/s", LOG, 1e7),
    Feature("image_tokens_per_s", "tokens/s", LOG, 1e8),
)
"""Arrivals of the last interval; then again as exponential means."""

FORGETS = 0.1
"""Share of an exponential mean that an interval replaces."""

SERVICE = (
    Feature("hour_sin", "of the day, UTC", SIGNED),
    Feature("hour_cos", "of the day, UTC", SIGNED),
    *RATES,
    *(Feature(f"mean_{each.name}", each.unit, LOG, each.limit) for each in RATES),
    Feature("missed_text", "share of the text-only requests judged in the last interval"),
    Feature("missed_image", "share of the image requests judged in the last interval"),
    Feature("missed_heavy", "share of the image-heavy requests judged in the last interval"),
    Feature("parked_encode", "requests that wait for any encoder to be ready", LOG, 1e5),
    Feature("parked_prefill", "requests that wait for any prefill instance", LOG, 1e5),
    Feature("parked_decode", "requests that wait for any decode instance", LOG, 1e5),
    Feature("gpus", "share of the GPU cap that is held"),
)
"""Of the whole service, first in every observation."""

POOL = (
    Feature("ready", "share of the pool's ceiling"),
    Feature("starting", "share of the pool's ceiling"),
    Feature("draining", "share of the pool's ceiling"),
    Feature("waiting", "requests or jobs a ready instance", LOG, 1e4),
    Feature("running", "requests or jobs a ready instance", LOG, 1e4),
    Feature("backlog", "s a ready instance", LOG, 1e4),
    Feature("utilisation", "share of the instance-seconds held in the last interval"),
    Feature("kv_used", "share of the KV cache of ready instances"),
)
"""Of a pool; they follow pool by pool."""


REQUEST_FEATURES = (
    Feature("images", "images", LOG, 100.0),
    Feature("text_tokens", "tokens", LOG, 1e5),
    Feature("image_tokens", "tokens", LOG, 1e6),
    Feature("output_estimate_tokens", "tokens", LOG, 1e4),
    Feature("encode_estimate", "s", LOG, 1e3),
    Feature("prefill_estimate", "s", LOG, 1e3),
    Feature("slack", "s until its TTFT objective", LOG, 1e3),
)
INSTANCE_FEATURES = (
    Feature("ready", "1 if it takes work, else 0"),
    Feature("waiting", "requests", LOG, 1e4),
    Feature("running", "requests", LOG, 1e4),
    Feature("backlog", "s of encode and prefill", LOG, 1e4),
    Feature("busy_left", "s until its running step ends", LOG, 1e3),
    Feature("kv_used", "share of its KV cache"),
)
"""What a router sees of the request to be routed, then of each instance in turn."""


def features(pools: int) -> tuple[Feature, ...]:
    """The features of a service with so many pools, in order."""
    return SERVICE + POOL * pools


def names(kinds: Sequence[str]) -> list[str]:
    """Names of all features; those of a pool carry its number and kind, as in "E0.ready"."""
    pooled = [f"{kind}{at}.{feature.name}" for at, kind in enumerate(kinds) for feature in POOL]
    return [feature.name for feature in SERVICE] + pooled


def table(kinds: Sequence[str]) -> str:
    """The table of observations of a service with pools of these kinds, as Markdown."""
    head = ["| index | name | min | max | unit | transform |", "|---|---|---|---|---|---|"]
    both = zip(features(len(kinds)), names(kinds), strict=True)
    return "\n".join([*head, *(feature.row(at, name) for at, (feature, name) in enumerate(both))])


class Transform:
    """The transforms of some features, over arrays whose last axis is the feature."""

    def __init__(self, chosen: Sequence[Feature]) -> None:
        self.low = np.array([each.low for each in chosen], np.float32)
        self.high = np.ones(len(chosen), np.float32)
        self.logs = np.array([each.transform == LOG for each in chosen])
        self.scale = 1.0 / np.log1p(np.array([each.limit for each in chosen if each.transform == LOG]))

    def __call__(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """Observations of `raw` values, float32 of the same shape."""
        values = raw.copy()
        values[..., self.logs] = np.log1p(raw[..., self.logs]) * self.scale
        np.clip(values, self.low, self.high, out=values)
        return values.astype(np.float32)
