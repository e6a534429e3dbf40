"""Routing to the least loaded instance, by five measures of load, and by a weighted sum of them."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.policies.features import PREFILL
from slackwise.policies.knobs import Choice, Range
from slackwise.policies.lookup import STATIC, Lookup, monotone
from slackwise.policies.quantities import fewest_requests, step_done

TOKENS_OF_896_IMAGE = 4 * 1601
"""Image tokens of one 896x896 image in Llama 3.2 Vision (ModServe 2025, Table 1)."""


@routing_policy(source="classical; Vidur 2024", lookup=Lookup(STATIC))
def least_requests(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with the fewest requests (or encode jobs) waiting or running.

    Formula: cost [requests] = n_j = waiting + running.

    Trade-offs: needs only a counter, but counts a request with 16 images like a short question.
    """
    return float(instance.waiting + instance.running)


@routing_policy(
    source="ModServe 2025",
    lookup=Lookup(STATIC, when=lambda knobs: knobs["running"] == "whole"),
    running=Choice(("whole", "remaining"), default="whole"),
)
def least_image_tokens(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with the fewest pending image tokens, of several the one with the fewest requests.

    Formula: cost [tokens] = V_j + n_j / (1 + n_j), V_j the image tokens assigned to j and not finished (with running =
    "remaining" less the share of the running step that is over), n_j = waiting + running, which breaks ties alone.

    Trade-offs: image tokens understate padded images (in Llama 3.2 a small picture costs what a large one does), and a
    slower instance counts like a fast one: see least_padded_tiles and predicted_completion.
    """
    cost = float(instance.pending_image_tokens) + fewest_requests(instance)
    if params[0] == 0.0:
        return cost
    return cost - step_done(instance, now) * float(instance.in_service_image_tokens)


@routing_policy(
    source="ModServe 2025",
    lookup=Lookup(STATIC),
    image_charge_tokens=Range(0.0, 50.0, default=0.0),
)
def least_text_tokens(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with the fewest pending text tokens: ModServe's rule for cross-attention models.

    Formula: cost [text tokens] = X_j + image_charge_tokens * V_j / 6404 + n_j / (1 + n_j), with 6404 the image tokens
    of one 896x896 image in Llama 3.2, and n_j = waiting + running, which breaks ties alone: requests that decode have
    no token pending. K/V projections of an image alone cost what 49.6 (11B) or 25.2 (90B) text tokens do.

    Trade-offs: right where images do not lengthen the LLM's sequence; on a decoder-only model it misses most of the
    load, use least_total_tokens.
    """
    charge = float(params[0]) * float(instance.pending_image_tokens) / TOKENS_OF_896_IMAGE
    return float(instance.pending_text_tokens) + charge + fewest_requests(instance)


@routing_policy(
    source="ModServe 2025",
    lookup=Lookup(STATIC, when=lambda knobs: knobs["running"] == "whole"),
    running=Choice(("whole", "remaining"), default="whole"),
)
def least_total_tokens(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with the fewest pending tokens, text and image: ModServe's rule for decoder-only models.

    Formula: cost [tokens] = X_j + V_j + n_j / (1 + n_j), requests in prefill counted whole, n_j = waiting + running,
    which breaks ties alone: requests that decode have no token pending. With running = "remaining" only what is not
    computed yet: the prompt tokens left (image tokens where j does not prefill) less the share of the running step
    that is over.

    Trade-offs: a token of text and one of an image weigh the same, right for the LLM of a decoder-only model and wrong
    for an encoder.
    """
    ties = fewest_requests(instance)
    if params[0] == 0.0:
        return float(instance.pending_text_tokens + instance.pending_image_tokens) + ties
    if instance.stages & PREFILL:
        pending, in_service = instance.pending_prompt_tokens, instance.in_service_prompt_tokens
    else:
        pending, in_service = instance.pending_image_tokens, instance.in_service_image_tokens
    return float(pending) - step_done(instance, now) * float(in_service) + ties


@routing_policy(
    source="slackwise",
    lookup=monotone(rises=("pending_tiles", "encode_s_per_tile"), when=lambda knobs: knobs["running"] == "whole"),
    running=Choice(("whole", "remaining"), default="remaining"),
)
def least_padded_tiles(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The encoder that would finish this job's padded tiles first: the work that is done, padding included.

    Formula: cost [s] = (Q_j + q) * c_j, with Q_j the tiles pending on j (with running = "remaining" less the share of
    the running step that is over), q the tiles of this job and c_j the seconds per tile on j.

    Trade-offs: needs the model's tile map and a measured c_j; sees neither prefill work nor the fixed cost of a step.
    """
    tiles = float(instance.pending_tiles) + float(request.job_tiles)
    if params[0] == 1.0:
        tiles -= step_done(instance, now) * float(instance.in_service_tiles)
    return tiles * float(instance.encode_s_per_tile)


@routing_policy(
    source="after the weighted scorers of llm-d's router, 2025",
    requests=Range(0.0, 10.0, default=1.0),
    backlog=Range(0.0, 10.0, default=0.0),
    image_tokens=Range(0.0, 10.0, default=0.0),
    prompt_tokens=Range(0.0, 10.0, default=0.0),
    kv=Range(0.0, 10.0, default=0.0),
)
def weighted_score(request: Request, instance: Instance, now: float, params: Params) -> float:
    """The instance with the least weighted sum of five loads.

    Formula: cost = requests * n_j + backlog * b_j + image_tokens * V_j / 1000 + prompt_tokens * P_j / 1000 + kv * KV_j,
    with n_j = waiting + running, b_j in seconds, V_j and P_j the image and prompt tokens pending, and KV_j ten times
    the share of the KV cache in use.

    Trade-offs: sees what the one-load policies see and can be tuned between them, or turned while it runs; weights say
    nothing by themselves, and a weight that is right at one load is not at another.
    """
    cost = float(params[0]) * float(instance.waiting + instance.running)
    cost += float(params[1]) * float(instance.backlog_s)
    cost += float(params[2]) * float(instance.pending_image_tokens) / 1000.0
    cost += float(params[3]) * float(instance.pending_prompt_tokens) / 1000.0
    used = float(instance.kv_used_tokens) / max(1.0, float(instance.kv_capacity_tokens))
    return cost + float(params[4]) * 10.0 * used
