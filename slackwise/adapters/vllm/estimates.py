"""Predicted seconds of a request's encode and prefill: the latency model's, scaled by what the engine shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from slackwise.latency.alone import marginal_prefill_seconds, prefill_alone_seconds
from slackwise.latency.costs import StepCosts, step_seconds
from slackwise.latency.gpu import load_gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import Model, load_model
from slackwise.latency.profile import load_profile
from slackwise.latency.roofline import roofline

WEIGHT = 0.05
"""Of the newest step in the running means that correct the model."""

LEAST, MOST = 0.05, 20.0
"""Bounds of a correction: beyond, the latency model is of another machine."""

TELLING_TOKENS = 64
"""Prompt tokens from which a step says something about prefill."""


@dataclass(frozen=True)
class StepWork:
    """What a step computes."""

    decodes: int = 0  # sequences that decode one token
    kv_tokens: int = 0  # KV tokens that they read
    prompt_tokens: int = 0
    pairs: float = 0.0  # prefill attention: sum over chunks of new * (done + new / 2)
    tiles: int = 0  # tiles encoded


@dataclass
class Correction:
    """Running means of measured over modelled seconds: of steps that prefill, and of what encoding adds to a step."""

    prefill: float = 1.0
    encode: float = 1.0
    steps: int = 0

    def learn(self, costs: StepCosts, work: StepWork, seconds: float) -> None:
        """Take in a measured step. Steps that tell nothing of prefill or encode are left out."""
        language_s, encode_s = modelled(costs, work)
        if seconds <= 0.0 or work.prompt_tokens < TELLING_TOKENS:
            return
        if encode_s > 0.0:
            ratio = (seconds - self.prefill * language_s) / encode_s
            self.encode = _nearer(self.encode, ratio)
        else:
            self.prefill = _nearer(self.prefill, seconds / language_s)
        self.steps += 1


def _nearer(mean: float, ratio: float) -> float:
    return mean + WEIGHT * (min(MOST, max(LEAST, ratio)) - mean)


def modelled(costs: StepCosts, work: StepWork) -> tuple[float, float]:
    """(seconds of the LLM, seconds of the encoder) in a step, by the latency model."""
    tokens, tiles = work.decodes + work.prompt_tokens, float(work.tiles)
    whole = float(step_seconds(costs.record, costs.linear_s, tokens, float(work.kv_tokens), work.pairs, tiles, False))
    language = float(step_seconds(costs.record, costs.linear_s, tokens, float(work.kv_tokens), work.pairs, 0.0, False))
    return language, whole - language


@dataclass
class Estimator:
    """Predictions for one engine."""

    costs: StepCosts
    model: Model
    image_size: tuple[int, int]  # of the bundle: where tiles cannot be told from tokens, images are taken to be so
    correction: Correction = field(default_factory=Correction)

    def tiles_per_image(self, tokens: int, images: int) -> int:
        """Padded tiles of an image that gives `tokens` tokens, one of `images` of its request."""
        return _tiles(self.model, self.image_size, tokens, min(images, 2)) if images and tokens else 0

    def encode_s(self, tiles: int) -> float:
        """Seconds to encode so many tiles, the step's overhead aside."""
        return tiles * float(self.costs.record["encode_s_per_tile"]) * self.correction.encode

    def prefill_s(self, tokens: int, prompt_tokens: int) -> float:
        """Seconds left of a prompt of which `tokens` are not yet computed."""
        whole = float(prefill_alone_seconds(self.costs, prompt_tokens, prompt_tokens))
        return whole * tokens / prompt_tokens * self.correction.prefill if prompt_tokens else 0.0

    @property
    def prefill_s_per_token(self) -> float:
        """Marginal seconds of a prompt token in a full step."""
        return marginal_prefill_seconds(self.costs) * self.correction.prefill


@lru_cache(maxsize=4096)
def _tiles(model: Model, image_size: tuple[int, int], tokens: int, images: int) -> int:
    """Tiles by tokens: exact for images of `image_size`, in proportion for others; 1 at native resolution."""
    usual_tokens = image_tokens(model, *image_size, images)
    usual_tiles = image_tiles(model, *image_size, images)
    return max(1, round(usual_tiles * tokens / usual_tokens))


def estimator(
    model: str, gpu: str, cluster: Mapping[str, Any], tensor_parallel: int, profile: str | None = None
) -> Estimator:
    """Predictions for a bundle's model and GPU on so many GPUs, or by a latency profile.

    Raises InputError for an unknown model or GPU, a model that does not fit, or a file that is no profile.
    """
    known, size = load_model(model), image_size_of(cluster)
    if profile is not None:
        return Estimator(load_profile(Path(profile)), known, size)
    return Estimator(roofline(known, load_gpu(gpu), tensor_parallel, "vllm", size), known, size)


def image_size_of(cluster: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in pixels of a bundle's images, 896 x 896 if it does not say."""
    given = cluster.get("image_size")
    if isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(side, int) for side in given):
        return int(given[0]), int(given[1])
    return 896, 896
