"""What arrives: read, describe, resample and synthesize traffic traces."""

from slackwise.traces.generator import synthesize
from slackwise.traces.parquet_file import write_parquet
from slackwise.traces.reader import read
from slackwise.traces.trace import Trace
from slackwise.traces.writer import write

__all__ = ["Trace", "read", "synthesize", "write", "write_parquet"]
