"""A synthetic week like the Azure LMM trace of 2025, drawn from the shipped calibration."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from slackwise.errors import EmptyError, InputError
from slackwise.streams import stream
from slackwise.traces.arrivals import (
    Counts,
    Plan,
    drawn_plan,
    hour_of_minute,
    image_times,
    replayed_plan,
    text_times,
)
from slackwise.traces.calibration import MINUTES, Calibration, calibration
from slackwise.traces.marks import image_marks, text_marks
from slackwise.traces.timestamps import NS_PER_S, format_time, parse_time_ns
from slackwise.traces.trace import Trace

LABEL = "synthetic week fitted to published statistics of the Azure LMM 2025 trace"
REPLAYED = "; arrival counts per minute are real"


def synthesize(
    seed: int = 0,
    rows: int | None = None,
    start_h: float = 0.0,
    duration_h: float | None = None,
    minute_counts: str | os.PathLike[str] | ArrayLike | None = None,
    image_count: str = "sqrt",
) -> Trace:
    """A trace drawn from the calibration: `duration_h` hours from hour `start_h` of the week on.

    Hour 0 is Tuesday noon, UTC. By default the whole week of 1,000,000 requests, half of them with images; all
    windows of one seed agree on the counts per minute. `rows` sets the number of requests in the window, by scaling
    all rates. `minute_counts` replays exact totals per minute from `start_h` on: an array, or a file with one count
    a line (last field of a csv, `#` and one header line allowed).

    Times are whole milliseconds. Raises InputError for an empty window or for options that exclude each other.
    """
    about = calibration()
    first = _minutes("start_h", start_h, at_least=0)
    if minute_counts is None:
        minutes = _minutes("duration_h", 168.0 if duration_h is None else duration_h, at_least=1)
        plan = _drawn(about, first, minutes, rows, seed)
    else:
        if rows is not None or duration_h is not None:
            raise InputError("minute_counts says how many requests and for how long: leave out rows and duration_h")
        plan = replayed_plan(about, minute_totals(minute_counts), first, seed)
    label = LABEL + (REPLAYED if minute_counts is not None else "")
    return _trace(about, plan, first, seed, label, image_count)


def _minutes(name: str, hours: float, at_least: int) -> int:
    minutes = round(hours * 60) if math.isfinite(hours) else -1
    if minutes < at_least:
        raise InputError(f"{name} is {hours}: it must be at least {at_least} minutes")
    return minutes


def _drawn(about: Calibration, first: int, minutes: int, rows: int | None, seed: int) -> Plan:
    weeks = -(-(first + minutes) // MINUTES)
    scale = 1.0
    if rows is not None:
        if rows < 1:
            raise InputError(f"rows is {rows}: it must be 1 or more")
        hour = hour_of_minute(first, minutes)
        scale = rows / float(about.text_rpm[hour].sum() + about.image_rpm[hour].sum())
    plan = drawn_plan(about, weeks, scale, seed).window(first, minutes)
    if rows is None and not plan.text.sum() + plan.image.sum():
        raise EmptyError(f"no request in these {minutes} minutes: widen the window")
    return plan if rows is None else plan.resized(rows, seed)


def minute_totals(source: str | os.PathLike[str] | ArrayLike) -> Counts:
    """Requests per minute from an array or a file, int64, shape (minutes,).

    Raises InputError naming the line of the first count that is none.
    """
    values = _count_lines(Path(source)) if isinstance(source, (str, os.PathLike)) else source
    try:
        given = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError("minute counts must be numbers") from None
    if given.ndim != 1 or not np.all(np.isfinite(given)) or np.any(given < 0) or np.any(given != np.floor(given)):
        raise InputError("minute counts must be whole numbers of 0 or more, one a minute")
    if not given.sum():
        raise InputError("minute counts hold no request")
    return given.astype(np.int64)


def _count_lines(path: Path) -> list[int]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    fields = [(n, line.rpartition(",")[2].strip()) for n, line in enumerate(lines, 1) if line and line[0] != "#"]
    if fields and not fields[0][1].lstrip("-").isdigit():
        fields = fields[1:]
    for line, field in fields:
        if not (field.isascii() and field.isdigit()):
            raise InputError(f"{path}: line {line}: '{field[:40]}' is not a count of requests")
    return [int(field) for _, field in fields]


def _trace(about: Calibration, plan: Plan, first: int, seed: int, label: str, image_count: str) -> Trace:
    rng = stream(seed, "trace.times")
    times = np.concatenate((text_times(plan, rng), image_times(plan, about.slot_concentration, rng)))
    texts = text_marks(about, int(plan.text.sum()), seed)
    heavy = np.repeat(
        np.tile([True, False], len(plan.image)), np.stack((plan.heavy, plan.image - plan.heavy), 1).ravel()
    )
    images = image_marks(about, heavy, seed)
    output = np.concatenate((texts.output, images.output))
    output[stream(seed, "trace.zero").random(len(output)) < about.zero_output_share] = 0
    arrival_s = np.floor(times * 1000.0) / 1000.0
    order = np.argsort(arrival_s, kind="stable")
    return Trace(
        arrival_s[order],
        np.concatenate((texts.images, images.images))[order],
        np.concatenate((texts.context, images.context))[order],
        output[order],
        image_count=image_count,
        start=format_time(parse_time_ns(about.start) + first * 60 * NS_PER_S),
        source=label,
        notes={"seed": str(seed)},
    )
