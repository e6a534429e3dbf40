"""Provisioning by queue length: move instances to where most waits."""

from __future__ import annotations

from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.knobs import Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, keep, may_give, moved


@provisioning_policy(
    source="EPDServe 2025 (EPD), online allocator of its code; role switch 5 s from EPD 2025",
    every_s="period_s",
    period_s=Range(1.0, 60.0, default=5.0, log=True),
    rho=Range(0.25, 0.75, default=0.5),
    switch_s=Range(0.5, 30.0, default=5.0, log=True),
)
def queue_ratio_move(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Move one instance to the pool with the longest queue, unless no queue is much shorter.

    Formula: every `period_s` seconds, unless all queues >= `rho` * the longest: a role switch of `switch_s` seconds
    from the pool with most GPUs beyond its first instance, of those with a shorter queue, to the pool with most
    requests or jobs waiting. As many instances as make whole ones there.

    Trade-offs: needs no model of anything; counts requests whatever their size, reacts to a queue that is there
    already, and an instance that was switched away may be missed a moment later. The number of GPUs never changes.
    """
    _, rho, switch_s = (float(each) for each in params)
    longest = max(range(len(pools)), key=lambda at: (pools[at].waiting, -at))
    limit = rho * pools[longest].waiting
    givers = [at for at, pool in enumerate(pools) if pool.waiting < limit and may_give(pool, pools[longest])]
    if not givers or any(pool.starting or pool.draining for pool in pools):
        return keep(pools)
    giver = max(givers, key=lambda at: ((pools[at].ready - 1) * pools[at].gpus_per_instance, -at))
    return Plan(moved(pools, giver, longest), switch_s=switch_s)
