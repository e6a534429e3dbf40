"""Objectives: how soon the first token and how fast the next ones, as multiples of a request that runs alone.

As in ModServe (SoCC 2025, 5.1): the TTFT and TBT of an isolated text-only request and of an isolated one-image request
on the monolith, each times a factor. The paper does not publish its factor, nor whether many images get more time than
one: both are parameters here, and are printed with every result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown
from slackwise.latency.costs import StepCosts, step_seconds
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import load_model
from slackwise.simulator.cluster import Cluster, Pool

SCALES = {
    "class": "one objective for all image requests, as ModServe's text reads",
    "work": "a request with more images or a longer prompt than the isolated one gets proportionally more time",
}

TEXT_TOKENS = 792
"""Prompt of the isolated text-only request: the median of the Azure LMM trace's text requests (2024)."""

IMAGE_TEXT_TOKENS = 258
"""Text of the isolated one-image request: median text part of the 2,000 published rows (see workload.py)."""


@dataclass(frozen=True)
class Objectives:
    """TTFT and TBT objectives in seconds for text-only and for image requests; P99 is what they are judged at."""

    text_ttft_s: float
    image_ttft_s: float
    text_tbt_s: float
    image_tbt_s: float
    factor: float = 5.0
    scale: str = "class"  # a key of SCALES

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise unknown("objective scale", self.scale, SCALES)
        for name in ("text_ttft_s", "image_ttft_s", "text_tbt_s", "image_tbt_s", "factor"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"objective {name} must be positive and finite, not {getattr(self, name)}")

    @property
    def tightest_ttft_s(self) -> float:
        """The tightest TTFT objective of any class."""
        return min(self.text_ttft_s, self.image_ttft_s)

    def ttft_s(self, images: NDArray[np.int32], work_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """TTFT objective of each request, shape (n,); `work_s` = predicted seconds of its encode and prefill alone."""
        base = np.where(images > 0, self.image_ttft_s, self.text_ttft_s)
        return base if self.scale == "class" else np.maximum(base, self.factor * work_s)

    def tbt_s(self, images: NDArray[np.int32]) -> NDArray[np.float64]:
        """TBT objective of each request, shape (n,)."""
        return np.where(images > 0, self.image_tbt_s, self.text_tbt_s)

    def describe(self) -> str:
        """One line for people."""
        return (
            f"TTFT {self.text_ttft_s:.2f} s text, {self.image_ttft_s:.2f} s image; TBT {1e3 * self.text_tbt_s:.0f} ms "
            f"text, {1e3 * self.image_tbt_s:.0f} ms image (isolated request x {self.factor:g}, scale: {self.scale})"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def isolated(
    cluster: Cluster, tensor_parallel: int = 4, factor: float = 5.0, scale: str = "class", engine: str = "vllm"
) -> Objectives:
    """Objectives for the cluster's model and GPU: isolated requests on a monolith of `tensor_parallel` GPUs x `factor`.

    Raises InputError if the model does not fit that monolith.
    """
    monolith = Cluster(
        cluster.model,
        cluster.gpu,
        (Pool("EPD", 1, tensor_parallel, engine),),
        image_size=cluster.image_size,
        moved=cluster.moved,
    )
    costs = monolith.costs(monolith.pools[0])
    model = load_model(cluster.model)
    tokens = image_tokens(model, *cluster.image_size)
    text = _isolated(costs, TEXT_TOKENS, TEXT_TOKENS, 0, True)
    outside = round(model.prefill_tokens_per_image(tokens))
    inside = 0 if model.cross_attention else tokens
    kv = IMAGE_TEXT_TOKENS + round(tokens * model.kv_tokens_per_image_token)
    prompt = IMAGE_TEXT_TOKENS + inside
    image = _isolated(costs, prompt, kv, image_tiles(model, *cluster.image_size), False, outside)
    times = [float(factor * each) for each in (text[0], image[0], text[1], image[1])]
    return Objectives(times[0], times[1], times[2], times[3], factor, scale)


def _isolated(
    costs: StepCosts, prompt: int, kv_tokens: int, tiles: int, text_only: bool, extra: int = 0
) -> tuple[float, float]:
    pairs = 0.5 * prompt * prompt
    ttft = step_seconds(costs.record, costs.linear_s, prompt + extra, 0, pairs, tiles, text_only)
    tbt = step_seconds(costs.record, costs.linear_s, 1, kv_tokens, 0.0, 0, text_only)
    return ttft, tbt
