"""Read a trace from a file, whatever its format, and write one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from slackwise.errors import InputError
from slackwise.traces.csv_file import plain_bytes, read_rows
from slackwise.traces.parquet_file import MAGIC, read_parquet
from slackwise.traces.problems import Problems
from slackwise.traces.timestamps import NS_PER_S, format_time
from slackwise.traces.trace import Trace


def read(path: str | os.PathLike[str], image_count: str | None = None, skip_bad_rows: bool = False) -> Trace:
    """Read a trace: Azure LMM 2025 csv or csv.gz, Azure LLM 2023 csv, or slackwise's Parquet, told apart by content.

    `image_count` is the reading of recorded image counts, "sqrt" or "raw"; None means what a Parquet file says,
    else "sqrt". A csv trace starts at the whole second of its first row. With `skip_bad_rows` bad rows are left
    out and counted in `Trace.notes`.

    Raises InputError naming line and reason of the first bad rows, or what is wrong with the file.
    """
    file = Path(path)
    data = _bytes(file)
    trace, problems = read_parquet(file) if data.startswith(MAGIC) else _read_csv(data, file)
    if not skip_bad_rows:
        problems.refuse(file, hint="; --skip-bad-rows leaves them out")
    if not len(trace):
        raise InputError(f"{file}: no good row (skipped {problems.note()})")
    notes = trace.notes | ({"skipped bad rows": problems.note()} if problems.count else {})
    return replace(trace, notes=notes, image_count=image_count or trace.image_count)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{file}: a folder, not a trace") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def _read_csv(data: bytes, file: Path) -> tuple[Trace, Problems]:
    if file.suffix == ".parquet" and data:
        raise InputError(f"{file}: not a Parquet file")
    rows, problems = read_rows(plain_bytes(data, file), file)
    start_ns = int(rows.time_ns[0]) // NS_PER_S * NS_PER_S if len(rows.time_ns) else 0
    arrival_s = (rows.time_ns - start_ns) / NS_PER_S
    trace = Trace(
        np.asarray(arrival_s, np.float64),
        rows.images,
        rows.context,
        rows.output,
        start=format_time(start_ns),
        source=file.name,
    )
    return trace, problems
