"""Routing that looks at no load: in turn, or at random."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.policies.hashing import drawn_at
from slackwise.policies.lookup import DRAWN, TURN, Lookup


@routing_policy(source="classical; HydraInfer 2025, NVIDIA Dynamo 1.6.1 (2026) for encode batches", lookup=Lookup(TURN))
def round_robin(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Decision k of a pool goes to instance k mod N.

    Formula: cost [places] = (j - k) mod N, with j the instance's index in its pool of N and k the decisions before.

    Trade-offs: even in count whatever the work weighs; a long job delays all that is dealt to its instance. No state
    of the instances is needed.
    """
    return float((int(instance.index) - int(request.sequence)) % int(instance.pool_size))


@routing_policy(source="classical; vLLM 0.33.0 example proxy (2026)", lookup=Lookup(DRAWN))
def random(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Any instance, with equal probability.

    Formula: cost [1] = 0 for the instance that the decision's draw names among the N of the pool, 1 for all others.

    Trade-offs: as blind as round_robin, and uneven in count besides: of n jobs on N instances the fullest holds about
    n/N + sqrt(2 n/N ln N). Routers need not agree on a turn.
    """
    return 0.0 if drawn_at(float(request.draw), 0, int(instance.pool_size)) == int(instance.index) else 1.0
