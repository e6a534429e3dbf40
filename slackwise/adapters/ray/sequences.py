"""Calls inside an emulated instance, and the steps that take them forward."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from slackwise.latency.costs import StepCosts, base_seconds, step_seconds
from slackwise.latency.model import Model
from slackwise.policies.features import DECODE, ENCODE, PREFILL


@dataclass(eq=False)
class Sequence:
    """Images to encode, prompt tokens to compute, tokens to generate: 0 of what is not done on this instance.

    What a step takes is counted as done when the step begins; tokens generated, when it ends.
    """

    name: str
    features: Any  # REQUEST, shape (1,)
    images: int  # to encode here
    prompt: int  # tokens to compute before the next one is generated; with those generated before a preemption
    output: int
    inside: int = 0  # tokens of an image in the sequence; 0 for models with cross-attention
    outside_kv: int = 0  # KV cache of all images outside the sequence, in text tokens
    outside_tokens: int = 0  # their work in the first chunk
    taken: int = 0  # images
    cached: int = 0  # images encoded here whose embeddings prefill has not used
    computed: int = 0  # tokens in the KV cache
    generated: int = 0
    number: int = -1  # of its admission
    entered_s: float = 0.0
    first_s: float = math.nan  # when its first token was there
    gone: bool = False

    def __post_init__(self) -> None:
        row = self.features[0]
        self.tokens_per_image, self.tiles_per_image = int(row["tokens_per_image"]), int(row["tiles_per_image"])
        self.pictured, self.job = int(row["images"]) > 0, int(row["job_images"]) > 0
        self.image_tokens = int(row["job_image_tokens"] if self.job else row["image_tokens"])
        self.text_tokens = 0 if self.job else int(row["text_tokens"])
        self.order = (float(row["arrival_s"]), int(row["sequence"]))

    @property
    def images_left(self) -> int:
        """Images in no step yet."""
        return self.images - self.taken

    @property
    def kv_tokens(self) -> int:
        """KV tokens that it holds."""
        return self.computed + self.outside_kv if self.computed else 0

    @property
    def whole_kv(self) -> int:
        """KV tokens that it holds once its prompt is computed."""
        return self.prompt + self.outside_kv

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, no step being under way."""
        return self.images_left == 0 and self.generated >= self.output

    def use_embeddings(self) -> None:
        """Free those of images whose tokens are all computed; cross-attention uses all with the first chunk."""
        used = self.computed // self.inside if self.inside else self.images
        self.cached = min(self.cached, max(0, self.taken - used))

    def restart(self) -> None:
        """Lose what is cached: what was generated becomes part of the prompt."""
        self.prompt = int(self.features["prompt_tokens"][0]) + self.generated
        self.computed = self.cached = 0


def sequence_of(name: str, features: Any, stages: int, wanted: int, model: Model) -> Sequence:
    """The work of a call (REQUEST, shape (1,)) on an instance of these stages; its answer has `wanted` tokens."""
    row = features[0]
    if int(row["job_images"]):
        return Sequence(name, features, int(row["job_images"]), 0, 0)
    images = int(row["images_left"]) if stages & ENCODE else 0
    output, made = wanted if stages & DECODE else 1, 0 if stages & PREFILL else 1  # the token of the prefill
    each, prompt = int(row["tokens_per_image"]), int(row["prompt_tokens"])
    if not model.cross_attention:
        return Sequence(name, features, images, prompt, output, each, generated=made)
    outside_kv = math.ceil(int(row["image_tokens"]) * model.kv_tokens_per_image_token)
    outside_tokens = round(int(row["images"]) * model.prefill_tokens_per_image(each))
    return Sequence(name, features, images, prompt, output, 0, outside_kv, outside_tokens, generated=made)


@dataclass
class Step:
    """What a step takes: chunks (sequence, prompt tokens, images) and decodes; or `steps` alike of decodes alone."""

    chunks: list[tuple[Sequence, int, int]] = field(default_factory=list)
    decodes: list[Sequence] = field(default_factory=list)
    steps: int = 1
    seconds: float = 0.0
    tokens: int = 0  # of prompts, with the work of images outside the sequence
    tiles: int = 0
    pairs: float = 0.0  # prefill attention: sum over chunks of new * (done + new / 2)
    base_s: float = 0.0  # of a decode step, KV cache aside
    kv_s: float = 0.0  # more for each token in the KV cache
    kv_tokens: int = 0  # that the first decode step reads

    def take(self, each: Sequence, tokens: int, images: int) -> None:
        """Add a chunk."""
        self.chunks.append((each, tokens, images))
        self.tokens += tokens + (each.outside_tokens if tokens and each.computed == 0 else 0)
        self.pairs += tokens * (each.computed + 0.5 * tokens)
        self.tiles += images * each.tiles_per_image
        each.computed += tokens
        each.taken += images
        each.cached += images

    def price(self, costs: StepCosts, steps: int) -> None:
        """Set how long it lasts; if it only decodes, it is `steps` of them."""
        self.kv_tokens = sum(each.kv_tokens for each in self.decodes)
        text_only = not any(each.pictured for each in self.decodes)
        if self.chunks:
            text_only &= not any(each.pictured for each, _, _ in self.chunks)
            tokens, kv_tokens = self.tokens + len(self.decodes), float(self.kv_tokens)
            priced = step_seconds(costs.record, costs.linear_s, tokens, kv_tokens, self.pairs, self.tiles, text_only)
            self.seconds = float(priced)
        elif self.decodes:
            self.base_s = float(base_seconds(costs.record, costs.linear_s, len(self.decodes), text_only))
            self.kv_s, self.steps = float(costs.record["kv_s_per_token"]), steps
            self.seconds = self.lasts(steps)

    def lasts(self, steps: int) -> float:
        """Seconds of the first `steps` of decodes alone: each reads a KV token more a sequence than the one before."""
        grown = len(self.decodes) * 0.5 * steps * (steps - 1)
        return steps * (self.base_s + self.kv_s * self.kv_tokens) + self.kv_s * grown

    def cut(self, seconds: float) -> None:
        """Let decodes alone end with the step that runs `seconds` after the first began; other steps are whole."""
        if self.chunks or seconds >= self.seconds:
            return
        low, high = 1, self.steps
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.lasts(middle) >= seconds else (middle + 1, high)
        self.steps, self.seconds = low, self.lasts(low)
