"""The stage table of an instance: what each stage of a typical request costs, each with the source of its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slackwise.latency.costs import StepCosts, step_seconds
from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import Gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import Model
from slackwise.latency.preprocess import PREPROCESS_SOURCE, preprocess_images_seconds
from slackwise.latency.roofline import roofline
from slackwise.latency.transfer import LINKS, transfer_seconds


@dataclass(frozen=True)
class Stage:
    """One line of the table."""

    stage: str
    case: str  # what is timed
    seconds: float
    source: str


def stage_table(
    model: Model, gpu: Gpu, tensor_parallel: int, engine: str = "vllm", image_size: tuple[int, int] = (896, 896)
) -> list[Stage]:
    """Stages of `model` on a monolith of `tensor_parallel` GPUs. Raises InputError as `roofline` does."""
    costs = roofline(model, gpu, tensor_parallel, engine, image_size)
    kernels = f"roofline: {gpu.source}; {load_engine(engine).source}"
    steps = [*_encode(model, costs, image_size), *_prefill(model, costs, image_size), *_decode(costs)]
    return [
        *_preprocess(model, image_size),
        *(Stage(stage, case, seconds, kernels) for stage, case, seconds in steps),
        *_transfer(model, image_size),
        Stage("load", "weights and start of the engine", costs.load_s, load_engine(engine).source),
    ]


def seconds_of(
    costs: StepCosts, tokens: int = 0, kv_tokens: float = 0, pairs: float = 0, tiles: int = 0, text_only: bool = False
) -> float:
    """Seconds of one step, see `step_seconds`."""
    return float(step_seconds(costs.record, costs.linear_s, tokens, float(kv_tokens), float(pairs), tiles, text_only))


def prefill_seconds(model: Model, costs: StepCosts, text_tokens: int, image_tokens_: int = 0) -> float:
    """Seconds to prefill `text_tokens` of text and `image_tokens_` of images in one step, encode apart.

    Decoder-only: all tokens attend to each other. Cross-attention: text attends to images in the cross-attention
    layers, and projecting the images' keys and values counts as some tokens more.
    """
    if not model.cross_attention:
        tokens = text_tokens + image_tokens_
        return seconds_of(costs, tokens, pairs=tokens**2 / 2, text_only=image_tokens_ == 0)
    tokens = text_tokens + round(model.prefill_tokens_per_image(image_tokens_))
    pairs = text_tokens**2 / 2 + text_tokens * image_tokens_ * model.kv_tokens_per_image_token
    return seconds_of(costs, tokens, pairs=pairs, text_only=image_tokens_ == 0)


def _preprocess(model: Model, size: tuple[int, int]) -> list[Stage]:
    cases = [
        (
            f"{images} image{'s' * (images > 1)} of {size[0]}x{size[1]}, {workers} worker{'s' * (workers > 1)}",
            images,
            workers,
        )
        for images, workers in ((1, 1), (8, 1), (8, 4))
    ]
    return [
        Stage("preprocess", case, preprocess_images_seconds(model, *size, images, workers), PREPROCESS_SOURCE)
        for case, images, workers in cases
    ]


def _encode(model: Model, costs: StepCosts, size: tuple[int, int]) -> list[tuple[str, str, float]]:
    tiles = image_tiles(model, *size)
    return [
        (
            "encode",
            f"{images} image{'s' * (images > 1)}, {images * tiles} tiles",
            seconds_of(costs, tiles=images * tiles),
        )
        for images in (1, 8)
    ]


def _prefill(model: Model, costs: StepCosts, size: tuple[int, int]) -> list[tuple[str, str, float]]:
    tokens = image_tokens(model, *size)
    texts = [("prefill", f"{text} text tokens", prefill_seconds(model, costs, text)) for text in (128, 512, 2048)]
    image = ("prefill", f"256 text, {tokens} image tokens", prefill_seconds(model, costs, 256, tokens))
    chunk = seconds_of(costs, 512 + 32, 32 * 1024, 512**2 / 2)
    return [*texts, image, ("mixed step", "chunk of 512, 32 decodes at 1024", chunk)]


def _decode(costs: StepCosts) -> list[tuple[str, str, float]]:
    return [
        ("decode step", f"batch {batch}, context 1024", seconds_of(costs, batch, batch * 1024))
        for batch in (1, 32, 128)
    ]


def _transfer(model: Model, size: tuple[int, int]) -> list[Stage]:
    tokens = image_tokens(model, *size)
    seconds = {link: float(np.asarray(transfer_seconds(model, tokens, link))) for link in LINKS}
    return [Stage("transfer", f"1 image over {link}", seconds[link], LINKS[link].source) for link in LINKS]
