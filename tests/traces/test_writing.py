"""Writing traces: what is written is read back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.traces import Trace, read, write, write_parquet
from tests.traces.test_reading import assert_equal

COLUMNS = ("arrival_s", "recorded_images", "context_tokens", "output_tokens")


def small(**changes: object) -> Trace:
    columns: dict[str, object] = {
        "arrival_s": np.array([0.0, 0.1234567, 1e5 / 3]),
        "recorded_images": np.array([0, 9, 1], np.int32),
        "context_tokens": np.array([1, 2**31 - 1, 3], np.int32),
        "output_tokens": np.array([0, 5, 6], np.int32),
        "start": "2024-10-15T12:00:00Z",
    }
    return Trace(**(columns | changes))  # type: ignore[arg-type]


counts = st.integers(0, 2**31 - 1)
rows = st.lists(st.tuples(st.floats(0, 1e7), counts, counts, counts), min_size=1, max_size=30)


def from_rows(values: list[tuple[float, int, int, int]], **about: object) -> Trace:
    arrival, images, context, output = zip(*sorted(values), strict=True)
    as_counts = (np.array(column, np.int32) for column in (images, context, output))
    return Trace(np.array(arrival, np.float64), *as_counts, **about)  # type: ignore[arg-type]


@given(rows, st.sampled_from(["sqrt", "raw"]), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_parquet_gives_back_the_very_same_trace(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[tuple[float, int, int, int]],
    image_count: str,
    notes: dict[str, str],
) -> None:
    trace = from_rows(values, image_count=image_count, source="somewhere", start="2024-10-15T12:00:00Z", notes=notes)
    path = tmp_path_factory.getbasetemp() / "trace.parquet"
    write_parquet(trace, path)
    back = read(path)
    assert_equal(trace, back)
    assert (back.image_count, back.source, back.start, back.notes) == (image_count, "somewhere", trace.start, notes)


@given(rows)
def test_csv_gives_back_every_count_and_every_nanosecond(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, int, int, int]]
) -> None:
    whole = [(0.0, 0, 0, 0), *((round(arrival * 1e6) / 1e6, *rest) for arrival, *rest in values)]
    trace = from_rows(whole, start="2024-10-15T12:00:00Z")  # type: ignore[arg-type]
    path = tmp_path_factory.getbasetemp() / "trace.csv"
    write(trace, path)
    back = read(path)
    assert back.start == trace.start
    assert_equal(trace, back)


def test_csv_has_the_form_of_the_published_trace(tmp_path: Path) -> None:
    trace = small(arrival_s=np.array([0.269, 1.0, 86400.5]))
    write(trace, tmp_path / "trace.csv")
    assert (tmp_path / "trace.csv").read_text() == (
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
        "2024-10-15T12:00:00.269Z,0,1,0\n"
        "2024-10-15T12:00:01.000Z,9,2147483647,5\n"
        "2024-10-16T12:00:00.500Z,1,3,6\n"
    )


def test_the_same_trace_gives_the_same_compressed_bytes(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write(small(), tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert_equal(read(tmp_path / "a.csv.gz"), read(tmp_path / "b.csv.gz"))


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the ending must be one of"):
        write(small(), tmp_path / "trace.xlsx")
    with pytest.raises(InputError, match="cannot write"):
        write(small(), tmp_path / "absent" / "trace.csv")
    assert list(tmp_path.iterdir()) == []


def test_the_readers_word_on_image_count_stands_above_the_files(tmp_path: Path) -> None:
    write_parquet(small(image_count="raw"), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").images.tolist() == [0, 9, 1]
    assert read(tmp_path / "t.parquet", image_count="sqrt").images.tolist() == [0, 3, 1]


def parquet(path: Path, metadata: bytes | None = None, **changes: object) -> Path:
    columns: dict[str, object] = {name: getattr(small(), name) for name in COLUMNS}
    columns |= changes
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    pq.write_table(table.replace_schema_metadata({b"slackwise.trace": metadata} if metadata else None), path)
    return path


def test_parquet_of_another_program_needs_only_the_columns(tmp_path: Path) -> None:
    back = read(parquet(tmp_path / "t.parquet"))
    assert_equal(back, small())
    assert (back.source, back.image_count) == ("t.parquet", "sqrt")


BAD_PARQUET: dict[str, tuple[dict[str, object], str]] = {
    "missing column": ({"output_tokens": None}, "missing column output_tokens"),
    "text for numbers": ({"context_tokens": ["1", "2", "3"]}, "column context_tokens must be integer, not"),
    "fractions": ({"context_tokens": [1.0, 2.5, 3.0]}, "column context_tokens must be integer, not double"),
    "null": ({"output_tokens": [1, None, 3]}, r"row 2: output_tokens is empty"),
    "NaN": ({"arrival_s": [0.0, float("nan"), 1.0]}, r"row 2: arrival_s is nan"),
    "negative": ({"recorded_images": [0, 1, -4]}, r"row 3: recorded_images is negative: -4"),
    "too large": ({"recorded_images": [0, 2**31, 4]}, r"row 2: recorded_images is too large"),
    "unsorted": ({"arrival_s": [0.0, 2.0, 1.0]}, r"row 3: earlier than a row before it"),
    "no rows": ({name: pa.array([], pa.int32()) for name in COLUMNS}, "no rows"),
    "metadata": ({"metadata": b"{"}, "damaged slackwise metadata"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_bad_parquet_is_refused_with_its_reason(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(parquet(tmp_path / "t.parquet", **changes))  # type: ignore[arg-type]


def test_bad_rows_of_parquet_can_be_skipped(tmp_path: Path) -> None:
    trace = read(parquet(tmp_path / "t.parquet", arrival_s=[0.0, 2.0, 1.0]), skip_bad_rows=True)
    assert trace.arrival_s.tolist() == [0.0, 2.0]
    assert trace.notes["skipped bad rows"] == "1 of 3 (unsorted time: 1)"


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    write_parquet(small(), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged Parquet"):
        read(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"not at all")
    with pytest.raises(InputError, match="not a Parquet file"):
        read(tmp_path / "t.parquet")
