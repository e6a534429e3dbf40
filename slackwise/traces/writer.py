"""Write a trace: csv with the columns of the Azure LMM trace of 2025, or Parquet, by the file's ending."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from slackwise.errors import InputError
from slackwise.files import written_whole
from slackwise.traces.csv_file import LMM_2025
from slackwise.traces.parquet_file import write_parquet
from slackwise.traces.timestamps import NS_PER_S, format_times, parse_time_ns
from slackwise.traces.trace import Trace

ENDINGS = (".csv", ".csv.gz", ".parquet")


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `trace` to `path`, whole or not at all, in the format of its ending: .csv, .csv.gz or .parquet.

    csv keeps the recorded image counts and times to the millisecond, or to the nanosecond where the trace is finer;
    it has no room for `source` and `notes`, Parquet keeps all. Raises InputError for another ending.
    """
    check_ending(path)
    if str(path).endswith(".parquet"):
        write_parquet(trace, path)
        return
    text = _csv(trace).encode()
    with written_whole(path) as part:
        # A gzip header without time: the same trace gives the same bytes.
        part.write_bytes(gzip.compress(text, 6, mtime=0) if str(path).endswith(".gz") else text)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless `path` has one of the endings that `write` knows."""
    if not str(path).endswith(ENDINGS):
        raise InputError(f"{Path(path).name}: the ending must be one of {', '.join(ENDINGS)}")


def _csv(trace: Trace) -> str:
    time_ns = parse_time_ns(trace.start) + np.rint(trace.arrival_s * NS_PER_S).astype(np.int64)
    columns = (trace.recorded_images.tolist(), trace.context_tokens.tolist(), trace.output_tokens.tolist())
    lines = (f"{time},{a},{b},{c}\n" for time, a, b, c in zip(format_times(time_ns), *columns, strict=True))
    return ",".join(LMM_2025) + "\n" + "".join(lines)
