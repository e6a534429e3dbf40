"""Fetch the real week from its public address, and check that it is the one the papers speak of."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from slackwise.errors import InputError, SlackwiseError
from slackwise.traces.csv_file import LMM_2025, plain_bytes, read_rows

AZURE_LMM_2025 = "https://github.com/Azure/AzurePublicDataset/raw/master/data/AzureLMMInferenceTrace_multimodal.csv.gz"
FILE_NAME = "AzureLMMInferenceTrace_multimodal.csv.gz"
CHUNK = 1 << 16
TIMEOUT_S = 60.0
Progress = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes there will be (None: the server does not say)."""


@dataclass(frozen=True)
class Expected:
    """What is known of a published csv; None means not known, so not checked."""

    rows: int | None = None
    first_row: str | None = None
    last_row: str | None = None
    sha256: str | None = None  # of the csv, decompressed


REAL_WEEK = Expected(
    rows=1_000_000,
    first_row="2024-10-15T12:00:00.269Z,0,770,491",
    last_row="2024-10-22T11:59:59.964Z,0,841,63",
    sha256="eeaba4bae383eeb3724a4fc804ab49f160e918b6dbe356250111bc3ab50d4a95",
)
"""The Azure LMM inference trace of 2025. Its sha256 was published by a third party: a differing one is noted only."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the file, what was found in it, and in `notes` what differs without being wrong."""

    path: Path
    rows: int
    bytes: int
    sha256: str
    resumed_bytes: int
    notes: tuple[str, ...]


def fetch(
    path: str | os.PathLike[str] = FILE_NAME,
    url: str = AZURE_LMM_2025,
    expected: Expected = REAL_WEEK,
    progress: Progress | None = None,
) -> Fetched:
    """Download a csv or csv.gz of the Azure LMM form to `path`, going on where an interrupted download stopped.

    Until it is complete and checked the download lies beside it as `.part`. Columns, bad rows and the number of
    rows must be right; a differing first row, last row or sha256 is noted.
    Raises InputError for a wrong address or a file that is not the trace (removed), SlackwiseError where the
    connection failed (kept, run again).
    """
    target = Path(path)
    if not url.startswith(("https://", "http://")):
        raise InputError(f"the address must begin with https:// or http://, not '{url[:40]}'")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: no such folder")
    part = target.with_name(target.name + ".part")
    resumed = _download(url, part, progress or (lambda done, total: None))
    try:
        found = _checked(part, target, expected, resumed)
    except InputError:
        part.unlink()
        raise
    part.replace(target)
    return found


def _download(url: str, part: Path, progress: Progress) -> int:
    """Bring `part` to the full length; returns the bytes that were there already and are kept."""
    have = part.stat().st_size if part.exists() else 0
    try:
        with _opened(url, have) as response:
            kept = have if response.status == 206 and _starts_at(response, have) else 0
            total = _length(response, kept)
            _save(response, part, kept, total, progress)
            return kept
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            kind = SlackwiseError if error.code >= 500 else InputError
            raise kind(f"{url}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SlackwiseError(f"{url}: the connection failed ({reason}); run it again to go on") from None
    # Nothing behind what is there: complete already, or of another file. Its own checks will tell.
    progress(have, have)
    return have


def _opened(url: str, have: int) -> HTTPResponse:
    headers = {"User-Agent": "slackwise", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    return response


def _starts_at(response: HTTPResponse, have: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _length(response: HTTPResponse, kept: int) -> int | None:
    length = response.headers.get("Content-Length")
    return kept + int(length) if length is not None else None


def _save(response: HTTPResponse, part: Path, kept: int, total: int | None, progress: Progress) -> None:
    done = kept
    with part.open("ab" if kept else "wb") as file:
        progress(done, total)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
    if total is not None and done < total:
        raise SlackwiseError(f"the download stopped at {done:,} of {total:,} bytes; run it again to go on")


def _checked(part: Path, target: Path, expected: Expected, resumed: int) -> Fetched:
    raw = part.read_bytes()
    data = plain_bytes(raw, target)
    rows, problems = read_rows(data, target)
    problems.refuse(target)
    header = data.partition(b"\n")[0].rstrip(b"\r").decode()
    if header != ",".join(LMM_2025):
        raise InputError(f"{target}: the columns are {header}, expected {','.join(LMM_2025)}")
    if expected.rows is not None and len(rows.time_ns) != expected.rows:
        raise InputError(f"{target}: {len(rows.time_ns):,} rows, expected {expected.rows:,}")
    sha256 = hashlib.sha256(data).hexdigest()
    return Fetched(target, len(rows.time_ns), len(raw), sha256, resumed, tuple(_differences(data, sha256, expected)))


def _differences(data: bytes, sha256: str, expected: Expected) -> list[str]:
    """What differs from the published trace without making it another kind of file."""
    lines = data.rstrip(b"\r\n")
    found = {
        "first row": (lines.split(b"\n", 2)[1].rstrip(b"\r").decode(), expected.first_row),
        "last row": (lines.rpartition(b"\n")[2].decode(), expected.last_row),
        "sha256 of the csv": (sha256, expected.sha256),
    }
    return [f"{name} is {is_}, published as {was}" for name, (is_, was) in found.items() if was not in (None, is_)]
