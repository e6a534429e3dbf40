"""Measures the steps of an offline vLLM engine: designed batches, each step timed, one row a step for `calibrate`.

Three sweeps, a batch at a time with nothing else in the engine:

    decode   sequences x context: prompts are prefilled, then steps of one token each are timed
    prefill  prompts of so many tokens, in steps as the engine cuts them
    images   prompts with so many images

A step lasts from the return of `schedule()` to the beginning of `update_from_output()`: the device and what the engine
does around it, the scheduler left out.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from slackwise.adapters.vllm.estimates import StepWork
from slackwise.errors import InputError
from slackwise.files import write_text

COLUMNS = (
    "point",
    "decodes",
    "context_tokens",
    "prompt_tokens",
    "prompts",
    "prompt_done_tokens",
    "images",
    "tiles",
    "seconds",
    "gpu",
    "model",
    "engine",
    "tensor_parallel",
)
"""Of the csv; `point` is for resuming, the rest as `slackwise calibrate` reads it."""

WARM_UP = 2
"""Batches of each point that are run before any is timed: the first of a shape costs more."""


@dataclass(frozen=True)
class Point:
    """A batch: so many prompts of so many tokens and images at once, each to generate so many tokens."""

    kind: str  # decode, prefill or images
    prompts: int
    tokens: int
    images: int = 0
    outputs: int = 1

    @property
    def name(self) -> str:
        """What the csv calls it."""
        return f"{self.kind}-{self.prompts}x{self.tokens}+{self.images}"


@dataclass(frozen=True)
class Design:
    """What is swept."""

    decodes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    contexts: tuple[int, ...] = (128, 1024, 4096)
    prompts: tuple[int, ...] = (16, 128, 512, 1024, 2048)
    images: tuple[int, ...] = (1, 2, 4)
    steps: int = 12  # timed decode steps of a batch
    repeats: int = 3

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not all(isinstance(one, int) and one > 0 for one in (value if isinstance(value, tuple) else (value,))):
                raise InputError(f"{each.name} = {value!r} must be whole numbers above 0")

    def points(self, longest: int, sequences: int, step_tokens: int) -> Iterator[Point]:
        """The batches that fit contexts of `longest` tokens, `sequences` at a time and steps of `step_tokens`.

        Whoever is prefilled first goes on decoding until the last one is, so that all decode together for `steps`.
        """
        for context in self.contexts:
            for count in self.decodes:
                outputs = self.steps + 1 + -(-count * context // max(1, step_tokens - count))
                if count <= sequences and context + outputs < longest:
                    yield Point("decode", count, context, 0, outputs)
        for tokens in self.prompts:
            if tokens + 1 < longest:
                yield Point("prefill", 1, tokens)
        for count in self.images:
            yield Point("images", 1, 32, count)


@dataclass(frozen=True)
class Row:
    """A timed step."""

    work: StepWork
    prompts: int
    done_tokens: float  # computed before, of each prompt in the step, on average
    images: int
    seconds: float


class Recorder:
    """Times the steps of the scheduler of an engine in this process."""

    def __init__(self, scheduler: Any, tiles_per_image: int) -> None:
        self.scheduler, self.tiles, self.rows = scheduler, tiles_per_image, list[Row]()
        self._open: dict[int, tuple[float, Row]] = {}
        self._schedule, self._update = scheduler.schedule, scheduler.update_from_output
        scheduler.schedule, scheduler.update_from_output = self.schedule, self.update

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's, noting what the step holds."""
        output = self._schedule(*args, **kwargs)
        if output.total_num_scheduled_tokens:
            self._open[id(output)] = (time.perf_counter(), self._row(output))
        return output

    def update(self, output: Any, *args: Any, **kwargs: Any) -> Any:
        """vLLM's, noting how long the step took."""
        ended = time.perf_counter()
        begun, row = self._open.pop(id(output), (ended, None))
        if row is not None:
            self.rows.append(Row(row.work, row.prompts, row.done_tokens, row.images, ended - begun))
        return self._update(output, *args, **kwargs)

    def take(self) -> list[Row]:
        """The steps since the last time."""
        taken, self.rows = self.rows, []
        return taken

    def _row(self, output: Any) -> Row:
        decodes = kv_tokens = prompt_tokens = prompts = done_tokens = 0
        for name, count in output.num_scheduled_tokens.items():
            request = self.scheduler.requests[name]
            done = request.num_computed_tokens - count
            if count == 1 and done >= request.num_prompt_tokens:
                decodes, kv_tokens = decodes + 1, kv_tokens + done
            else:
                prompts, prompt_tokens, done_tokens = prompts + 1, prompt_tokens + count, done_tokens + done
        images = sum(len(each) for each in output.scheduled_encoder_inputs.values())
        work = StepWork(decodes, kv_tokens, prompt_tokens, 0.0, images * self.tiles)
        return Row(work, prompts, done_tokens / max(1, prompts), images, 0.0)


def measure(
    llm: Any,
    path: Path,
    design: Design,
    instance: dict[str, str],
    image_side: int,
    tiles_per_image: int,
    say: Callable[[str], None],
) -> int:
    """Measure every point that `path` does not hold yet and add its rows; how many points were measured.

    The file is written whole after each point, so that a run that was broken off goes on where it stopped.
    """
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    recorder, rows = Recorder(scheduler, tiles_per_image), _held(path, instance)
    done = {row["point"] for row in rows}
    limits = (scheduler.max_model_len, scheduler.max_num_running_reqs, scheduler.max_num_scheduled_tokens)
    points = [point for point in design.points(*limits) if point.name not in done]
    for at, point in enumerate(points, 1):
        say(f"{at} of {len(points)}: {point.name}")
        for repeat in range(WARM_UP + design.repeats):
            _serve(llm, point, image_side, repeat)
            steps = recorder.take()
            if repeat >= WARM_UP:
                rows += [_line(point, row, instance) for row in steps if _wanted(point, row)]
        _write(path, rows)
    return len(points)


def _wanted(point: Point, row: Row) -> bool:
    """Steps of the kind that the point is about."""
    if point.kind == "decode":
        return row.work.decodes == point.prompts and row.work.prompt_tokens == 0
    return row.work.decodes == 0


def _line(point: Point, row: Row, instance: dict[str, str]) -> dict[str, str]:
    """A row of the csv."""
    work = row.work
    values = (work.decodes, work.kv_tokens, work.prompt_tokens, row.prompts, f"{row.done_tokens:g}")
    told = [point.name, *values, row.images, work.tiles, f"{row.seconds:.9f}"]
    return dict(zip(COLUMNS, map(str, told), strict=False)) | instance


def _serve(llm: Any, point: Point, image_side: int, seed: int) -> None:
    """Run the batch once, with pictures and prompts that no cache has seen."""
    from vllm import SamplingParams

    sampling = SamplingParams(max_tokens=point.outputs, temperature=0, ignore_eos=True)
    llm.generate(
        [_prompt(point, image_side, 1000 * seed + at) for at in range(point.prompts)], sampling, use_tqdm=False
    )


def _prompt(point: Point, image_side: int, seed: int) -> Any:
    from slackwise.streams import stream

    rng = stream(seed, f"measure/{point.name}")
    if not point.images:
        return {"prompt_token_ids": rng.integers(5, 100, point.tokens).tolist()}
    from PIL import Image

    pixels = [rng.integers(0, 255, (image_side, image_side, 3)).astype("uint8") for _ in range(point.images)]
    return {
        "prompt": "<image> " * point.images + "describe " * point.tokens,
        "multi_modal_data": {"image": [Image.fromarray(each) for each in pixels]},
    }


def _held(path: Path, instance: dict[str, str]) -> list[dict[str, str]]:
    """Rows that the file holds already. Raises InputError if they are of another instance, or it is another file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path} is there and was not written by slackwise measure: name another file")
        rows = list(reader)
    for row in rows:
        for name, value in instance.items():
            if row[name] != value:
                raise InputError(f"{path} holds steps of {name} {row[name]}, not {value}: name another file")
    return rows


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
