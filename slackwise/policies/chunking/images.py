"""Chunking by number of images."""

from __future__ import annotations

import math

from slackwise.policies.declare import Instance, Params, Request, chunking_policy
from slackwise.policies.knobs import IntRange


@chunking_policy(source="monolithic engines; ModServe's baseline 2025")
def none(request: Request, instance: Instance, now: float, params: Params) -> float:
    """All images of a request in one encode job on one instance.

    Formula: images = images_left.

    Trade-offs: nothing to coordinate; the job holds up all behind it, and other encoders idle meanwhile.
    """
    return float(request.images_left)


@chunking_policy(
    source="ModServe 2025; limit as in llm-d-router 2026 (8)", fan_out=IntRange(1, 64, default=None, none="no limit")
)
def per_image(request: Request, instance: Instance, now: float, params: Params) -> float:
    """One job per image, each routed on its own.

    Formula: images = 1; with a limit, ceil(images / fan_out), so that a request makes at most `fan_out` jobs.

    Trade-offs: the shortest encode time for one request and the least head-of-line blocking; a request waits for its
    slowest job, each job pays a step's fixed cost. Beyond a limit llm-d-router holds images back, here they share jobs.
    """
    taken = 1.0
    if params[0] < float(request.images):
        taken = float(math.ceil(float(request.images) / params[0]))
    return taken if taken < float(request.images_left) else float(request.images_left)


@chunking_policy(source="slackwise (1 = ModServe 2025)", images=IntRange(1, 16, default=1))
def k_images(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Consecutive groups of at most k images: ceil(m / k) jobs for m images.

    Formula: images = min(k, images_left), k = `images`.

    Trade-offs: between per_image (1) and none (large k): larger groups save fixed costs and lose parallelism.
    """
    left = float(request.images_left)
    return float(params[0]) if params[0] < left else left
