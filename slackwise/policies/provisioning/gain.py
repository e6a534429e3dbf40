"""Provisioning by gain and cost: an instance moves if those who wait gain more than those whom it leaves lose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.knobs import IntRange, Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, keep, lot, may_give, moved


@provisioning_policy(
    source="ElasticMM 2025 (its formula, the constants of its code); stage times from load and capacity are ours",
    every_s=5.0,
    w=Range(0.0, 1.0, default=0.05),
    m=Range(0.0, 1.0, default=0.1),
    rounds=IntRange(1, 100, default=100),
    discount=Range(0.5, 1.0, default=0.95),
    switch_s=Range(0.5, 30.0, default=5.0, log=True),
)
def gain_cost(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Move instances from one pool to another if the discounted gain there exceeds the cost here.

    Formula: T_s(n) [s] = pending tokens / (n * M_s). Pool A gains (T_A(n) - T_A(n + k)) * sum of 1/len over its
    requests * sum of `discount`^h over h < `rounds`; pool B loses (`m` + `w` * (T_B(n - k) - T_B(n))) * sum of 1/len
    over its own; len = image tokens, prompt tokens or expected output tokens. The pair with most left over moves, by a
    role switch of `switch_s` seconds.

    Trade-offs: weighs both sides and spares long requests least; needs a capacity for each stage, and sees only work
    that is there already. The number of GPUs never changes.
    """
    w, m, rounds, discount, switch_s = (float(each) for each in params)
    horizon = sum(discount**step for step in range(int(rounds)))
    if any(pool.starting or pool.draining for pool in pools):
        return keep(pools)
    best, best_left = None, 0.0
    for giver, loser in enumerate(pools):
        for taker, winner in enumerate(pools):
            if not may_give(loser, winner):
                continue
            out, into = lot(loser, winner)
            gain = (_seconds(winner, 0) - _seconds(winner, into)) * winner.inverse_tokens * horizon
            cost = (m + w * (_seconds(loser, -out) - _seconds(loser, 0))) * loser.inverse_tokens
            if gain - cost > best_left:
                best, best_left = (giver, taker), gain - cost
    return Plan(moved(pools, *best), switch_s=switch_s) if best else keep(pools)


def _seconds(pool: PoolView, more: int) -> float:
    """T_s(n + more): seconds of the work there, on so many more instances."""
    served = (pool.ready + more) * pool.capacity_tokens_per_s
    return pool.pending_tokens / served if served > 0 else math.inf if pool.pending_tokens > 0 else 0.0
