"""The roofline: what a step costs, from a model's dimensions, a GPU's peaks and an engine's overheads.

    step = table[tokens] + attention pairs / rate + KV bytes / rate + layers * overhead + engine overhead

with table[tokens] = linear layers, activations, all-reduced data and output table (terms.py). All but KV is fixed while
a batch decodes, so the decode step is linear in the step number. Everything is per GPU, but the time that some engines
take to hand pixels to the processes of several (engine.py), which is added to encode.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.latency.costs import COSTS, StepCosts
from slackwise.latency.engine import Engine, load_engine
from slackwise.latency.gpu import Gpu
from slackwise.latency.images import image_tiles, native_patches
from slackwise.latency.model import Model
from slackwise.latency.preprocess import tile_values
from slackwise.latency.rates import Rates, rates
from slackwise.latency.terms import encode_seconds, fixed_seconds, table_seconds
from slackwise.latency.work import LanguageWork, VisionWork, instance_bytes, language_work, tile_sequence, vision_work

TABLE_TOKENS = 8192
"""Tokens of a step up to which the linear layers are tabulated; beyond, the last slope goes on (compute-bound)."""

ENCODE_IMAGES = (1, 2, 4, 8, 16)
"""Images of a step over which encode seconds are put on a line."""


def roofline(
    model: Model,
    gpu: Gpu,
    tensor_parallel: int,
    engine: str = "vllm",
    image_size: tuple[int, int] = (896, 896),
    encode: bool = True,
    llm: bool = True,
    memory_utilization: float = 0.9,
) -> StepCosts:
    """Costs of an instance of `tensor_parallel` GPUs that holds the encoder (`encode`), the LLM (`llm`) or both.

    `image_size` is width x height in pixels; it matters to models of native resolution, whose tile is the image.
    The connector's time is counted with encode, its weights with the LLM; so is the time to hand pixels to several GPUs
    under engines that make a step wait for it. Stages that the instance lacks cost 0.

    Raises InputError if nothing is held, if `tensor_parallel` is not 1, 2, 4 or 8, if `memory_utilization` is not in
    (0, 1], or if the weights do not fit: the text names the bytes needed and available.
    """
    _check(encode, llm, tensor_parallel, memory_utilization)
    overheads = load_engine(engine)
    weight_bytes = instance_bytes(model, tensor_parallel, encode, llm)
    free_bytes = _free_bytes(model, gpu, tensor_parallel, overheads, weight_bytes, memory_utilization)
    record = np.zeros(1, COSTS)
    table = np.zeros(1)
    record["text_only_share"] = model.language.text_only_share
    capacity = 0
    if llm:
        work, running = language_work(model.language, tensor_parallel), overheads.running(model)
        reached = rates(gpu, running)
        table = linear_table(work, reached)
        fill_language(record, work, table, reached, running.step_s)
        capacity = int(free_bytes / work.kv_bytes_per_token)
    if encode:
        work_of_tile = model_vision_work(model, image_size, tensor_parallel)
        fill_vision(record, work_of_tile, rates(gpu, overheads), encode_tiles(model, image_size))
        record["encode_s_per_tile"] += overheads.handing_seconds(tile_values(model, *image_size), tensor_parallel)
    return StepCosts(
        record=record.view(np.recarray)[0],  # fields as attributes, with or without compilation
        linear_s=table,
        kv_capacity_tokens=capacity,
        load_s=overheads.start_s + weight_bytes / overheads.load_bytes_s,
        source=_source(model, gpu, tensor_parallel, overheads),
    )


def fits(model: Model, gpu: Gpu, tensor_parallel: int, engine: str = "vllm") -> bool:
    """Whether weights of encoder and LLM fit `tensor_parallel` GPUs, and its heads divide by them, as vLLM asks."""
    try:
        roofline(model, gpu, tensor_parallel, engine)
    except InputError:
        return False
    return model.language.heads % tensor_parallel == 0


def linear_table(work: LanguageWork, reached: Rates, last: int = TABLE_TOKENS) -> NDArray[np.float64]:
    """Seconds that 0 .. `last` tokens take in linear layers, all-reduces and output table; 0 for none."""
    table = np.zeros(last + 1)
    table[1:] = table_seconds(work, reached, np.arange(1, last + 1, dtype=np.float64))
    return table


def fill_language(
    record: NDArray[np.void], work: LanguageWork, table: NDArray[np.float64], reached: Rates, step_s: float
) -> None:
    """Write the LLM's fields of a COSTS record (shape (1,))."""
    record["step_s"] = step_s + fixed_seconds(work, reached)
    record["linear_slope_s"] = table[-1] - table[-2]
    record["kv_s_per_token"] = work.kv_bytes_per_token / reached.kv_bytes_s
    record["attention_s_per_pair"] = work.flops_per_pair / reached.attention_flops_s


def fill_vision(record: NDArray[np.void], work: VisionWork, reached: Rates, tiles: NDArray[np.float64]) -> None:
    """Write the encoder's fields of a COSTS record (shape (1,)): the line nearest to steps of `tiles` tiles.

    Nearest in relative error. Steps are off it where all-reduces turn into rings between one number of tiles and the
    next.
    """
    seconds = np.asarray(encode_seconds(work, reached, tiles))
    slope, start = np.polyfit(tiles, seconds, 1, w=1 / seconds)
    record["encode_s_per_tile"], record["encode_step_s"] = slope, max(0.0, start)


def encode_tiles(model: Model, image_size: tuple[int, int]) -> NDArray[np.float64]:
    """Tiles of the steps that an encoder meets: ENCODE_IMAGES requests of an image, or a request of as many."""
    alone = {images * image_tiles(model, *image_size) for images in ENCODE_IMAGES}
    together = {images * image_tiles(model, *image_size, images) for images in ENCODE_IMAGES}
    return np.array(sorted(alone | together), dtype=np.float64)


def model_vision_work(model: Model, image_size: tuple[int, int], tensor_parallel: int) -> VisionWork:
    """Encoder work of one tile of `model`; at native resolution of one image of `image_size` pixels."""
    columns, rows = native_patches(model.vision, *image_size) if model.vision.tiling == "native" else (0, 0)
    sequence = tile_sequence(model.vision, columns * rows)
    return vision_work(model.vision, sequence, model.connector_params, tensor_parallel)


def _source(model: Model, gpu: Gpu, tensor_parallel: int, engine: Engine) -> str:
    heads = model.language.heads
    padded = f" ({heads} heads padded to divide by {tensor_parallel}: vLLM refuses this)" * (
        heads % tensor_parallel > 0
    )
    place = f"{model.name} on {tensor_parallel} x {gpu.name} under {engine.name}{padded}"
    return f"roofline of {place}: {model.source}; {gpu.source}; {engine.source}"


def _free_bytes(
    model: Model, gpu: Gpu, tensor_parallel: int, engine: Engine, weight_bytes: float, memory_utilization: float
) -> float:
    """Bytes of one GPU left for the KV cache beside `weight_bytes` of weights."""
    available = gpu.memory_bytes * memory_utilization - engine.workspace_bytes
    if weight_bytes >= available:
        raise InputError(
            f"{model.name} does not fit {tensor_parallel} x {gpu.name}: weights need {weight_bytes / 1e9:.1f} GB "
            f"a GPU, {max(available, 0) / 1e9:.1f} GB are available (memory_utilization {memory_utilization:g} of "
            f"{gpu.memory_bytes / 1e9:.0f} GB, less {engine.workspace_bytes / 1e9:.0f} GB of workspace)"
        )
    return available - weight_bytes


def _check(encode: bool, llm: bool, tensor_parallel: int, memory_utilization: float) -> None:
    if not (encode or llm):
        raise InputError("an instance must hold the encoder, the LLM or both")
    if tensor_parallel not in (1, 2, 4, 8):
        raise InputError(f"tensor_parallel must be 1, 2, 4 or 8, not {tensor_parallel}")
    if not 0 < memory_utilization <= 1:
        raise InputError(f"memory_utilization must be in (0, 1], not {memory_utilization:g}")
