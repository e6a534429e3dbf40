"""The Chrome trace format (Trace Event Format, Google 2016), which Perfetto opens: steps as slices of instances.

A process is a pool, a thread an instance, a slice a step or leap. A last process holds the requests: each an async span
from arrival to finish with its phases inside. A flow joins the steps in which a request was encoded and prefilled.
Times are in microseconds of the trace.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

from slackwise.files import written_whole
from slackwise.simulator.events import EventLog
from slackwise.simulator.log import CHUNK, KINDS, STEP

Event = dict[str, Any]

PHASES = {
    "arrived": "wait",
    "sent": "transfer",
    "queued": "wait",
    "admitted": "prefill",  # "decode" where nothing is prefilled
    "first_token": "decode",
    "preempted": "wait",
    "resumed": "decode",
}
"""Phase of a request that an event begins; besides, a chunk on a separate encoder begins "encode"."""


class Row(NamedTuple):
    """A row of state.LOG."""

    time_s: float
    since_s: float
    kind: int
    request: int
    instance: int
    steps: int
    decodes: int
    images: int
    tiles: int
    tokens: int


def write_chrome_trace(log: EventLog, path: str | os.PathLike[str]) -> None:
    """Write the log as JSON, one event a line, compressed if the name ends in .gz; whole or not at all.

    Raises InputError if the folder cannot be written.
    """
    with written_whole(path) as part, _opened(part, str(path).endswith(".gz")) as file:
        head = json.dumps({"displayTimeUnit": "ms", "otherData": log.about})[:-1]
        file.write(f'{head}, "traceEvents": [\n'.encode())
        for at, event in enumerate(chrome_events(log)):
            file.write((",\n" if at else "").encode() + json.dumps(event, separators=(",", ":")).encode())
        file.write(b"\n]}\n")


@contextmanager
def _opened(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    """The file for writing; compressed without a time stamp, so that the same log gives the same bytes."""
    with path.open("wb") as plain:
        if not compressed:
            yield plain
            return
        with gzip.GzipFile("", "wb", mtime=0, fileobj=plain) as packed:
            yield packed  # type: ignore[misc]


def chrome_events(log: EventLog) -> Iterator[Event]:
    """Every trace event of a log: names, steps, turns of the fleet, then request by request its phases and its flow."""
    yield from _names(log)
    rows = [Row(*each) for each in log.rows.tolist()]
    yield from (_step(log, row) for row in rows if row.kind == STEP)
    yield from (_turn(log, row) for row in rows if row.request < 0 and row.kind != STEP)
    of_requests = sorted((row for row in rows if row.request >= 0), key=lambda row: row.request)
    for request, its in groupby(of_requests, key=lambda row: row.request):
        own = list(its)
        yield from _spans(log, request, own)
        yield from _flow(log, request, [row for row in own if row.kind == CHUNK])


def _names(log: EventLog) -> Iterator[Event]:
    """Names and order of processes and threads."""
    requests = len(log.pools)
    for pid, name in enumerate((*log.pools, "requests")):
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for tid, pid in enumerate(log.pool.tolist()):
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": f"instance {tid}"}}
    yield {"ph": "M", "name": "thread_name", "pid": requests, "tid": 0, "args": {"name": "requests"}}


def _step(log: EventLog, row: Row) -> Event:
    """A step or leap as a slice of its instance."""
    parts = [
        name for name, is_in in (("encode", row.images), ("prefill", row.tokens), ("decode", row.decodes)) if is_in
    ]
    names = ("steps", "decodes", "images", "tiles", "tokens")
    return {
        "ph": "X",
        "name": "+".join(parts),
        "cat": "step",
        **_place(log, row, row.since_s),
        "dur": _us(row.time_s - row.since_s),
        "args": {name: getattr(row, name) for name in names},
    }


def _turn(log: EventLog, row: Row) -> Event:
    """A turn in the life of an instance, as a mark on its thread."""
    return {"ph": "i", "s": "t", "name": KINDS[row.kind], "cat": "fleet", **_place(log, row, row.time_s)}


def _spans(log: EventLog, request: int, rows: Sequence[Row]) -> Iterator[Event]:
    """A request as an async span with its phases inside; the span ends at the last row that the log has of it."""
    begin_s, end_s = rows[0].time_s, rows[-1].time_s
    yield _async(log, "b", request, "request", begin_s) | {"args": {"request": request}}
    for phase, since_s, until_s in phases(log, rows):
        yield _async(log, "b", request, phase, since_s)
        yield _async(log, "e", request, phase, until_s)
    yield _async(log, "e", request, "request", end_s)


def phases(log: EventLog, rows: Sequence[Row]) -> list[tuple[str, float, float]]:
    """(phase, begin, end) in seconds, one after another without a gap, of the request that these rows are about."""
    begun = sorted(((at, phase) for row in rows for at, phase in _begun(log, row)), key=lambda each: each[0])
    found: list[tuple[str, float, float]] = []
    for at, (since_s, phase) in enumerate(begun):
        until_s = begun[at + 1][0] if at + 1 < len(begun) else rows[-1].time_s
        if found and found[-1][0] == phase:
            found[-1] = (phase, found[-1][1], until_s)
        elif until_s > since_s:
            found.append((phase, since_s, until_s))
    return found


def _begun(log: EventLog, row: Row) -> Iterator[tuple[float, str]]:
    """The phase that a row begins, and when."""
    kind = KINDS[row.kind]
    prefills = row.instance >= 0 and "P" in log.stages[log.pool[row.instance]]
    if kind == "chunk" and not prefills:
        yield row.since_s, "encode"
    elif kind == "admitted" and not prefills:
        yield row.time_s, "decode"
    elif kind in PHASES:
        yield row.time_s, PHASES[kind]


def _flow(log: EventLog, request: int, chunks: Sequence[Row]) -> Iterator[Event]:
    """Arrows from step to step of a request, each from the middle of its slice."""
    for at, row in enumerate(chunks if len(chunks) > 1 else ()):
        phase = "s" if at == 0 else "f" if at == len(chunks) - 1 else "t"
        middle_s = (row.since_s + row.time_s) / 2
        event = {"ph": phase, "name": "request", "cat": "flow", "id": request, **_place(log, row, middle_s)}
        yield event | ({"bp": "e"} if phase == "f" else {})


def _async(log: EventLog, phase: str, request: int, name: str, at_s: float) -> Event:
    where = {"pid": len(log.pools), "tid": 0, "ts": _us(at_s)}
    return {"ph": phase, "name": name, "cat": "request", "id": request, **where}


def _place(log: EventLog, row: Row, at_s: float) -> Event:
    return {"pid": int(log.pool[row.instance]), "tid": row.instance, "ts": _us(at_s)}


def _us(seconds: float) -> float:
    """Microseconds to a nanosecond."""
    return round(1e6 * seconds, 3)
