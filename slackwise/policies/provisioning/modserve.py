"""ModServe's sizing: once from medians of history, then by load over capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.features import ENCODE
from slackwise.policies.knobs import Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, keep

SOURCE = "ModServe 2025, 4.2"


@provisioning_policy(
    source=f"{SOURCE} (what `history_s` should be is not stated)",
    every_s=60.0,
    history_s=Range(600.0, 3600.0, default=3600.0, log=True),
)
def modserve_init(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """The initial size from medians of history, never changed afterwards.

    Formula: N_i [encoders] = ceil(median images/s * seconds to encode an image), N_t [other instances] = ceil(N_i /
    median images per image request), once `history_s` seconds have been seen; until then, and without separate
    encoders, the counts that the cluster was set up with.

    Trade-offs: blind to text-only traffic (with one image a request both counts are the same), medians of heavy tails
    are far below the means, and no headroom: published flaws, kept.
    """
    began_s = memory[0] if memory else now
    encoders = [pool for pool in pools if pool.stages == ENCODE]
    if len(memory) > 1:
        return Plan(memory[1], memory)
    if not encoders or now - began_s < params[0]:
        return Plan(tuple(pool.configured for pool in pools), (began_s,))
    rates = encoders[0].rates_over(float(params[0]))
    images = max(1, math.ceil(rates.median_images_per_s * encoders[0].encode_s))
    texts = max(1, math.ceil(images / max(1.0, rates.median_images)))
    targets = tuple(images if pool.stages == ENCODE else texts for pool in pools)
    return Plan(targets, (began_s, targets))


@provisioning_policy(
    source=f"{SOURCE} and 4.3; that a late reaction goes by the last minute, and only up, is ours",
    every_s=10.0,
    period_s=Range(60.0, 900.0, default=300.0, log=True),
    attainment=Range(0.9, 0.999, default=0.99),
    headroom=Range(1.0, 1.5, default=1.0),
)
def modserve_ceil(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Each pool by its own load over the capacity of one instance, once a period and whenever objectives are missed.

    Formula: target [instances] = ceil(`headroom` * L_s / M_s), with L_s the tokens/s that arrived for the pool over
    `period_s` and M_s those that one instance serves within the objectives. When an attainment of the last 10 s is
    below `attainment`: at once, by the last minute, and not below what works.

    Trade-offs: follows the mean, so bursts find it short, and the reaction comes when objectives are missed already;
    pools are sized one by one though both share one TTFT; no hysteresis.
    """
    period_s, attainment, headroom = (float(each) for each in params)
    if not memory:
        return keep(pools, (now,))
    due = now - memory[0] >= period_s - 1e-6
    if not due and all(pool.attainment >= attainment for pool in pools):
        return keep(pools, memory)
    sized = tuple(_instances(pool, period_s if due else 0.0, headroom) for pool in pools)
    if due:
        return Plan(sized, (now,))
    return Plan(tuple(max(pool.working, size) for pool, size in zip(pools, sized, strict=True)), memory)


def _instances(pool: PoolView, window_s: float, headroom: float) -> int:
    load = pool.load_tokens_per_s(pool.rates_over(window_s))
    return max(1, math.ceil(headroom * load / pool.capacity_tokens_per_s)) if pool.capacity_tokens_per_s > 0 else 1
