"""TBT histograms: every token's time since the one before it, in logarithmic buckets."""

from __future__ import annotations

import math
from typing import Any

from slackwise.jit import part
from slackwise.simulator.state import BUCKETS, BUCKETS_PER_DECADE, CLASSES, SHORTEST_TBT_S
from slackwise.simulator.tables import engine_of, tbt_of

_PER_E = BUCKETS_PER_DECADE / math.log(10.0)


@part
def bucket(seconds: float) -> int:
    """Bucket of a time between tokens; out of range goes to the nearest end."""
    if seconds <= SHORTEST_TBT_S:
        return 0
    return min(BUCKETS - 1, int(math.log(seconds / SHORTEST_TBT_S) * _PER_E))


@part
def upper_edge(index: int) -> float:
    """Seconds at which the next bucket begins."""
    return SHORTEST_TBT_S * math.exp((index + 1) / _PER_E)


@part
def record_steps(s: Any, instance: int, first_s: float, growth_s: float, steps: int) -> None:
    """Add the tokens that an instance's decodes emit in `steps` steps lasting first_s, first_s + growth_s, ..."""
    seconds, left = first_s, steps
    while left > 0:
        at = bucket(seconds)
        inside = left
        if growth_s > 0.0 and left > 1 and at < BUCKETS - 1:
            inside = min(left, max(1, math.ceil((upper_edge(at) - seconds) / growth_s)))
        for category in range(len(CLASSES)):
            tbt_of(s, category, at).tokens += inside * engine_of(s, instance).category_decodes[category]
        seconds += growth_s * inside
        left -= inside
