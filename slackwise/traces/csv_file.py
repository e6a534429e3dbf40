"""The published csv files of Azure, read as columns of bytes: exact, fast, and every bad line has a number."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.traces.problems import Problems
from slackwise.traces.timestamps import Fields, Integers, times_ns, whole_numbers

GZIP_MAGIC = b"\x1f\x8b"
TIME, IMAGES, CONTEXT, OUTPUT = "TIMESTAMP", "NumImages", "ContextTokens", "GeneratedTokens"
LMM_2025 = (TIME, IMAGES, CONTEXT, OUTPUT)
"""Columns of the multimodal trace of 2025 (ModServe, SoCC 2025)."""
LLM_2023 = (TIME, CONTEXT, OUTPUT)
"""Columns of the text-only traces of 2023 (Splitwise, ISCA 2024)."""
LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Rows:
    """Columns of the good rows, length n: nanoseconds since 1970 (UTC, non-decreasing) and three counts."""

    time_ns: Integers
    images: NDArray[np.int32]
    context: NDArray[np.int32]
    output: NDArray[np.int32]


def plain_bytes(data: bytes, path: Path) -> bytes:
    """`data`, decompressed if it is gzip. Raises InputError where the gzip stream ends early or is damaged."""
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except EOFError:
        raise InputError(f"{path}: the gzip file is truncated: fetch or copy it again") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is damaged ({error})") from None


def read_rows(data: bytes, path: Path) -> tuple[Rows, Problems]:
    """The good rows of a csv and what is wrong with the others.

    Raises InputError if there is no row to speak of: an empty file, a binary file, a header alone or none.
    """
    text = np.frombuffer(data.rstrip(b"\r\n"), np.uint8)
    if not len(text):
        raise InputError(f"{path}: the file is empty")
    lines = _lines(text)
    columns, names = _header(bytes(text[lines.start[0] : lines.end[0]]), path)
    body = Fields(text, lines.start[1:], lines.end[1:])
    if not len(body.start):
        raise InputError(f"{path}: only a header, no rows")
    problems = Problems(len(body.start), lambda row: f"line {row + 2}")
    fields = _split(body, len(names), problems)
    time = _times(fields[names.index(TIME)], problems)
    counts = {name: _counts(fields[names.index(name)], name, problems) for name in columns[1:]}
    _sorted(time, problems)
    keep = ~problems.bad
    zeros = np.zeros(len(time), np.int64)
    images, context, output = (counts.get(name, zeros)[keep].astype(np.int32) for name in (IMAGES, CONTEXT, OUTPUT))
    return Rows(time[keep], images, context, output), problems


def _lines(text: NDArray[np.uint8]) -> Fields:
    """The lines of `text`, without their ends (LF or CRLF)."""
    breaks = np.flatnonzero(text == ord("\n"))
    start = np.concatenate(([0], breaks + 1))
    end = np.concatenate((breaks, [len(text)]))
    crlf = (end > start) & (text[np.maximum(end - 1, 0)] == ord("\r"))
    return Fields(text, start, end - crlf)


def _header(line: bytes, path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The columns to read and the names of all columns in the file."""
    if b"\0" in line:
        raise InputError(f"{path}: a binary file, not a trace in csv, csv.gz or Parquet")
    names = [name.strip().strip('"') for name in line.decode("utf-8-sig", errors="replace").split(",")]
    columns = LMM_2025 if IMAGES in names else LLM_2023
    missing = [name for name in columns if name not in names]
    if len(missing) == len(columns):
        shown = ascii(line[:60].decode("utf-8", errors="replace"))
        raise InputError(f"{path}: line 1 is no header of a trace: expected {','.join(LMM_2025)}, found {shown}")
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)} in the header (found {', '.join(names)})")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: column {', '.join(repeated)} appears more than once in the header")
    return columns, names


def _split(lines: Fields, columns: int, problems: Problems) -> list[Fields]:
    """The fields of each line; lines with another number of fields are bad and get empty ones."""
    commas = np.append(np.flatnonzero(lines.text == ord(",")), len(lines.text))
    first = np.searchsorted(commas, lines.start)
    found = np.searchsorted(commas, lines.end) - first + 1
    problems.add("empty line", lines.width == 0, lambda row: "empty line")
    problems.add(
        "wrong number of fields", found != columns, lambda row: f"{found[row]} fields where the header has {columns}"
    )
    whole = found == columns
    start, fields = lines.start, []
    for column in range(columns):
        comma = commas[np.minimum(first + column, len(commas) - 1)]
        end = np.where(whole, comma if column < columns - 1 else lines.end, start)
        fields.append(Fields(lines.text, start, end))
        start = np.where(whole, end + 1, start)
    return fields


def _shown(fields: Fields, row: int) -> str:
    raw = bytes(fields.text[fields.start[row] : fields.end[row]])
    try:
        return f"'{raw.decode()[:40]}'" if raw.decode().isprintable() else ascii(raw.decode()[:40])
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"


def _times(fields: Fields, problems: Problems) -> Integers:
    time, fine = times_ns(fields)
    problems.add("no time", fields.width == 0, lambda row: f"{TIME} is empty")
    problems.add("unparsable time", ~fine, lambda row: f"unparsable time {_shown(fields, row)}")
    return time


def _counts(fields: Fields, name: str, problems: Problems) -> Integers:
    value, fine = whole_numbers(fields)
    problems.add(f"no {name}", fields.width == 0, lambda row: f"{name} is empty")
    if not fine.all():
        negative = ~fine & (fields.byte(0) == ord("-"))
        _, digits = whole_numbers(Fields(fields.text, fields.start + negative, fields.end))
        problems.add(f"negative {name}", negative & digits, lambda row: f"{name} is negative: {_shown(fields, row)}")
        _, long = whole_numbers(fields, digits=40)
        problems.add(f"too large {name}", long & ~fine, lambda row: f"{name} is too large: {_shown(fields, row)}")
    problems.add(f"bad {name}", ~fine, lambda row: f"{name} is not a whole number: {_shown(fields, row)}")
    problems.add(f"too large {name}", value > LARGEST, lambda row: f"{name} is too large: {_shown(fields, row)}")
    return value


def _sorted(time: Integers, problems: Problems) -> None:
    """Rows earlier than a good row before them are bad."""
    latest = np.maximum.accumulate(np.where(problems.bad, np.iinfo(np.int64).min, time))
    problems.add("unsorted time", time < latest, lambda row: "earlier than a row before it")
