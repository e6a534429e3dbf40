"""Routing to where the work has been done before."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.policies.features import ENCODE, PREFILL
from slackwise.policies.knobs import Range
from slackwise.policies.quantities import busy_left_s


@routing_policy(
    source="slackwise; after the prefix-cache affinity of llm-d-router and the Gateway API inference extension 2025-26",
    weight=Range(0.0, 4.0, default=1.0),
)
def cache_affinity(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance predicted to finish first, what it has kept of this work left out.

    Formula: cost [s] = rest of the running step + b_j + own work - weight * saved, with b_j the seconds of the encode
    and prefill work waiting on j. Own work is that of predicted_completion; saved are the seconds on j of the image
    tokens and prompt tokens of it whose embeddings or KV are kept there, images within the prompt too where j encodes.

    Trade-offs: sends repeats where they cost nothing as long as that saves more than the queue there costs; weight > 1
    waits longer for a hit and crowds repeats onto one instance, 0 is predicted_completion. Asked about every instance:
    slow in large fleets.
    """
    tiles, tokens, saved_tiles = float(request.job_tiles), 0.0, 0.0
    if request.job_images == 0:
        if instance.stages & ENCODE:
            tiles = float(request.images_left) * float(request.tiles_per_image)
        if instance.stages & PREFILL:
            tokens = float(request.prompt_tokens)
            if tokens > 0.0:
                saved_tiles = tiles * float(instance.cached_prefix_tokens) / tokens
    elif request.job_image_tokens > 0:
        saved_tiles = tiles * float(instance.cached_image_tokens) / float(request.job_image_tokens)
    own_s = tiles * float(instance.encode_s_per_tile) + tokens * float(instance.prefill_s_per_token)
    saved_s = saved_tiles * float(instance.encode_s_per_tile)
    saved_s += float(instance.cached_prefix_tokens) * float(instance.prefill_s_per_token)
    return busy_left_s(instance, now) + float(instance.backlog_s) + own_s - float(params[0]) * saved_s
