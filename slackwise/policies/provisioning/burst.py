"""Provisioning for bursts: spare instances go where a burst would be felt first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.knobs import Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, keep


@provisioning_policy(
    source="ElasticMM 2025, corrected: its code never uses the trial allocation",
    every_s=60.0,
    window_s=Range(60.0, 3600.0, default=600.0, log=True),
    switch_s=Range(0.5, 30.0, default=5.0, log=True),
)
def burst_tolerance(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """All GPUs, each spare instance to the pool that could stand the smallest burst under the trial allocation.

    Formula: BT_s(n) = n * M_s / L_s, what n instances serve over what arrived on average in `window_s` seconds; one
    instance each, then again and again one to the pool of lowest BT_s, of those that still have room and GPUs.
    Between pools by role switches of `switch_s` seconds.

    Trade-offs: the best preparation for a burst of any modality that the GPUs allow; it never gives a GPU back.
    """
    window_s, switch_s = (float(each) for each in params)
    loads = [pool.load_tokens_per_s(pool.rates_over(window_s)) for pool in pools]
    if not any(loads):
        return keep(pools)
    counts = [1] * len(pools)

    def tolerance(at: int) -> float:
        return counts[at] * pools[at].capacity_tokens_per_s / loads[at] if loads[at] > 0 else math.inf

    while fitting := [at for at in range(len(pools)) if _fits(pools, counts, at)]:
        counts[min(fitting, key=lambda at: (tolerance(at), at))] += 1
    return Plan(tuple(counts), switch_s=switch_s)


def _fits(pools: Sequence[PoolView], counts: list[int], at: int) -> bool:
    """Whether the pool may have one more."""
    held = sum(count * pool.gpus_per_instance for count, pool in zip(counts, pools, strict=True))
    return counts[at] < pools[at].most and held + pools[at].gpus_per_instance <= pools[0].gpu_cap
