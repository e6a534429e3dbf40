"""What a learned policy is shown: the features of the environments, from the PoolViews that any server can fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.learned.features import FORGETS, RATES, features
from slackwise.policies.provisioning.pool import Memory, PoolView


def observe(pools: Sequence[PoolView], memory: Memory, interval_s: float) -> tuple[NDArray[np.float64], Memory]:
    """Raw features, float64, shape (features of the pools,), and the exponential means to remember.

    The rates are those of the shortest window of `interval_s` or more; `memory` is () at first.
    """
    service = pools[0]
    last = service.rates_over(interval_s)
    rates = [getattr(last, feature.name) for feature in RATES]
    means = memory or (0.0,) * len(RATES)
    means = tuple(mean + FORGETS * (rate - mean) for mean, rate in zip(means, rates, strict=True))
    angle = 2.0 * np.pi * service.hour / 24.0
    held = service.held_gpus / service.gpu_cap
    head = [np.sin(angle), np.cos(angle), *rates, *means, *service.missed, *service.parked, held]
    raw = np.array(head + [value for at in range(len(pools)) for value in _pool(pools, at)], np.float64)
    assert len(raw) == len(features(len(pools)))
    return raw, means


def _pool(pools: Sequence[PoolView], at: int) -> list[float]:
    """The features of a pool, in the order of POOL; what waits for any instance is not counted as waiting here."""
    pool = pools[at]
    waiting, ready = pool.waiting - _parked(pools, at), max(1, pool.ready)
    shares = [count / pool.most for count in (pool.ready, pool.starting, pool.draining)]
    loads = [waiting / ready, pool.running / ready, pool.backlog_s / ready]
    return shares + loads + [pool.busy, pool.kv_used]


def _parked(pools: Sequence[PoolView], at: int) -> int:
    """Requests that wait for any instance of a group whose first pool this is; they are in its `waiting`."""
    apart = ((ENCODE, PREFILL), (PREFILL, 0), (DECODE, PREFILL))
    found = 0
    for group, (stage, without) in enumerate(apart):
        members = [place for place, each in enumerate(pools) if each.stages & stage and not each.stages & without]
        found += pools[at].parked[group] if members and members[0] == at else 0
    return found
