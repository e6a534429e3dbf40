"""Provisioning that never changes its mind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.features import ENCODE
from slackwise.policies.knobs import IntRange
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView


@provisioning_policy(
    source="ModServe 2025, static experiments (20 Text TP-4 : 48 Image TP-1 on 128 GPUs)",
    text=IntRange(1, 1024, default=None, log=True, none="as configured"),
    image=IntRange(1, 1024, default=None, log=True, none="as configured"),
)
def fixed_ratio(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Constant counts of text and image instances.

    Formula: target [instances] of a pool that only encodes = `image`, of any other = `text`; without a value, the count
    that the cluster was set up with.

    Trade-offs: no start-up waits and no wrong forecasts; paid for at the trough, short at the peak.
    """
    text, image = params

    def target(pool: PoolView) -> int:
        count = image if pool.stages == ENCODE else text
        return int(count) if np.isfinite(count) else pool.configured

    return Plan(tuple(target(pool) for pool in pools))
