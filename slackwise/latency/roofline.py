"""The roofline: what a step costs, from a model's dimensions, a GPU's peaks and an engine's overheads.

    step    = soft(compute, memory) + attention + KV + all-reduce + layers * overhead + engine overhead
    compute = FLOPs / (peak * e_compute)        memory = weight bytes / (bandwidth * e_memory)
    soft(c, m) = (c^p + m^p)^(1/p)

A soft maximum, since kernels near the ridge reach neither peak; a hard one is 10 % off in prefill of 64 to 512 tokens.
All but KV is fixed while a batch decodes, so the decode step is linear in the step number. Everything is per GPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.latency.costs import COSTS, StepCosts
from slackwise.latency.engine import Engine, load_engine
from slackwise.latency.gpu import Gpu
from slackwise.latency.images import native_patches
from slackwise.latency.model import Model
from slackwise.latency.work import LanguageWork, VisionWork, instance_bytes, language_work, tile_sequence, vision_work

TABLE_TOKENS = 8192
"""Tokens of a step up to which the linear layers are tabulated; beyond, the last slope goes on (compute-bound)."""

ENCODE_TILES = 16
"""Tiles at which the line of encode seconds is anchored, besides a single one."""


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
    The connector's time is counted with encode, its weights with the LLM. Stages that the instance lacks cost 0.

    Raises InputError if nothing is held, if `tensor_parallel` is not 1, 2, 4 or 8, if `memory_utilization` is not in
    (0, 1], or if the weights do not fit: the text names the bytes needed and available.
    """
    _check(encode, llm, tensor_parallel, memory_utilization)
    overheads = load_engine(engine)
    weight_bytes = instance_bytes(model, tensor_parallel, encode, llm)
    free_bytes = _free_bytes(model, gpu, tensor_parallel, overheads, weight_bytes, memory_utilization)
    record = np.zeros(1, COSTS)
    table = np.zeros(1)
    capacity = 0
    if llm:
        work = language_work(model.language, tensor_parallel)
        table = linear_table(work, gpu, TABLE_TOKENS)
        fill_language(record, work, table, gpu, overheads, tensor_parallel)
        capacity = int(free_bytes / work.kv_bytes_per_token)
    if encode:
        fill_vision(record, _vision_work(model, image_size, tensor_parallel), gpu, overheads, tensor_parallel)
    return StepCosts(
        record=record[0],
        linear_s=table,
        kv_capacity_tokens=capacity,
        load_s=overheads.start_s + weight_bytes / overheads.load_bytes_s,
        source=f"roofline of {model.name} on {tensor_parallel} x {gpu.name} under {overheads.name}: {gpu.source}; "
        f"{overheads.source}",
        text_only_share=model.language.text_only_share if llm else 1.0,
    )


def soft_maximum(compute_s: NDArray[np.float64], memory_s: float, exponent: float) -> NDArray[np.float64]:
    """(compute^p + memory^p)^(1/p), elementwise."""
    return np.asarray((compute_s**exponent + memory_s**exponent) ** (1 / exponent))


def linear_seconds_of(work: LanguageWork, gpu: Gpu, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of all linear layers, and of the data that all-reduces move, for `tokens` >= 1 tokens in a step."""
    efficiency = gpu.efficiency
    compute_s = work.flops_per_token * tokens / (gpu.peak_flops * efficiency.compute)
    memory_s = work.weight_bytes / (gpu.memory_bytes_s * efficiency.memory)
    reduce_s = work.reduced_bytes_per_token * tokens / (gpu.nvlink_bytes_s * efficiency.all_reduce)
    return soft_maximum(compute_s, memory_s, efficiency.overlap) + reduce_s


def linear_table(work: LanguageWork, gpu: Gpu, last: int) -> NDArray[np.float64]:
    """Seconds of the linear layers for 0 .. `last` tokens; 0 for none."""
    table = np.zeros(last + 1)
    table[1:] = linear_seconds_of(work, gpu, np.arange(1, last + 1, dtype=np.float64))
    return table


def fill_language(
    record: NDArray[np.void],
    work: LanguageWork,
    table: NDArray[np.float64],
    gpu: Gpu,
    engine: Engine,
    tensor_parallel: int,
) -> None:
    """Write the LLM's fields of a COSTS record."""
    efficiency = gpu.efficiency
    record["step_s"] = engine.step_s + work.head_bytes / (gpu.memory_bytes_s * efficiency.memory)
    record["step_s"] += work.layers * (engine.layer_seconds(gpu.name) + _reduce_latency(engine, tensor_parallel))
    record["linear_slope_s"] = table[-1] - table[-2]
    record["kv_s_per_token"] = work.kv_bytes_per_token / (gpu.memory_bytes_s * efficiency.kv)
    record["attention_s_per_pair"] = work.flops_per_pair / (gpu.peak_flops * efficiency.attention)


def encode_seconds(
    work: VisionWork, gpu: Gpu, engine: Engine, tensor_parallel: int, tiles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Seconds to encode `tiles` tiles in one step."""
    efficiency = gpu.efficiency
    compute_s = work.linear_flops * tiles / (gpu.peak_flops * efficiency.compute)
    memory_s = work.weight_bytes / (gpu.memory_bytes_s * efficiency.memory)
    per_tile_s = work.attention_flops / (gpu.peak_flops * efficiency.attention)
    per_tile_s += work.activation_bytes / (gpu.memory_bytes_s * efficiency.memory)
    per_tile_s += work.reduced_bytes / (gpu.nvlink_bytes_s * efficiency.all_reduce)
    fixed_s = work.layers * (engine.encoder_layer_s + _reduce_latency(engine, tensor_parallel))
    return fixed_s + soft_maximum(compute_s, memory_s, efficiency.overlap) + per_tile_s * tiles


def fill_vision(
    record: NDArray[np.void],
    work: VisionWork,
    gpu: Gpu,
    engine: Engine,
    tensor_parallel: int,
) -> None:
    """Write the encoder's fields of a COSTS record: the line through 1 and ENCODE_TILES tiles."""
    one, many = encode_seconds(work, gpu, engine, tensor_parallel, np.array([1.0, ENCODE_TILES]))
    record["encode_s_per_tile"] = (many - one) / (ENCODE_TILES - 1)
    record["encode_step_s"] = one - record["encode_s_per_tile"]


def _vision_work(model: Model, image_size: tuple[int, int], tensor_parallel: int) -> VisionWork:
    columns, rows = native_patches(model.vision, *image_size) if model.vision.tiling == "native" else (0, 0)
    sequence = tile_sequence(model.vision, columns * rows)
    return vision_work(model.vision, sequence, model.connector_params, tensor_parallel)


def _reduce_latency(engine: Engine, tensor_parallel: int) -> float:
    """Latency of the two all-reduces of a layer."""
    return 2 * engine.all_reduce_s if tensor_parallel > 1 else 0.0


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
