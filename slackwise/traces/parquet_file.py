"""slackwise's own Parquet: the columns of a trace, exact, and what is known about it in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.files import written_whole
from slackwise.optional import require
from slackwise.traces.problems import Problems
from slackwise.traces.trace import Trace

MAGIC = b"PAR1"
_METADATA = b"slackwise.trace"
_COUNTS = ("recorded_images", "context_tokens", "output_tokens")


def write_parquet(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `trace` as Parquet, whole or not at all; `read` gives back exactly the same trace.

    Raises InputError if pyarrow is missing or the folder cannot be written.
    """
    arrow, parquet = require("pyarrow", "trace"), require("pyarrow.parquet", "trace")
    about = {"image_count": trace.image_count, "start": trace.start, "source": trace.source, "notes": trace.notes}
    columns = {name: getattr(trace, name) for name in ("arrival_s", *_COUNTS)}
    table = arrow.table(columns).replace_schema_metadata({_METADATA: json.dumps(about).encode()})
    with written_whole(path) as part:
        parquet.write_table(table, part)


def read_parquet(path: Path) -> tuple[Trace, Problems]:
    """The good rows of a Parquet trace and what is wrong with the others.

    Raises InputError if the file is damaged, lacks a column, or has a column of another type.
    """
    arrow, parquet = require("pyarrow", "trace"), require("pyarrow.parquet", "trace")
    try:
        table = parquet.ParquetFile(path).read()
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged Parquet ({str(error).splitlines()[0]})") from None
    if not table.num_rows:
        raise InputError(f"{path}: no rows")
    problems = Problems(table.num_rows, lambda row: f"row {row + 1}")
    arrival = _column(table, "arrival_s", "floating", path, problems).astype(np.float64)
    counts = [_column(table, name, "integer", path, problems).astype(np.int64) for name in _COUNTS]
    _check(arrival, counts, problems)
    keep = ~problems.bad
    images, context, output = (count[keep].astype(np.int32) for count in counts)
    about = _about(table.schema.metadata or {}, path)
    return Trace(arrival[keep], images, context, output, **about), problems


def _column(table: Any, name: str, kind: str, path: Path, problems: Problems) -> NDArray[Any]:
    """A column as NumPy, nulls marked bad."""
    types = require("pyarrow.types", "trace")
    if name not in table.column_names:
        raise InputError(f"{path}: missing column {name} (found {', '.join(table.column_names)})")
    column = table.column(name)
    if not getattr(types, f"is_{kind}")(column.type):
        raise InputError(f"{path}: column {name} must be {kind}, not {column.type}")
    problems.add(f"no {name}", column.is_null().to_numpy(), lambda row: f"{name} is empty")
    values: NDArray[Any] = column.fill_null(0).to_numpy()
    return values


def _check(arrival: NDArray[np.float64], counts: list[NDArray[np.int64]], problems: Problems) -> None:
    finite = np.isfinite(arrival)
    problems.add("bad arrival_s", ~finite, lambda row: f"arrival_s is {arrival[row]}")
    for name, count in zip(_COUNTS, counts, strict=True):
        problems.add(f"negative {name}", count < 0, lambda row, c=count, n=name: f"{n} is negative: {c[row]}")  # type: ignore[misc]
        large = count > np.iinfo(np.int32).max
        problems.add(f"too large {name}", large, lambda row, c=count, n=name: f"{n} is too large: {c[row]}")  # type: ignore[misc]
    latest = np.maximum.accumulate(np.where(problems.bad, -np.inf, arrival))
    problems.add("unsorted time", arrival < latest, lambda row: "earlier than a row before it")


def _about(metadata: dict[bytes, bytes], path: Path) -> dict[str, Any]:
    """What the metadata say about the trace; a file written by another program says nothing."""
    if _METADATA not in metadata:
        return {"source": path.name}
    try:
        about: dict[str, Any] = json.loads(metadata[_METADATA])
        return {name: about[name] for name in ("image_count", "start", "source", "notes")}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged slackwise metadata") from None
