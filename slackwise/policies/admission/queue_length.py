"""Admission by the length of the queue."""

from __future__ import annotations

from slackwise.policies.declare import ADMIT, DROP, Instance, Params, Request, admission_policy
from slackwise.policies.knobs import IntRange, Range


@admission_policy(
    source="SGLang --max-queued-requests 2025, Ray Serve max_queued_requests 2024 (the default of 256 is slackwise's)",
    waiting=IntRange(1, 65536, default=256, log=True, none="no limit"),
    backlog=Range(0.0, 3600.0, default=None, none="no limit"),
)
def bounded_queue(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Turns a request away where too many wait, as a server answers 429 or 503; whoever is queued stays.

    Formula: drop if the request is not queued yet and waiting >= `waiting` or b_j >= `backlog` [s] on the instance that
    it is routed to (before the encoding, on the encoder of the least backlog); else admit.

    Trade-offs: bounds the wait of whoever is let in, with no prediction needed; blind to deadlines, so it turns away
    who could have waited and keeps who cannot. One limit for all sizes of requests unless the backlog is limited.
    """
    if request.queued_s >= 0.0:
        return ADMIT
    full = instance.waiting >= params[0] or instance.backlog_s >= params[1]
    return DROP if full else ADMIT
