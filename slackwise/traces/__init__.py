"""What arrives: read, describe, resample and synthesize traffic traces."""

from typing import Any

from slackwise.traces.description import describe
from slackwise.traces.generator import synthesize
from slackwise.traces.parquet_file import write_parquet
from slackwise.traces.reader import read
from slackwise.traces.resample import Split, fold, scale_image_share, scale_rate, slice_time, split_days
from slackwise.traces.trace import Trace
from slackwise.traces.writer import write

__all__ = [
    "Split",
    "Trace",
    "describe",
    "fetch",
    "fold",
    "read",
    "scale_image_share",
    "scale_rate",
    "slice_time",
    "split_days",
    "synthesize",
    "write",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    """`fetch` loads only when asked for: the standard library's HTTP client costs as much as all the rest here."""
    if name == "fetch":
        from slackwise.traces.download import fetch

        return fetch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
