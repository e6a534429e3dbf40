"""Batching by modality: text first, with and without a guard against starvation."""

from __future__ import annotations

import math

from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.policies.features import TEXT, VIDEO
from slackwise.policies.knobs import IntRange, Range

BEHIND = 1e12
"""Added to put a modality behind every size, in tokens."""

OVERDUE = 1e10
"""Taken off to put a request that waited too long before every class."""

SHORTEST_S = 1e-9
"""A TTFT objective below this counts as this much: a ratio needs a divisor."""


@batching_policy(
    source="ModServe 2025 (principle; the formula is slackwise's)",
    order=lambda knobs: knobs["image_share"] == 0,
    image_share=Range(0.0, 0.5, default=0.0),
)
def modality_size_priority(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Text-only before image requests, then the smaller prompt first: our reading of ModServe's priority.

    Formula: key [tokens] = prompt tokens (text and image) + 1e12 if the request has images; in the share
    `image_share` of the steps, spread evenly (those k with floor((k + 1) * share) > floor(k * share)), images go before
    text instead.

    Trade-offs: short text requests hardly wait; image requests starve while text keeps coming unless a share of the
    steps is theirs. Deadlines are not looked at.
    """
    steps, share = float(instance.steps), float(params[0])
    images_first = math.floor((steps + 1.0) * share) > math.floor(steps * share)
    size_tokens = float(request.text_tokens) + float(request.image_tokens)
    if (request.modality == TEXT) == images_first:
        return BEHIND + size_tokens
    return size_tokens


@policy_helper
def cost_class(request: Request, classes: float) -> float:
    """Class by predicted cost, 0 for text; 2: images alike; 3: image, video; 4: one image, several, video."""
    if request.modality == TEXT:
        return 0.0
    if classes == 2.0:
        return 1.0
    if request.modality == VIDEO:
        return classes - 1.0
    return 2.0 if classes == 4.0 and request.images > 1 else 1.0


@batching_policy(
    source="RPS-Serve 2026 (classes and aging; the formula is slackwise's)",
    order=lambda knobs: knobs["alpha"] == 0 and knobs["longest_wait"] is None,
    classes=IntRange(2, 4, default=3),
    alpha=Range(0.0, 4.0, default=1.0),
    longest_wait=Range(0.5, 3.0, default=None, none="off"),
)
def modality_class_aging(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Cheap classes first, each request rising as it waits.

    Formula: key [1] = class - alpha * (t - a_r) / D_r, with D_r = d_r - a_r the TTFT objective; a request with
    t - a_r > longest_wait * D_r goes before every class, the longest wait (in units of D_r) first. Classes: text 0,
    image 1, video 2; with 2 classes images and videos are alike, with 4 several images stand between one and video.

    Trade-offs: text passes images by at most 1 / alpha objectives of waiting per class; alpha = 0 starves the dear
    classes, a large alpha is arrival order in units of D_r. Size within a class is not looked at.
    """
    objective_s = float(request.deadline_s) - float(request.arrival_s)
    if objective_s < SHORTEST_S:
        objective_s = SHORTEST_S
    waited = (now - float(request.arrival_s)) / objective_s
    if waited > params[2]:
        return -OVERDUE - waited
    return cost_class(request, params[0]) - float(params[1]) * waited
