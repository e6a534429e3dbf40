"""Measures real layer shapes with random weights on a GPU and writes the csv that `slackwise calibrate` reads.

    pip install -c constraints.txt -e '.[gpu,calibrate]'
    python benchmarks/fidelity/measure_torch.py Llama-3.2-11B-Vision --output steps.csv
    slackwise calibrate steps.csv --output profile.json --kv-capacity-tokens N
    python benchmarks/fidelity/against.py steps.csv

A few layers of the language model and of the vision encoder are built in bf16 and timed; seconds are scaled to the
whole depth, and the output table is added. On a GPU everything is replayed from CUDA graphs, so that launches do not
count, and attention is the fastest of PyTorch's kernels (column `attention`). No engine is around the layers: what is
missing is its overhead between steps, the connector and the rotary embedding. One GPU, no all-reduce.

Cross-attention layers (Llama 3.2) attend to one tile of image tokens, whose keys and values are counted in
context_tokens and prompt_done_tokens as the simulator counts them: in units of a text token's.
With --device cpu --layers 1 --small it only proves the shapes.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch_layers import Part, blocks, caches, language_shape, stacked, vision_shape, weight
from torch_timer import Timer, ceilings, place

from slackwise.errors import InputError, SlackwiseError
from slackwise.files import written_whole
from slackwise.latency.model import Model, load_model
from slackwise.optional import require

COLUMNS = ["decodes", "context_tokens", "prompt_tokens", "prompt_done_tokens", "images", "tiles", "seconds"]
IMAGE_TILES = 5
"""Tiles of the images that several are encoded of: 896 x 896 in InternVL (4 and a thumbnail)."""

Row = dict[str, float | str]


class LanguageBench:
    """The LLM of a model on one GPU: times steps of decodes, of a prompt, or of both."""

    def __init__(self, timer: Timer, model: Model, layers: int) -> None:
        language, torch, device = model.language, timer.torch, timer.device
        kinds = [(language.layers, False), (language.cross_layers, True)]
        self.timer, self.measured, self.language = timer, layers, language
        self.kinds = [(count, language_shape(language, cross)) for count, cross in kinds if count]
        self.layers = [blocks(torch, device, shape, layers) for _, shape in self.kinds]
        self.head = weight(torch, device, language.hidden, language.vocab)
        self.image_tokens = model.vision.tile_tokens if model.cross_attention else 0
        self.image_kv_tokens = round(self.image_tokens * model.kv_tokens_per_image_token) * model.cross_attention

    def step(self, decodes: int = 0, context: int = 0, prompt: int = 0) -> Row:
        """A step of `decodes` sequences with `context` tokens each and of one prompt of `prompt` tokens."""
        sequences = [(decodes, 1, context)] * (decodes > 0) + [(1, prompt, 0)] * (prompt > 0)
        rows, tokens = sum(count for count, _, _ in sequences), decodes + prompt
        last = self._random(rows)
        total, used = self.timer.seconds(lambda: last @ self.head), []
        for (count, shape), layers in zip(self.kinds, self.layers, strict=True):
            parts = [self._part(shape, *each) for each in sequences]
            seconds, name = self.timer.fastest(stacked(layers, self._random(tokens), parts))
            total += seconds * count / self.measured
            used.append(name)
        read = decodes * (context + self.image_kv_tokens)
        done = self.image_kv_tokens if prompt else 0
        sizes = {"decodes": decodes, "context_tokens": read, "prompt_tokens": prompt, "prompt_done_tokens": done}
        return {**sizes, "seconds": total, "attention": " ".join(used)}

    def _part(self, shape: Any, sequences: int, tokens: int, context: int) -> Part:
        """Cross-attention layers attend to an image, others to `context`, or to the new tokens if it is 0."""
        reads = self.image_tokens if shape.cross else context
        timer = self.timer
        kept = caches(timer.torch, timer.device, shape, self.measured, sequences, reads) if reads else None
        return Part(sequences, tokens, kept)

    def _random(self, tokens: int) -> Any:
        torch = self.timer.torch
        return torch.randn(tokens, self.language.hidden, device=self.timer.device, dtype=torch.bfloat16)


Case = Callable[[], Row]


def language_cases(bench: LanguageBench, small: bool) -> Iterator[Case]:
    """Decode against batch and context, prefill against tokens, and chunks beside decodes."""
    for batch in (1, 4, 8) if small else (1, 4, 16, 32, 64, 128):
        for context in (256, 2048) if small else (256, 1024, 4096, 8192):
            yield partial(bench.step, batch, context)
    prompts = (8, 32, 128, 512) if small else (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
    for tokens in prompts:
        yield partial(bench.step, prompt=tokens)
    for batch in (2,) if small else (16, 64):
        for chunk in (16,) if small else (256, 512, 2048):
            yield partial(bench.step, batch, 1024, chunk)


def encode_cases(timer: Timer, model: Model, layers: int, small: bool) -> Iterator[Case]:
    """Encode against images and tiles."""
    vision = model.vision
    stack = blocks(timer.torch, timer.device, vision_shape(vision), layers)
    patches = vision.tile_sequence or (896 // vision.patch_px) ** 2
    sequence = (64 if small else patches) * vision.joint_tiles

    def encode(images: int, tiles: int) -> Row:
        part = Part(tiles // vision.joint_tiles, sequence, causal=False)
        shape = (part.sequences * part.tokens, vision.hidden)
        x = timer.torch.randn(shape, device=timer.device, dtype=timer.torch.bfloat16)
        seconds, used = timer.fastest(stacked(stack, x, [part]))
        return {"images": images, "tiles": tiles, "seconds": seconds * vision.layers / layers, "attention": used}

    for images, tiles in _image_cases(model, small):
        yield partial(encode, images, tiles)


def _image_cases(model: Model, small: bool) -> list[tuple[int, int]]:
    """(images, tiles) of the steps; models whose tiles are independent also get single images of several tiles."""
    joint = model.vision.joint_tiles
    counts = (1, 2, 4) if small else (1, 2, 4, 8, 16)
    if joint > 1 or model.vision.tiling == "native":
        return [(images, images * joint) for images in counts]
    return [(1, 1), (1, 2), (1, IMAGE_TILES), *((images, images * IMAGE_TILES) for images in counts[1:])]


def rows(timer: Timer, model: Model, layers: int, small: bool) -> Iterator[Row]:
    """All steps of `model`; one that the GPU's memory does not hold is left out, and said."""
    yield from _held(timer, language_cases(LanguageBench(timer, model, layers), small))
    yield from _held(timer, encode_cases(timer, model, layers, small))


def _held(timer: Timer, cases: Iterator[Case]) -> Iterator[Row]:
    for case in cases:
        try:
            yield case()
        except timer.torch.OutOfMemoryError:
            print("measure_torch: out of GPU memory: a step is left out", file=sys.stderr)
        if timer.device == "cuda":
            timer.torch.cuda.empty_cache()  # so that the sizes of one step do not crowd out another's


def measure(name: str, output: Path, device: str, layers: int, repeats: int, small: bool) -> None:
    """Measure decode, prefill, mixed steps and encode of the model called `name` and write the csv."""
    torch = require("torch", "gpu")
    model, timer = load_model(name), Timer(torch, device, repeats)
    if model.vision.window_tokens:
        raise InputError(f"{model.name}: windowed attention is not built here")
    with torch.inference_mode():
        found = list(rows(timer, model, layers, small))
        told = {**place(timer), **ceilings(timer, small)}
    instance = {"model": model.name, "engine": f"torch {torch.__version__}", "tensor_parallel": "1"}
    write(output, found, {**told, **instance, "layers_measured": str(layers)})


def write(output: Path, found: Sequence[Row], told: dict[str, str]) -> None:
    """Write the csv, whole or not at all: a line a step, `told` on each."""
    with written_whole(output) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "attention", *told], restval=0)
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
    parser.add_argument("--layers", type=_count, default=8, help="layers built and timed, then scaled to the depth")
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
