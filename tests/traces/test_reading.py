"""Reading traces: every format, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.traces import Trace, read
from slackwise.traces.timestamps import Fields, format_time, parse_time_ns, times_ns
from tests.shared import shared_data

HEADER = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
GOOD = "2024-10-15T12:00:00.269Z,0,770,491\n2024-10-15T12:00:01.500Z,9,5107,10\n"


def saved(tmp_path: Path, content: str | bytes, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_equal(first: Trace, second: Trace) -> None:
    for name in ("arrival_s", "recorded_images", "context_tokens", "output_tokens"):
        one, other = getattr(first, name), getattr(second, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_reads_the_format_of_2025(tmp_path: Path) -> None:
    trace = read(saved(tmp_path, HEADER + GOOD))
    assert trace.start == "2024-10-15T12:00:00Z"
    assert trace.arrival_s.tolist() == [0.269, 1.5]
    assert trace.recorded_images.tolist() == [0, 9]
    assert trace.images.tolist() == [0, 3]
    assert trace.context_tokens.tolist() == [770, 5107]
    assert trace.output_tokens.tolist() == [491, 10]
    assert (trace.image_count, trace.source, trace.notes) == ("sqrt", "trace.csv", {})


def test_raw_keeps_the_recorded_image_count(tmp_path: Path) -> None:
    assert read(saved(tmp_path, HEADER + GOOD), image_count="raw").images.tolist() == [0, 9]


def test_reads_gzip_whatever_the_name(tmp_path: Path) -> None:
    packed = saved(tmp_path, gzip.compress((HEADER + GOOD).encode()), "packed.bin")
    assert_equal(read(packed), read(saved(tmp_path, HEADER + GOOD)))


def test_reads_the_format_of_2023(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2023-11-16 18:15:46.6805900,374,44\r\n"
        "2023-11-16 18:15:50.9951690,396,109"
    )
    trace = read(saved(tmp_path, text))
    assert trace.start == "2023-11-16T18:15:46Z"
    assert trace.arrival_s.tolist() == [0.68059, 4.995169]
    assert trace.recorded_images.tolist() == [0, 0]
    assert trace.output_tokens.tolist() == [44, 109]


def test_columns_may_stand_in_another_order_beside_others(tmp_path: Path) -> None:
    text = "﻿id,GeneratedTokens,TIMESTAMP,ContextTokens,NumImages\n7,491,2024-10-15T12:00:00.269Z,770,4\n\n"
    trace = read(saved(tmp_path, text))
    assert (trace.output_tokens[0], trace.context_tokens[0], trace.recorded_images[0]) == (491, 770, 4)


def test_times_with_an_offset_are_moved_to_utc(tmp_path: Path) -> None:
    rows = "2024-05-12 02:00:00.5+02:00,0,1,1\n2024-05-11T19:00:01-05:00,0,1,1\n"
    trace = read(saved(tmp_path, HEADER + rows))
    assert trace.start == "2024-05-12T00:00:00Z"
    assert trace.arrival_s.tolist() == [0.5, 1.0]


BAD_ROWS = {
    "unparsable time": ("yesterday,0,1,1", "unparsable time 'yesterday'"),
    "no such day": ("2023-02-29T12:00:00Z,0,1,1", "unparsable time '2023-02-29T12:00:00Z'"),
    "no such hour": ("2024-10-15T24:00:00Z,0,1,1", "unparsable time"),
    "a point without digits": ("2024-10-15T12:00:02.Z,0,1,1", "unparsable time"),
    "ten digits of a second": ("2024-10-15T12:00:02.1234567890Z,0,1,1", "unparsable time"),
    "an unknown zone": ("2024-10-15T12:00:02CEST,0,1,1", "unparsable time"),
    "a bad offset": ("2024-10-15T12:00:02+0a:00,0,1,1", "unparsable time"),
    "empty time": (",0,1,1", "TIMESTAMP is empty"),
    "negative": ("2024-10-15T12:00:02Z,-1,1,1", "NumImages is negative: '-1'"),
    "fraction": ("2024-10-15T12:00:02Z,0,1.5,1", "ContextTokens is not a whole number: '1.5'"),
    "NaN": ("2024-10-15T12:00:02Z,0,1,NaN", "GeneratedTokens is not a whole number: 'NaN'"),
    "empty count": ("2024-10-15T12:00:02Z,0,,1", "ContextTokens is empty"),
    "too large for 32 bits": ("2024-10-15T12:00:02Z,0,2147483648,1", "ContextTokens is too large: '2147483648'"),
    "far too large": ("2024-10-15T12:00:02Z,0,1,99999999999999", "GeneratedTokens is too large"),
    "too few fields": ("2024-10-15T12:00:02Z,0,1", "3 fields where the header has 4"),
    "too many fields": ("2024-10-15T12:00:02Z,0,1,1,1", "5 fields where the header has 4"),
    "empty line": ("", "empty line"),
    "unsorted": ("2024-10-15T12:00:00.300Z,0,1,1", "earlier than a row before it"),
    "not UTF-8": (b"2024-10-15T12:00:02Z,\xff\xfe,1,1", "NumImages is not a whole number: bytes that are not UTF-8"),
    "control characters": ("2024-10-15T12:00:02Z,\x00\x07,1,1", r"NumImages is not a whole number: '\x00\x07'"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line_and_reason(tmp_path: Path, row: str | bytes, reason: str) -> None:
    bad = row if isinstance(row, bytes) else row.encode()
    path = saved(tmp_path, (HEADER + GOOD).encode() + bad + b"\n2024-10-15T12:00:03Z,1,2,3\n")
    with pytest.raises(InputError) as error:
        read(path)
    assert f"1 bad row of 4 (line 4: {reason}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_can_be_skipped_and_is_counted(tmp_path: Path, row: str | bytes, reason: str) -> None:
    bad = row if isinstance(row, bytes) else row.encode()
    path = saved(tmp_path, (HEADER + GOOD).encode() + bad + b"\n2024-10-15T12:00:03Z,1,2,3\n")
    trace = read(path, skip_bad_rows=True)
    assert trace.output_tokens.tolist() == [491, 10, 3]
    assert trace.notes["skipped bad rows"].startswith("1 of 4 (")


def test_only_the_first_bad_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path, HEADER + GOOD + "x,0,1,1\n" * 7 + "2024-10-15T12:00:03Z,1,-2,3\n")
    with pytest.raises(InputError) as error:
        read(path)
    message = str(error.value)
    assert "8 bad rows of 10" in message
    assert "line 4: " in message
    assert "line 8: " in message
    assert "line 9: " not in message
    assert "and 3 more" in message


def test_a_file_without_any_good_row_is_refused_even_when_skipping(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no good row"):
        read(saved(tmp_path, HEADER + "x,0,1,1\n"), skip_bad_rows=True)


packed = gzip.compress((HEADER + GOOD * 500).encode())
BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "only line ends": (b"\r\n\n", "the file is empty"),
    "header only": (HEADER.encode(), "only a header, no rows"),
    "no header": (GOOD.encode(), "line 1 is no header of a trace"),
    "missing columns": (b"TIMESTAMP,NumImages\nx,1\n", "missing column ContextTokens, GeneratedTokens"),
    "repeated column": (b"TIMESTAMP,ContextTokens,ContextTokens,GeneratedTokens\nx,1,1,1\n", "more than once"),
    "binary garbage": (bytes(range(256)) * 20, "a binary file"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "line 1 is no header of a trace"),
    "truncated gzip": (packed[: len(packed) // 2], "truncated"),
    "damaged gzip": (packed[:40] + b"\x00\x01\x02" + packed[43:], "damaged"),
    "wrong checksum": (packed[:-8] + bytes(8), "damaged"),
    "gzip of nothing": (gzip.compress(b""), "the file is empty"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("skip", [False, True])
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str, skip: bool) -> None:
    with pytest.raises(InputError, match=reason):
        read(saved(tmp_path, content), skip_bad_rows=skip)


def test_no_such_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="a folder, not a trace"):
        read(tmp_path)


def test_an_unknown_image_count_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'sqrt'"):
        read(saved(tmp_path, HEADER + GOOD), image_count="sqr")


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2261, 1, 1)), st.sampled_from("T "))
def test_times_mean_what_the_standard_library_reads(value: datetime, mark: str) -> None:
    text = np.frombuffer((value.isoformat(mark) + "Z").encode(), np.uint8)
    found, fine = times_ns(Fields(text, np.zeros(1, np.int64), np.array([len(text)])))
    assert fine[0]
    assert int(found[0]) == (value - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000
    assert parse_time_ns(format_time(int(found[0]))) == found[0]


@given(st.text(max_size=40))
def test_any_text_is_read_as_a_time_or_refused(text: str) -> None:
    try:
        value = parse_time_ns(text)
    except InputError:
        return
    assert parse_time_ns(format_time(value)) == value


@given(st.binary(max_size=300))
def test_any_bytes_behind_a_header_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = saved(tmp_path_factory.getbasetemp(), HEADER.encode() + tail, "fuzz.csv")
    try:
        trace = read(path, skip_bad_rows=True)
    except InputError:
        return
    assert np.all(np.diff(trace.arrival_s) >= 0)


def test_reading_loads_neither_pandas_nor_pyarrow() -> None:
    code = "import sys, slackwise.traces; print([m for m in ('pandas', 'pyarrow', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_real_rows_of_2025_are_read_as_they_are() -> None:
    trace = read(shared_data("azure_lmm_2025_rows_2000.csv"))
    assert len(trace) == 2000
    assert trace.start == "2024-10-16T08:36:32Z"
    assert round(trace.span_s, 3) == 601.897
    assert np.count_nonzero(trace.recorded_images) == 1434
    assert np.all(trace.images**2 == trace.recorded_images)


@pytest.mark.parametrize(
    ("name", "rows", "span_s", "context", "output"),
    [("conv", 19_366, 3501.7, 1155, 211), ("code", 8_819, 3435.9, 2048, 27.9)],
)
def test_the_real_traces_of_2023_are_read_as_they_are(
    name: str, rows: int, span_s: float, context: float, output: float
) -> None:
    trace = read(shared_data(f"azure_llm_2023_{name}.csv"))
    assert len(trace) == rows
    assert trace.span_s == pytest.approx(span_s, abs=0.05)
    assert trace.context_tokens.mean() == pytest.approx(context, rel=1e-3)
    assert trace.output_tokens.mean() == pytest.approx(output, rel=2e-3)
    assert not trace.recorded_images.any()
