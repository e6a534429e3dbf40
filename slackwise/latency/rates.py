"""What a GPU reaches under an engine: peaks times fitted efficiencies, and the engine's overheads on that GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.latency.engine import Engine
from slackwise.latency.gpu import Gpu

Value = float | NDArray[np.float64]
"""A number, or one number a row: the fit asks the same formulas about many measurements at once."""


@dataclass(frozen=True)
class Rates:
    """Speeds reached and overheads paid: all that the formulas in terms.py need to know of GPU and engine."""

    flops_s: Value  # linear layers
    weight_bytes_s: Value  # weights and activations
    attention_flops_s: Value
    kv_bytes_s: Value
    reduce_bytes_s: Value
    overlap: Value  # exponent of the soft maximum of compute and memory
    layer_s: Value
    peer_share: Value  # of layer_s, added by each further GPU
    all_reduce_s: Value
    slow_reduce_tokens: Value  # tokens of a step beyond which all-reduces slow down
    slow_reduce_bytes_s: Value
    ring_bytes: Value  # size of an all-reduce from which it runs as a ring, step by step
    ring_step_s: Value  # latency of one step of such a ring; 0 where the GPUs' switch sums


def rates(gpu: Gpu, engine: Engine) -> Rates:
    """The rates of `gpu` under `engine`. Raises InputError if the engine has no overheads for this GPU."""
    efficiency, kernels = gpu.efficiency, engine.kernels
    return Rates(
        flops_s=gpu.peak_flops * efficiency.compute * kernels.compute,
        weight_bytes_s=gpu.memory_bytes_s * efficiency.memory * kernels.memory,
        attention_flops_s=gpu.peak_flops * efficiency.attention * kernels.attention,
        kv_bytes_s=gpu.memory_bytes_s * efficiency.kv * kernels.kv,
        reduce_bytes_s=gpu.nvlink_bytes_s * efficiency.all_reduce * kernels.all_reduce,
        overlap=efficiency.overlap,
        layer_s=engine.layer_seconds(gpu.name),
        peer_share=engine.peer_share,
        all_reduce_s=engine.all_reduce_s,
        slow_reduce_tokens=engine.slow_reduce_tokens,
        slow_reduce_bytes_s=engine.slow_reduce_bytes_s,
        ring_bytes=engine.ring_bytes,
        ring_step_s=0.0 if gpu.switch_sums else engine.ring_step_s,
    )
