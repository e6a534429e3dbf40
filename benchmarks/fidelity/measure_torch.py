"""Measures real layer shapes with random weights on a GPU and writes the csv that `slackwise calibrate` reads.

    python benchmarks/fidelity/measure_torch.py Llama-3.2-11B-Vision --output steps.csv

A few layers of the language model and of the vision encoder are built in bf16 and timed; seconds are scaled to the
whole depth. Attention is PyTorch's scaled_dot_product_attention; decode is replayed from a CUDA graph, so that launches
do not count. No engine is around the layers: what is missing is its overhead between steps. One GPU, no all-reduce.
With --device cpu and --layers 1 it only proves the shapes.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slackwise.errors import SlackwiseError
from slackwise.files import written_whole
from slackwise.latency.model import Language, Vision, load_model
from slackwise.optional import require

COLUMNS = ["decodes", "context_tokens", "prompt_tokens", "images", "tiles", "seconds"]
FACTS = ["gpu", "clock_mhz", "torch", "cuda", "model", "layers_measured"]


class Block:
    """One transformer layer with random weights: norm, attention, norm, MLP; rotary embedding left out."""

    def __init__(
        self, torch: Any, device: str, hidden: int, heads: int, kv_heads: int, head_dim: int, mlp: int, gated: bool
    ) -> None:
        def weight(rows: int, columns: int) -> Any:
            return torch.randn(rows, columns, device=device, dtype=torch.bfloat16) / rows**0.5

        self.torch, self.heads, self.kv_heads, self.head_dim, self.gated = torch, heads, kv_heads, head_dim, gated
        self.norm = torch.ones(hidden, device=device, dtype=torch.bfloat16)
        self.qkv = weight(hidden, (heads + 2 * kv_heads) * head_dim)
        self.out = weight(heads * head_dim, hidden)
        self.up = weight(hidden, mlp * (2 if gated else 1))
        self.down = weight(mlp, hidden)

    def __call__(self, x: Any, cache: Any = None, causal: bool = True) -> Any:
        """x: (batch, tokens, hidden); `cache` = keys and values, each (batch, kv_heads, context, head_dim)."""
        functional = self.torch.nn.functional
        batch, tokens, hidden = x.shape
        heads = [self.heads, self.kv_heads, self.kv_heads]
        sizes = [each * self.head_dim for each in heads]
        parts = (functional.rms_norm(x, (hidden,), self.norm) @ self.qkv).split(sizes, dim=-1)
        query, key, value = (
            part.view(batch, tokens, each, self.head_dim).transpose(1, 2)
            for part, each in zip(parts, heads, strict=True)
        )
        if cache is not None:
            key, value = cache
        attended = functional.scaled_dot_product_attention(
            query, key, value, is_causal=causal and cache is None, enable_gqa=self.heads != self.kv_heads
        )
        x = x + attended.transpose(1, 2).reshape(batch, tokens, -1) @ self.out
        inner = functional.rms_norm(x, (hidden,), self.norm) @ self.up
        if self.gated:
            gate, inner = inner.chunk(2, dim=-1)
            inner = functional.silu(gate) * inner
        else:
            inner = functional.gelu(inner)
        return x + inner @ self.down


def language_block(torch: Any, device: str, language: Language) -> Block:
    """A decoder layer of `language`."""
    gated = language.mlp_matrices == 3
    sizes = (language.hidden, language.heads, language.kv_heads, language.head_dim, language.mlp)
    return Block(torch, device, *sizes, gated=gated)


def vision_block(torch: Any, device: str, vision: Vision) -> Block:
    """A layer of the encoder `vision`."""
    head_dim = vision.hidden // vision.heads
    gated = vision.mlp_matrices == 3
    return Block(torch, device, vision.hidden, vision.heads, vision.heads, head_dim, vision.mlp, gated=gated)


class Bench:
    """Times functions on one device: the median of several runs after warming up."""

    def __init__(self, torch: Any, device: str, repeats: int) -> None:
        self.torch, self.device, self.repeats = torch, device, repeats

    def seconds(self, work: Callable[[], Any], graph: bool = False) -> float:
        """Seconds of `work`; as a replayed CUDA graph if `graph` and there is a GPU."""
        for _ in range(3):
            work()
        run = self._captured(work) if graph and self.device == "cuda" else work
        return statistics.median(self._once(run) for _ in range(self.repeats))

    def _captured(self, work: Callable[[], Any]) -> Callable[[], Any]:
        self.torch.cuda.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            work()
        replay: Callable[[], Any] = graph.replay
        return replay

    def _once(self, run: Callable[[], Any]) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()


def stacked(blocks: list[Block], x: Any, caches: list[Any] | None = None, causal: bool = True) -> Callable[[], Any]:
    """A function that runs `x` through all blocks."""

    def work() -> Any:
        y = x
        for at, block in enumerate(blocks):
            y = block(y, caches[at] if caches else None, causal)
        return y

    return work


def decode_steps(bench: Bench, language: Language, layers: int, small: bool) -> Iterator[dict[str, float]]:
    """Decode against batch and context."""
    torch, scale = bench.torch, (language.layers + language.cross_layers) / layers
    blocks = [language_block(torch, bench.device, language) for _ in range(layers)]
    for batch in (1, 2) if small else (1, 4, 16, 32, 64, 128):
        for context in (16, 32) if small else (256, 1024, 4096, 8192):
            shape = (batch, language.kv_heads, context, language.head_dim)
            make = torch.zeros(2, *shape, device=bench.device, dtype=torch.bfloat16)
            x = torch.randn(batch, 1, language.hidden, device=bench.device, dtype=torch.bfloat16)
            caches = [(make[0].clone(), make[1].clone()) for _ in blocks]  # one each: no layer finds its KV in cache
            seconds = bench.seconds(stacked(blocks, x, caches), graph=True)
            yield {"decodes": batch, "context_tokens": batch * context, "seconds": seconds * scale}


def prefill_steps(bench: Bench, language: Language, layers: int, small: bool) -> Iterator[dict[str, float]]:
    """Prefill against tokens."""
    torch, scale = bench.torch, (language.layers + language.cross_layers) / layers
    blocks = [language_block(torch, bench.device, language) for _ in range(layers)]
    for tokens in (8, 16, 32, 64) if small else (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        x = torch.randn(1, tokens, language.hidden, device=bench.device, dtype=torch.bfloat16)
        yield {"prompt_tokens": tokens, "seconds": bench.seconds(stacked(blocks, x)) * scale}


def encode_steps(bench: Bench, vision: Vision, layers: int, small: bool) -> Iterator[dict[str, float]]:
    """Encode against tiles; tiles that attend jointly form one sequence. Native resolution: images of 896 x 896."""
    torch, scale = bench.torch, vision.layers / layers
    blocks = [vision_block(torch, bench.device, vision) for _ in range(layers)]
    sequence = 16 if small else (vision.tile_sequence or (896 // vision.patch_px) ** 2) * vision.joint_tiles
    for images in (1, 2, 4) if small else (1, 2, 4, 8, 16):
        x = torch.randn(images, sequence, vision.hidden, device=bench.device, dtype=torch.bfloat16)
        seconds = bench.seconds(stacked(blocks, x, causal=False)) * scale
        yield {"images": images, "tiles": images * vision.joint_tiles, "seconds": seconds}


def facts(torch: Any, device: str, model: str, layers: int) -> dict[str, str]:
    """What the measurement ran on."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}"
    clock = str(torch.cuda.clock_rate()) if device == "cuda" else ""
    values = (gpu, clock, torch.__version__, str(torch.version.cuda), model, str(layers))
    return dict(zip(FACTS, values, strict=True))


def measure(model: str, output: Path, device: str, layers: int, repeats: int, small: bool) -> None:
    """Measure decode, prefill and encode of `model` and write the csv."""
    torch = require("torch", "rl")
    known = load_model(model)
    bench = Bench(torch, device, repeats)
    told = facts(torch, device, known.name, layers)
    with torch.inference_mode(), written_whole(output) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *FACTS], restval=0)
        writer.writeheader()
        for steps in (decode_steps, prefill_steps):
            writer.writerows({**row, **told} for row in steps(bench, known.language, layers, small))
        writer.writerows({**row, **told} for row in encode_steps(bench, known.vision, layers, small))


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--layers", type=int, default=4, help="layers built and timed, then scaled to the depth")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to prove the shapes")
    options = parser.parse_args(given)
    try:
        measure(options.model, options.output, options.device, options.layers, options.repeats, options.small)
    except SlackwiseError as error:
        print(f"measure_torch: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
