"""Chunking by a budget: of padded tiles, or of image tokens in the step."""

from __future__ import annotations

import math

from slackwise.policies.compilation import policy_helper
from slackwise.policies.declare import Instance, Params, Request, chunking_policy
from slackwise.policies.knobs import Choice, IntRange, Range


@policy_helper
def images_within(request: Request, budget: float, each: float) -> float:
    """Whole images of size `each` that `budget` holds: one at least, `images_left` at most."""
    left = float(request.images_left)
    if budget >= left * each:
        return left
    held = float(math.floor(budget / each))
    return held if held > 1.0 else 1.0


@chunking_policy(
    source="slackwise; answers the chunk size that ModServe 2025 leaves open",
    bound=Choice(("tiles", "slo"), default="tiles"),
    tiles=IntRange(1, 64, default=16, log=True),
    theta=Range(0.05, 0.5, default=0.2),
)
def tile_budget(request: Request, instance: Instance, now: float, params: Params) -> float:
    """As many whole images as a budget of padded tiles holds, one at least.

    Formula: images = max(1, floor(B / q)), at most images_left, with q the padded tiles of an image; B [tiles] =
    `tiles`, or with bound = "slo" floor(theta * D_min / c_j), D_min the tightest TTFT objective [s] and c_j the seconds
    per tile.

    Trade-offs: bounds how long a job holds an encoder, in the unit the encoder works in. The SLO form carries over to
    other GPUs and objectives without tuning anew; an image larger than the budget is still taken whole.
    """
    budget = float(params[1])
    if params[0] == 1.0 and instance.encode_s_per_tile > 0.0:
        budget = float(
            math.floor(float(params[2]) * float(instance.tightest_ttft_s) / float(instance.encode_s_per_tile))
        )
    return images_within(request, budget, float(request.tiles_per_image))


@chunking_policy(
    source="vLLM 0.33.0 (2026)", tokens=IntRange(1024, 65536, default=None, log=True, none="the step's own budget")
)
def encoder_budget(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Whole images while their tokens fit the step's encoder budget, one at least: an image is never cut.

    Formula: images = max(1, floor(budget / v)), at most images_left, with v the tokens of an image and budget [tokens]
    = what the step being composed may still encode, or `tokens`.

    Trade-offs: what vLLM does, and what ties encode work to the token budget: a small one delays images, a large one
    lengthens the step for every decode in it. Tokens understate padded images, see tile_budget.
    """
    budget = float(params[0])
    if math.isinf(budget):
        budget = float(instance.encoder_budget_left)
    return images_within(request, budget, float(request.tokens_per_image))
