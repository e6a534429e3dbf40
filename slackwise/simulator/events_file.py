"""Event logs as files: Parquet for analysis, the Chrome trace format to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.files import written_whole
from slackwise.optional import require
from slackwise.simulator.chrome_trace import write_chrome_trace
from slackwise.simulator.events import EventLog
from slackwise.simulator.log import KINDS

SUFFIXES = (".parquet", ".json", ".json.gz")
METADATA = b"slackwise.events"


def write_events(log: EventLog, path: str | os.PathLike[str]) -> None:
    """Write the log as its name's ending says, whole or not at all: .parquet, or .json or .json.gz (Chrome trace).

    Raises InputError for another ending, for a missing pyarrow, or if the folder cannot be written.
    """
    if check_suffix(path) == ".parquet":
        write_parquet(log, path)
    else:
        write_chrome_trace(log, path)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The ending of the name. Raises InputError if no format has it."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise InputError(f"an event log ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not as {name} does")


def write_parquet(log: EventLog, path: str | os.PathLike[str]) -> None:
    """Write a row an event: the columns of state.LOG with the kind by name, and the pool of the instance.

    The metadata key `slackwise.events` holds the run, the pools and the number of events left out, as JSON. Raises
    InputError if pyarrow is missing or the folder cannot be written.
    """
    arrow, parquet = require("pyarrow", "trace"), require("pyarrow.parquet", "trace")
    columns: dict[str, Any] = {name: np.ascontiguousarray(log.rows[name]) for name in log.rows.dtype.names}
    columns["kind"] = arrow.DictionaryArray.from_arrays(arrow.array(columns["kind"]), arrow.array(KINDS))
    columns["pool"] = np.where(columns["instance"] < 0, -1, log.pool[columns["instance"]]).astype(np.int32)
    about = log.about | {"pools": log.pools}
    with written_whole(path) as part:
        parquet.write_table(arrow.table(columns).replace_schema_metadata({METADATA: json.dumps(about).encode()}), part)
