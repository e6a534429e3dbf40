"""Provisioning as Kubernetes does it: a metric held at its target, each pool on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slackwise.policies.declare import Params, provisioning_policy
from slackwise.policies.knobs import Choice, Range
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView

UTILISATION, REQUESTS = 0, 1
"""Places of the choices of `metric`."""


@provisioning_policy(
    source="Kubernetes 1.34 (2025), HorizontalPodAutoscaler v2: its algorithm and its defaults",
    every_s=15.0,
    metric=Choice(("utilisation", "requests"), default="utilisation"),
    target=Range(0.1, 1.0, default=0.8),
    target_requests=Range(1.0, 256.0, default=8.0, log=True),
    tolerance=Range(0.0, 0.5, default=0.1),
    down_s=Range(0.0, 3600.0, default=300.0),
    up_s=Range(0.0, 3600.0, default=0.0),
)
def horizontal_autoscaler(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Hold each pool's utilisation, or its requests an instance, at a target; down only after a while.

    Formula: desired [instances] = ceil(ready * metric / target) unless |metric / target - 1| <= `tolerance`; metric and
    target are the busy share and `target`, or requests waiting or running an instance and `target_requests`. At most
    doubled, or 4 more, at once. Down to the highest desired of the last `down_s` seconds, up to the lowest of `up_s`.

    Trade-offs: what clusters do by default, with no model of the service. An LLM instance with one request is busy all
    the time, so that utilisation says little; instances that load count for nothing, and it learns of load when it is
    there.
    """
    metric, target, target_requests, tolerance, down_s, up_s = (float(each) for each in params)
    histories = memory or ((),) * len(pools)
    targets, kept = [], []
    for pool, history in zip(pools, histories, strict=True):
        goal = target if metric == UTILISATION else target_requests
        desired = _desired(pool, _metric(pool, int(metric)) / goal, tolerance)
        recent = (*(each for each in history if now - each[0] <= max(down_s, up_s)), (now, desired))
        targets.append(_stabilised(pool.working, recent, now, down_s, up_s))
        kept.append(recent)
    return Plan(tuple(targets), tuple(kept))


def _metric(pool: PoolView, metric: int) -> float:
    """The mean over ready instances."""
    if metric == REQUESTS:
        return (pool.waiting + pool.running) / max(1, pool.ready)
    return pool.utilisation


def _desired(pool: PoolView, ratio: float, tolerance: float) -> int:
    """Instances that bring the metric to its target; those that load count as without any load on the way up."""
    current = pool.working
    if pool.ready == 0 or abs(ratio - 1.0) <= tolerance:
        return max(1, current)
    wanted = math.ceil(pool.ready * ratio - 1e-9)
    if ratio > 1.0:
        return min(max(wanted, current), max(2 * current, current + 4))
    return max(1, min(wanted, current))


def _stabilised(current: int, recent: tuple[tuple[float, int], ...], now: float, down_s: float, up_s: float) -> int:
    """The present count moved into what was desired over the windows: not below the highest, not above the lowest."""
    highest = max(desired for at_s, desired in recent if now - at_s <= down_s)
    lowest = min(desired for at_s, desired in recent if now - at_s <= up_s)
    if current < lowest:
        return lowest
    return highest if current > highest else current
