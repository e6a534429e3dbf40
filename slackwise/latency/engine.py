"""Engine generations: the overheads that belong to the software (engines.toml, its fitted part in fitted.toml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from slackwise.errors import unknown
from slackwise.latency.catalogue import catalogue, record, resolve
from slackwise.latency.model import Model


@dataclass(frozen=True)
class Kernels:
    """How an engine's kernels do relative to the GPU's efficiency constants; 1 where nothing says otherwise."""

    compute: float = 1.0
    memory: float = 1.0
    attention: float = 1.0
    kv: float = 1.0
    all_reduce: float = 1.0


@dataclass(frozen=True)
class Engine:
    """Overheads of one generation of a serving engine; seconds unless the name says otherwise."""

    name: str
    source: str
    step_s: float  # between two steps: scheduling, input preparation, sampling
    layer_s: Mapping[str, float]  # GPU name -> small kernels and launches of one layer, LLM or encoder
    all_reduce_s: float  # latency of one all-reduce, data aside
    workspace_bytes: float  # GPU memory that neither weights nor KV cache can use, a GPU
    start_s: float  # process start, compilation, graph capture, warm-up
    load_bytes_s: float  # weights from storage into one GPU
    kernels: Kernels = field(default_factory=Kernels)
    slow_reduce_tokens: float = 1e12  # tokens of a step beyond which all-reduces slow down
    slow_reduce_bytes_s: float = 1e12
    ring_bytes: float = 1e18  # size of an all-reduce from which the engine leaves its own kernel for NCCL's ring
    ring_step_s: float = 0.0  # latency of each of the 2 (n - 1) steps of that ring
    peer_share: float = 0.0  # each further GPU of an instance adds this share of layer_s
    eager_layer_s: Mapping[str, float] = field(default_factory=dict)  # layer_s and step_s of LLMs without CUDA graphs
    eager_peer_share: float = 0.0  # peer_share of those
    pixel_bytes: int = 0  # of one colour value handed to the GPUs of an instance; 0: nothing is charged for it
    pixels_bytes_s: float = 1e18  # handing pixels to a second GPU's process: packed, sent, unpacked in turn
    peer_pixels_bytes_s: float = 1e18  # sending them to each further one

    def layer_seconds(self, gpu: str) -> float:
        """Overhead of one layer on `gpu`. Raises InputError if this engine was never measured there."""
        if gpu not in self.layer_s:
            raise unknown(f"GPU of engine {self.name}", gpu, self.layer_s)
        return self.layer_s[gpu]

    def running(self, model: Model) -> Engine:
        """This engine as it runs the LLM of `model`: without CUDA graphs, if it has none for cross-attention.

        Overheads without graphs were fitted with the time between steps in them, so `step_s` is then 0.
        """
        if not (model.cross_attention and self.eager_layer_s):
            return self
        return replace(self, layer_s=self.eager_layer_s, peer_share=self.eager_peer_share, step_s=0.0)

    def handing_seconds(self, values: float, tensor_parallel: int) -> float:
        """Seconds to hand `values` colour values to the processes of `tensor_parallel` GPUs; 0 for a single one."""
        if tensor_parallel == 1:
            return 0.0
        size = self.pixel_bytes * values
        return size / self.pixels_bytes_s + (tensor_parallel - 2) * size / self.peer_pixels_bytes_s


def engines() -> list[str]:
    """Names of the known engine generations."""
    return list(catalogue("engines.toml"))


@cache
def load_engine(name: str) -> Engine:
    """The engine generation called `name`. Raises InputError with the closest known name."""
    known = resolve("engine", name, engines())
    facts = dict(catalogue("engines.toml")[known])
    fitted = dict(catalogue("fitted.toml")["engines"][facts.pop("fitted")])
    kernels = record(Kernels, fitted.pop("kernels", {}), f"fitted.toml {known}.kernels")
    return record(Engine, {"name": known, "kernels": kernels, **facts, **fitted}, f"engines.toml {known}")
