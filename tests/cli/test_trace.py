"""The trace command: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.traces import Trace, read, write
from tests.shared import shared_data


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    arrival = np.sort(rng.integers(0, 4 * 86_400_000, 900)) / 1000.0
    counts = np.arange(900, dtype=np.int32)
    write(Trace(arrival, (counts % 2) * 9, counts, counts, start="2024-10-15T12:00:00Z"), tmp_path / "in.csv")
    return tmp_path / "in.csv"


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(["trace", *(str(each) for each in arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one line on stderr of a command that fails with this exit code and prints nothing on stdout."""
    assert run(["trace", *(str(each) for each in arguments)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    last = output.err.splitlines()[-1]
    assert last.startswith("slackwise: ")
    assert "Traceback" not in output.err
    return last


def test_describe_prints_the_image_count_reading(capsys: pytest.CaptureFixture[str], trace_file: Path) -> None:
    assert run(["trace", "describe", str(trace_file)]) == 0
    output = capsys.readouterr()
    assert "image_count: sqrt" in output.out
    assert "image images" in output.out
    assert "reading in.csv" in output.err
    raw = document(capsys, "describe", trace_file, "--image-count", "raw")
    assert (raw["image_count"], raw["classes"]["image"]["images"]["max"]) == ("raw", 9.0)


def test_describe_draws(capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path) -> None:
    found = document(capsys, "describe", trace_file, "--plot", tmp_path / "p.png")
    assert found["plots"] == [str(tmp_path / "p.png")]
    assert (tmp_path / "p.png").stat().st_size > 10_000


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_convert_keeps_every_request(
    capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path, ending: str
) -> None:
    about = document(capsys, "convert", trace_file, tmp_path / f"out.{ending}")
    back = read(tmp_path / f"out.{ending}")
    assert about["requests"] == len(back) == 900
    assert about["image_count"] == "sqrt"
    np.testing.assert_array_equal(back.recorded_images, read(trace_file).recorded_images)
    np.testing.assert_array_equal(back.arrival_s, read(trace_file).arrival_s)


def test_slice_takes_seconds_units_and_times(
    capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path
) -> None:
    start = read(trace_file).start
    spans = [("3600", "2h"), ("60min", "7200s"), ("1h", "7200")]
    found = {
        document(capsys, "slice", trace_file, tmp_path / "s.csv", "--from", a, "--to", b)["requests"] for a, b in spans
    }
    assert len(found) == 1
    day = document(capsys, "slice", trace_file, tmp_path / "s.parquet", "--from", "2024-10-16", "--to", "2024-10-17")
    assert day["start"] == "2024-10-16T00:00:00Z"
    assert start < day["start"]
    assert day["notes"]["steps"].startswith("sliced from")


def test_scale_does_share_fold_and_rate(capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    double = document(capsys, "scale", trace_file, out, "--rate", "2")
    assert double["requests"] == 1800
    folded = document(capsys, "scale", trace_file, out, "--fold", "4")
    assert (folded["requests"], folded["span_s"] <= 86_400) == (900, True)
    share = document(capsys, "scale", trace_file, out, "--image-share", "0.25", "--seed", "3")
    assert share["image_share"] == 0.25
    assert read(out).notes["steps"] == "image share 0.25 (seed 3)"


def test_split_writes_three_files(capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path) -> None:
    days = ("--train", "2", "--validation", "1", "--test", "1", "--format", "parquet")
    about = document(capsys, "split", trace_file, tmp_path, *days)
    assert list(about) == ["train", "validation", "test"]
    assert sum(part["requests"] for part in about.values()) == 900
    assert len(read(tmp_path / "validation.parquet")) == about["validation"]["requests"]


def test_synthesize_writes_the_asked_hours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--rows", "500", "--start-h", "5", "--duration-h", "0.5", "--seed", "7")
    about = document(capsys, "synthesize", tmp_path / "a.csv", *options)
    assert (about["requests"], about["start"], about["image_count"]) == (500, "2024-10-15T17:00:00Z", "sqrt")
    assert about["source"].startswith("synthetic week fitted to published statistics of the Azure LMM 2025 trace")
    document(capsys, "synthesize", tmp_path / "b.csv", *options)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_synthesize_replays_minutes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text("3\n4\n")
    about = document(capsys, "synthesize", tmp_path / "a.csv", "--minute-counts", tmp_path / "counts.txt")
    assert about["requests"] == 7
    assert about["source"].endswith("arrival counts per minute are real")


def test_bad_rows_are_refused_or_skipped(capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path) -> None:
    with trace_file.open("a") as file:
        file.write("never,1,1,1\n")
    message = refused(capsys, "convert", trace_file, tmp_path / "out.csv")
    assert "line 902: unparsable time 'never'" in message
    assert not (tmp_path / "out.csv").exists()
    about = document(capsys, "convert", trace_file, tmp_path / "out.csv", "--skip-bad-rows")
    assert about["notes"]["skipped bad rows"] == "1 of 901 (unparsable time: 1)"


def test_wrong_arguments_are_one_line_and_leave_nothing(
    capsys: pytest.CaptureFixture[str], trace_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    before = sorted(tmp_path.iterdir())
    assert "did you mean 'slice'" in refused(capsys, "slise", trace_file, out)
    assert "no such file" in refused(capsys, "describe", tmp_path / "absent.csv")
    assert "the ending must be one of" in refused(capsys, "convert", trace_file, tmp_path / "out.txt")
    assert "no request in the window" in refused(capsys, "slice", trace_file, out, "--from", "30d", code=7)
    assert "is not a time" in refused(capsys, "slice", trace_file, out, "--from", "noon")
    assert "say what to scale" in refused(capsys, "scale", trace_file, out)
    assert "must be a number above 0" in refused(capsys, "scale", trace_file, out, "--rate", "0")
    assert "between 0 and 1" in refused(capsys, "scale", trace_file, out, "--image-share", "2")
    assert "parts is 0" in refused(capsys, "scale", trace_file, out, "--fold", "0")
    assert "the trace has 4" in refused(capsys, "split", trace_file, tmp_path)
    assert "not a length of time" in refused(capsys, "split", trace_file, tmp_path, "--day", "long")
    assert "no such folder" in refused(capsys, "split", trace_file, tmp_path / "absent")
    assert "at least 1 minutes" in refused(capsys, "synthesize", out, "--duration-h", "0")
    assert "must begin with https" in refused(capsys, "fetch", out, "--url", "nowhere")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["azure_lmm_2025_rows_2000.csv", "azure_llm_2023_conv.csv", "azure_llm_2023_code.csv"])
def test_the_real_traces_go_through_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    source = shared_data(name)
    about = document(capsys, "convert", source, tmp_path / "t.parquet")
    assert document(capsys, "describe", tmp_path / "t.parquet")["requests"] == about["requests"]
    assert document(capsys, "scale", source, tmp_path / "s.csv", "--rate", "1.5")["requests"] > about["requests"]
