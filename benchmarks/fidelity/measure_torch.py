"""Measures real layer shapes with random weights on a GPU and writes the csv that `slackwise calibrate` reads.

    pip install -c constraints.txt -e '.[gpu,calibrate]'
    python benchmarks/fidelity/measure_torch.py Llama-3.2-11B-Vision --output steps.csv
    slackwise calibrate steps.csv --output profile.json --kv-capacity-tokens N

A few layers of the language model and of the vision encoder are built in bf16 and timed; seconds are scaled to the
whole depth, and the output table is added. Attention is PyTorch's scaled_dot_product_attention; decode is replayed from
a CUDA graph, so that launches do not count. No engine is around the layers: what is missing is its overhead between
steps, the connector and the rotary embedding. One GPU, no all-reduce.

Cross-attention layers (Llama 3.2) attend to one tile of image tokens, whose keys and values are counted in
context_tokens and prompt_done_tokens as the simulator counts them: in units of a text token's.
With --device cpu --layers 1 --small it only proves the shapes.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch_layers import blocks, caches, language_shape, stacked, vision_shape, weight
from torch_timer import Timer, place

from slackwise.errors import InputError, SlackwiseError
from slackwise.files import written_whole
from slackwise.latency.model import Model, load_model
from slackwise.optional import require

COLUMNS = ["decodes", "context_tokens", "prompt_tokens", "prompt_done_tokens", "images", "tiles", "seconds"]
IMAGE_TILES = 5
"""Tiles of the images that several are encoded of: 896 x 896 in InternVL (4 and a thumbnail)."""


class LanguageBench:
    """The LLM of a model on one GPU: times any batch of equal sequences."""

    def __init__(self, timer: Timer, model: Model, layers: int) -> None:
        language, torch, device = model.language, timer.torch, timer.device
        kinds = [(language.layers, False), (language.cross_layers, True)]
        self.timer, self.measured = timer, layers
        self.kinds = [(count, language_shape(language, cross)) for count, cross in kinds if count]
        self.layers = [blocks(torch, device, shape, layers) for _, shape in self.kinds]
        self.head = weight(torch, device, language.hidden, language.vocab)
        self.hidden = language.hidden
        self.image_tokens = model.vision.tile_tokens if model.cross_attention else 0
        self.image_kv_tokens = round(self.image_tokens * model.kv_tokens_per_image_token) * model.cross_attention

    def seconds(self, batch: int, tokens: int, context: int, graph: bool) -> float:
        """Seconds of a step: `tokens` new tokens of each sequence, attending to `context` (0: to themselves)."""
        x = self._random(batch, tokens)
        total = self.timer.seconds(lambda: x[:, -1] @ self.head, graph)
        for (count, shape), layers in zip(self.kinds, self.layers, strict=True):
            reads = self.image_tokens if shape.cross else context
            kept = caches(self.timer.torch, self.timer.device, shape, self.measured, batch, reads) if reads else None
            total += self.timer.seconds(stacked(layers, x, kept, True), graph) * count / self.measured
        return total

    def _random(self, batch: int, tokens: int) -> Any:
        torch = self.timer.torch
        return torch.randn(batch, tokens, self.hidden, device=self.timer.device, dtype=torch.bfloat16)


def decode_steps(bench: LanguageBench, small: bool) -> Iterator[dict[str, float]]:
    """Decode against batch and context."""
    for batch in (1, 4, 8) if small else (1, 4, 16, 32, 64, 128):
        for context in (256, 2048) if small else (256, 1024, 4096, 8192):
            read = batch * (context + bench.image_kv_tokens)
            yield {"decodes": batch, "context_tokens": read, "seconds": bench.seconds(batch, 1, context, True)}


def prefill_steps(bench: LanguageBench, small: bool) -> Iterator[dict[str, float]]:
    """Prefill of one prompt against its tokens."""
    for tokens in (8, 32, 128, 512) if small else (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        seconds = bench.seconds(1, tokens, 0, False)
        yield {"prompt_tokens": tokens, "prompt_done_tokens": bench.image_kv_tokens, "seconds": seconds}


def encode_steps(timer: Timer, model: Model, layers: int, small: bool) -> Iterator[dict[str, float]]:
    """Encode against images and tiles."""
    vision = model.vision
    stack = blocks(timer.torch, timer.device, vision_shape(vision), layers)
    patches = vision.tile_sequence or (896 // vision.patch_px) ** 2
    sequence = (64 if small else patches) * vision.joint_tiles
    for images, tiles in _image_cases(model, small):
        shape = (tiles // vision.joint_tiles, sequence, vision.hidden)
        x = timer.torch.randn(shape, device=timer.device, dtype=timer.torch.bfloat16)
        seconds = timer.seconds(stacked(stack, x, None, False)) * vision.layers / layers
        yield {"images": images, "tiles": tiles, "seconds": seconds}


def _image_cases(model: Model, small: bool) -> list[tuple[int, int]]:
    """(images, tiles) of the steps; models whose tiles are independent also get single images of several tiles."""
    joint = model.vision.joint_tiles
    counts = (1, 2, 4) if small else (1, 2, 4, 8, 16)
    if joint > 1 or model.vision.tiling == "native":
        return [(images, images * joint) for images in counts]
    return [(1, 1), (1, 2), (1, IMAGE_TILES), *((images, images * IMAGE_TILES) for images in counts[1:])]


def rows(timer: Timer, model: Model, layers: int, small: bool) -> Iterator[dict[str, float]]:
    """All steps of `model`; one that the GPU's memory does not hold is left out, and said."""
    bench = LanguageBench(timer, model, layers)
    makers: list[Callable[[], Iterator[dict[str, float]]]] = [
        lambda: decode_steps(bench, small),
        lambda: prefill_steps(bench, small),
        lambda: encode_steps(timer, model, layers, small),
    ]
    for make in makers:
        try:
            yield from make()
        except timer.torch.OutOfMemoryError:
            print("measure_torch: out of GPU memory: larger steps of this stage are left out", file=sys.stderr)


def measure(name: str, output: Path, device: str, layers: int, repeats: int, small: bool) -> None:
    """Measure decode, prefill and encode of the model called `name` and write the csv, whole or not at all."""
    torch = require("torch", "gpu")
    model, timer = load_model(name), Timer(torch, device, repeats)
    if model.vision.window_tokens:
        raise InputError(f"{model.name}: windowed attention is not built here")
    with torch.inference_mode():
        found = list(rows(timer, model, layers, small))
    instance = {"model": model.name, "engine": f"torch {torch.__version__}", "tensor_parallel": "1"}
    told = {**place(torch, device), **instance, "layers_measured": str(layers)}
    with written_whole(output) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *told], restval=0)
        writer.writeheader()
        writer.writerows({**row, **told} for row in found)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--layers", type=_count, default=4, help="layers built and timed, then scaled to the depth")
    parser.add_argument("--repeats", type=_count, default=20)
    parser.add_argument("--small", action="store_true", help="small sizes, to prove the shapes")
    options = parser.parse_args(given)
    try:
        measure(options.model, options.output, options.device, options.layers, options.repeats, options.small)
    except SlackwiseError as error:
        print(f"measure_torch: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
