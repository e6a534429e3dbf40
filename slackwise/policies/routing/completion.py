"""Routing by predicted seconds: the earliest completion, and its opposite as a control."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.policies.features import ENCODE, PREFILL
from slackwise.policies.lookup import monotone
from slackwise.policies.quantities import busy_left_s


@routing_policy(
    source="slackwise",
    lookup=monotone(rises=("backlog_s", "busy_until_s", "encode_s_per_tile", "prefill_s_per_token"), same=("stages",)),
)
def predicted_completion(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance predicted to finish this work first.

    Formula: cost [s] = rest of the running step + b_j + own work, with b_j the seconds of the encode and prefill work
    waiting on j. Own work of an encode job is its padded tiles * seconds per tile on j; of a whole request, its prompt
    tokens * seconds per token on j, and its images' tiles too where j encodes.

    Trade-offs: tells instances of different size or GPU apart and sees the running step; as good as its predictions.
    Decodes running on j are not counted.
    """
    tiles = float(request.job_tiles)
    tokens = 0.0
    if request.job_images == 0:
        if instance.stages & ENCODE:
            tiles = float(request.images_left) * float(request.tiles_per_image)
        if instance.stages & PREFILL:
            tokens = float(request.prompt_tokens)
    own_s = tiles * float(instance.encode_s_per_tile) + tokens * float(instance.prefill_s_per_token)
    return busy_left_s(instance, now) + float(instance.backlog_s) + own_s


@routing_policy(source="slackwise; bad on purpose", lookup=monotone(falls=("backlog_s", "busy_until_s")))
def busiest_instance(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with most work: bad on purpose, a metric that cannot tell it from the others is broken.

    Formula: cost [s] = -(rest of the running step + b_j).

    Trade-offs: a control, never for use: it piles everything onto one instance.
    """
    return -(busy_left_s(instance, now) + float(instance.backlog_s))
