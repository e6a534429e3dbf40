"""Engine generations: the overheads that belong to the software, from engines.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from slackwise.errors import unknown
from slackwise.latency.catalogue import catalogue, record, resolve


@dataclass(frozen=True)
class Engine:
    """Overheads of one generation of a serving engine; seconds unless the name says otherwise."""

    name: str
    step_s: float  # between two steps: scheduling, input preparation, sampling
    layer_s: Mapping[str, float]  # GPU name -> small kernels and launches of one LLM layer
    encoder_layer_s: float  # the same for one layer of the vision encoder
    all_reduce_s: float  # latency of one all-reduce, data aside
    workspace_bytes: float  # GPU memory that neither weights nor KV cache can use, a GPU
    start_s: float  # process start, compilation, graph capture, warm-up
    load_bytes_s: float  # weights from storage into one GPU
    source: str

    def layer_seconds(self, gpu: str) -> float:
        """Overhead of one LLM layer on `gpu`. Raises InputError if this engine was never measured there."""
        if gpu not in self.layer_s:
            raise unknown(f"GPU of engine {self.name}", gpu, self.layer_s)
        return self.layer_s[gpu]


def engines() -> list[str]:
    """Names of the known engine generations."""
    return list(catalogue("engines.toml"))


@cache
def load_engine(name: str) -> Engine:
    """The engine generation called `name`. Raises InputError with the closest known name."""
    known = resolve("engine", name, engines())
    return record(Engine, {"name": known, **catalogue("engines.toml")[known]}, f"engines.toml {known}")
