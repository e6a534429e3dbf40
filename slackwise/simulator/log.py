"""The event log: what happened, row after row, as the kernel saw it.

A kind of event is a constant here, its name in KINDS, and one call of `note` where it happens: a new kind needs no
more. A run logs the kinds whose bits are set in the clock (`log_kinds`), none by default, and rows up to a limit; those
beyond it are only counted.
"""

from __future__ import annotations

from typing import Any

from slackwise.jit import called, part
from slackwise.simulator.tables import engine_of, job_of, log_of, request_of, slot_of

KINDS = (
    "arrived", "routed", "sent", "queued", "admitted", "chunk", "first_token", "preempted", "resumed", "released",
    "finished", "demoted", "failed", "crashed", "starting", "ready", "draining", "off", "step",
)  # fmt: skip
"""Names of the kinds of events; the place of each is its number."""

ARRIVED, ROUTED, SENT, QUEUED, ADMITTED, CHUNK = range(6)
FIRST_TOKEN, PREEMPTED, RESUMED, RELEASED, FINISHED, DEMOTED, FAILED, CRASHED = range(6, 14)
NOW_STARTING, NOW_READY, NOW_DRAINING, NOW_OFF, STEP = range(14, len(KINDS))

EVERY_KIND = (1 << len(KINDS)) - 1
"""The bits of all kinds."""


@part
def note(s: Any, kind: int, request: int, instance: int, images: int, tokens: int) -> None:
    """Log an event of this moment; -1 for no request or no instance."""
    if (s.log_kinds >> kind) & 1:
        write(s, kind, request, instance, s.now_s, 0, 0, images, 0, tokens)


@part
def note_chunk(s: Any, instance: int, at: int) -> None:
    """Log what entry `at` of the step that ends did: images and prompt tokens of a request, or an encode job."""
    if (s.log_kinds >> CHUNK) & 1:
        write_chunk(s, instance, at)


@part
def note_step(s: Any, instance: int) -> None:
    """Log the step or leap that ends, before its decodes and chunks are booked."""
    if (s.log_kinds >> STEP) & 1:
        write_step(s, instance)


@part
def note_lost_step(s: Any, instance: int) -> None:
    """Log the step that a crash breaks off, or the steps of a leap that were over."""
    if (s.log_kinds >> STEP) & 1:
        engine = engine_of(s, instance)
        decodes = engine.decodes if engine.decoding == 1 else 0
        write(s, STEP, -1, instance, engine.step_start_s, engine.leap_steps, decodes, 0, 0, 0)


@called
def write_chunk(s: Any, instance: int, at: int) -> None:
    """Write the row of a chunk or job."""
    work, begun_s = slot_of(s, instance, at), engine_of(s, instance).step_start_s
    request, images, tokens = work.ident, work.images, work.tokens
    if work.ident < 0:
        request, images, tokens = job_of(s, ~work.ident).request, job_of(s, ~work.ident).images, 0
    tiles = images * request_of(s, request).tiles_per_image
    write(s, CHUNK, request, instance, begun_s, 0, 0, images, tiles, tokens)


@called
def write_step(s: Any, instance: int) -> None:
    """Write the row of a step or leap."""
    engine, images, tokens = engine_of(s, instance), 0, 0
    for at in range(engine.work):
        work = slot_of(s, instance, at)
        if work.ident < 0:
            images += job_of(s, ~work.ident).images
        else:
            images += work.images
            tokens += work.tokens
    tiles = engine.step_tiles if engine.work > 0 else 0
    decodes = engine.decodes if engine.decoding == 1 else 0
    write(s, STEP, -1, instance, engine.step_start_s, engine.leap_steps, decodes, images, tiles, tokens)


@called
def write(
    s: Any,
    kind: int,
    request: int,
    instance: int,
    since_s: float,
    steps: int,
    decodes: int,
    images: int,
    tiles: int,
    tokens: int,
) -> None:
    """Add a row, or count one left out."""
    if s.logged < s.log_room:
        row = log_of(s, s.logged)
        row.time_s, row.since_s, row.kind = s.now_s, since_s, kind
        row.request, row.instance, row.steps, row.decodes = request, instance, steps, decodes
        row.images, row.tiles, row.tokens = images, tiles, tokens
    s.logged += 1
