"""GPUs: peaks from their data sheets (gpus.toml) and six fitted efficiency constants each (fitted.toml)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from slackwise.latency.catalogue import catalogue, record, resolve


@dataclass(frozen=True)
class Efficiency:
    """What real kernels reach of a GPU's peaks: the fitted constants of the roofline."""

    compute: float  # of the bf16 peak, in linear layers
    memory: float  # of the memory bandwidth, reading weights and activations
    attention: float  # of the bf16 peak, in prefill and encoder attention
    kv: float  # of the memory bandwidth, reading the KV cache in decode
    all_reduce: float  # of the NVLink bandwidth, in all-reduces
    overlap: float  # exponent p of the soft maximum (compute^p + memory^p)^(1/p)


@dataclass(frozen=True)
class Gpu:
    """One GPU: peaks (bf16, dense), memory, NVLink, and the efficiency constants."""

    name: str
    peak_flops: float  # FLOP/s, bf16 without sparsity
    memory_bytes_s: float  # memory bandwidth
    memory_bytes: float
    nvlink_bytes_s: float  # one way
    switch_sums: bool  # whether the NVLink switch adds up all-reduces itself (NVLink SHARP)
    efficiency: Efficiency
    source: str


def gpus() -> list[str]:
    """Names of the known GPUs."""
    return list(catalogue("gpus.toml"))


@cache
def load_gpu(name: str) -> Gpu:
    """The GPU called `name` (an unambiguous beginning will do). Raises InputError with the closest known name."""
    known = resolve("GPU", name, gpus())
    efficiency = record(Efficiency, catalogue("fitted.toml")["gpus"][known], f"fitted.toml gpus.{known}")
    table = {"name": known, "efficiency": efficiency, **catalogue("gpus.toml")[known]}
    return record(Gpu, table, f"gpus.toml {known}")
