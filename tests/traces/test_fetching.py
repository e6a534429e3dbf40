"""Fetching: resumed, checked, and nothing left where it does not belong. The server is one of our own."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from slackwise.errors import InputError, SlackwiseError
from slackwise.traces import fetch, read
from slackwise.traces.download import Expected

ROWS = 3000
CSV = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n" + "".join(
    f"2024-10-15T12:{i // 60:02}:{i % 60:02}.{i % 997:03}Z,{(i % 3) ** 2},{100 + i * 7919 % 10007},{i * 31 % 611}\n"
    for i in range(ROWS)
)
PACKED = gzip.compress(CSV.encode(), mtime=0)
KNOWN = Expected(
    rows=ROWS,
    first_row=CSV.splitlines()[1],
    last_row=CSV.splitlines()[-1],
    sha256=hashlib.sha256(CSV.encode()).hexdigest(),
)


@dataclass
class Site:
    """What the server does, and what it was asked."""

    url: str = ""
    content: bytes = PACKED
    ranges: bool = True  # answers Range requests with 206
    cut: int | None = None  # closes the connection after so many bytes of an answer
    status: int = 200
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append(wanted)
            if site.status != 200:
                self.send_error(site.status)
                return
            first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
            if first >= len(site.content):
                self.send_error(416)
                return
            body = site.content[first:]
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(site.content) - 1}/{len(site.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: site.cut])

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}/trace.csv.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_checked_and_readable(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = fetch(tmp_path / "t.csv.gz", site.url, KNOWN, progress=lambda done, total: seen.append((done, total)))
    assert (found.rows, found.bytes, found.sha256, found.notes) == (ROWS, len(PACKED), KNOWN.sha256, ())
    assert found.resumed_bytes == 0
    assert (tmp_path / "t.csv.gz").read_bytes() == PACKED
    assert len(read(tmp_path / "t.csv.gz")) == ROWS
    assert names(tmp_path) == ["t.csv.gz"]
    assert seen[0] == (0, len(PACKED))
    assert seen[-1] == (len(PACKED), len(PACKED))


def test_an_interrupted_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cut = 1000
    with pytest.raises(SlackwiseError, match="run it again to go on") as error:
        fetch(tmp_path / "t.csv.gz", site.url, KNOWN)
    assert error.value.exit_code == 1
    assert names(tmp_path) == ["t.csv.gz.part"]
    assert (tmp_path / "t.csv.gz.part").read_bytes() == PACKED[:1000]
    site.cut = None
    found = fetch(tmp_path / "t.csv.gz", site.url, KNOWN)
    assert site.asked == [None, "bytes=1000-"]
    assert found.resumed_bytes == 1000
    assert (tmp_path / "t.csv.gz").read_bytes() == PACKED
    assert names(tmp_path) == ["t.csv.gz"]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz.part").write_bytes(PACKED[:1000])
    site.ranges = False
    found = fetch(tmp_path / "t.csv.gz", site.url, KNOWN)
    assert found.resumed_bytes == 0
    assert (tmp_path / "t.csv.gz").read_bytes() == PACKED


def test_a_complete_part_needs_no_more_bytes(site: Site, tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz.part").write_bytes(PACKED)
    assert fetch(tmp_path / "t.csv.gz", site.url, KNOWN).resumed_bytes == len(PACKED)
    assert names(tmp_path) == ["t.csv.gz"]


def test_a_part_of_another_file_is_found_out_and_removed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz.part").write_bytes(b"\x1f\x8b" + bytes(998))
    with pytest.raises(InputError, match="damaged"):
        fetch(tmp_path / "t.csv.gz", site.url, KNOWN)
    assert names(tmp_path) == []
    assert fetch(tmp_path / "t.csv.gz", site.url, KNOWN).rows == ROWS


def test_a_wrong_number_of_rows_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3,000 rows, expected 1,000,000"):
        fetch(tmp_path / "t.csv.gz", site.url)
    assert names(tmp_path) == []


def test_another_schema_is_refused(site: Site, tmp_path: Path) -> None:
    site.content = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
    with pytest.raises(InputError, match="the columns are TIMESTAMP,ContextTokens,GeneratedTokens, expected"):
        fetch(tmp_path / "t.csv", site.url, Expected())
    assert names(tmp_path) == []


def test_a_page_instead_of_the_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.content = b"<!DOCTYPE html><html>Sign in</html>\n"
    with pytest.raises(InputError, match="no header of a trace"):
        fetch(tmp_path / "t.csv.gz", site.url)
    assert names(tmp_path) == []


def test_bad_rows_are_refused_by_line(site: Site, tmp_path: Path) -> None:
    site.content = CSV.replace("2024-10-15T12:00:05.005Z", "soon").encode()
    with pytest.raises(InputError, match="line 7: unparsable time 'soon'"):
        fetch(tmp_path / "t.csv", site.url)


def test_another_sha256_or_end_is_noted_not_refused(site: Site, tmp_path: Path) -> None:
    other = Expected(rows=ROWS, first_row=KNOWN.first_row, last_row="x", sha256="0" * 64)
    notes = fetch(tmp_path / "t.csv.gz", site.url, other).notes
    assert [note.split(" is ")[0] for note in notes] == ["last row", "sha256 of the csv"]
    assert f"is {KNOWN.sha256}, published as 000" in notes[1]


@pytest.mark.parametrize(("status", "code"), [(404, 2), (403, 2), (500, 1), (503, 1)])
def test_an_answer_without_the_file_is_one_error(site: Site, tmp_path: Path, status: int, code: int) -> None:
    site.status = status
    with pytest.raises(SlackwiseError, match=f"the server answers {status}") as error:
        fetch(tmp_path / "t.csv.gz", site.url)
    assert error.value.exit_code == code
    assert names(tmp_path) == []


def test_an_unreachable_server_is_one_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz.part").write_bytes(PACKED[:10])
    with pytest.raises(SlackwiseError, match="the connection failed"):
        fetch(tmp_path / "t.csv.gz", "http://127.0.0.1:9/trace.csv.gz")
    assert names(tmp_path) == ["t.csv.gz.part"]


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/hosts", "trace.csv.gz", ""])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="must begin with https"):
        fetch(tmp_path / "t.csv.gz", url)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_fetched(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        fetch(tmp_path / "absent" / "t.csv.gz", site.url)
    assert site.asked == []
