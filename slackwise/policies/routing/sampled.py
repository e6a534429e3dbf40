"""Routing among a few instances drawn at random."""

from __future__ import annotations

import math

from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.policies.hashing import among_drawn
from slackwise.policies.knobs import Choice, IntRange
from slackwise.policies.lookup import DRAWN, Lookup
from slackwise.policies.quantities import busy_left_s


@routing_policy(
    source="Mitzenmacher 2001",
    lookup=Lookup(DRAWN, drawn="instances"),
    instances=IntRange(2, 4, default=2),
    metric=Choice(("requests", "tokens", "seconds"), default="requests"),
)
def power_of_two(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The least loaded of a few distinct instances drawn at random.

    Formula: cost = +inf unless j is among the d = `instances` drawn; else waiting + running [requests], X_j + V_j
    [tokens], or b_j plus the rest of the running step [s], as `metric` says.

    Trade-offs: almost as even as asking every instance at the price of asking two, and routers with stale loads do not
    herd onto one instance; in a small pool asking all is better.
    """
    if not among_drawn(float(request.draw), int(instance.index), int(instance.pool_size), int(params[0])):
        return math.inf
    if params[1] == 0.0:
        return float(instance.waiting + instance.running)
    if params[1] == 1.0:
        return float(instance.pending_text_tokens + instance.pending_image_tokens)
    return busy_left_s(instance, now) + float(instance.backlog_s)
