"""A description says what the trace holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.traces import Trace, describe, read, slice_time
from slackwise.traces.description import correlation, fano, lines, ranks, table
from slackwise.traces.plots import PANELS, plot
from tests.shared import shared_data


def trace_of(arrivals: list[float], images: list[int], **about: object) -> Trace:
    count = len(arrivals)
    tokens = np.arange(1, count + 1, dtype=np.int32)
    return Trace(np.array(arrivals), np.array(images, np.int32), 10 * tokens, tokens[::-1].copy(), **about)  # type: ignore[arg-type]


def test_classes_are_counted_and_measured_apart() -> None:
    about = describe(trace_of([0.0, 1.0, 3.0, 4.0], [0, 9, 0, 1], image_count="raw", source="four"))
    assert (about["requests"], about["span_s"], about["rate_rps"], about["image_share"]) == (4, 4.0, 1.0, 0.5)
    assert (about["source"], about["image_count"]) == ("four", "raw")
    assert [about["classes"][name]["requests"] for name in ("all", "text", "image")] == [4, 2, 2]
    assert about["classes"]["text"]["context_tokens"]["mean"] == 20.0
    assert about["classes"]["image"]["images"]["max"] == 9.0
    assert about["classes"]["image"]["interarrival_s"]["p50"] == 3.0


def test_the_reading_of_images_shows() -> None:
    assert describe(trace_of([0.0, 1.0], [9, 25]))["classes"]["image"]["images"]["mean"] == 4.0


def test_an_even_stream_has_no_dispersion_and_a_block_has_much() -> None:
    assert fano(np.linspace(0.5, 99.5, 100), 1.0, 0.0, 100.0) == 0.0
    block = np.concatenate((np.full(50, 0.5), [99.9]))
    assert fano(block, 1.0, 0.0, 99.9) == pytest.approx(50.0, rel=0.03)


def test_a_poisson_stream_has_dispersion_one() -> None:
    arrivals = np.sort(np.random.default_rng(1).random(50_000) * 10_000.0)
    for width in (1, 10):
        assert fano(arrivals, width, 0.0, 10_000.0) == pytest.approx(1.0, abs=0.1)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_ranks_are_the_mean_places_of_ties(values: list[int]) -> None:
    expected = [np.mean([place for place, v in enumerate(sorted(values), 1) if v == value]) for value in values]
    assert ranks(np.array(values)).tolist() == expected


def test_a_constant_column_has_no_correlation() -> None:
    assert correlation(np.ones(3), np.arange(3)) is None
    assert correlation(np.arange(3), -np.arange(3)) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("arrivals", "images"), [([0.0], [0]), ([0.0], [4]), ([5.0, 5.0], [0, 0]), ([0.0, 1.0, 2.0], [1, 1, 1])]
)
def test_the_smallest_traces_are_described_in_valid_json(arrivals: list[float], images: list[int]) -> None:
    about = describe(trace_of(arrivals, images))
    assert json.loads(json.dumps(about, allow_nan=False)) == about
    assert table(about).row_count > 0
    assert lines(about)[0].startswith("image_count: sqrt")


def test_an_empty_trace_is_refused(tmp_path: Path) -> None:
    empty = trace_of([0.0], [0]).take(slice(0, 0))
    with pytest.raises(InputError, match="holds no request"):
        describe(empty)
    with pytest.raises(InputError, match="holds no request"):
        plot(empty, tmp_path / "x.png")


def test_the_real_rows_have_the_published_dispersion() -> None:
    about = describe(read(shared_data("azure_lmm_2025_rows_2000.csv")))
    image, text = about["classes"]["image"], about["classes"]["text"]
    assert (text["requests"], image["requests"]) == (566, 1434)
    assert text["fano"]["1_s"] == pytest.approx(1.02, abs=0.05)
    assert image["fano"]["1_s"] == pytest.approx(3.39, abs=0.05)
    assert image["fano"]["10_s"] == pytest.approx(25.3, abs=0.5)
    assert about["classes"]["all"]["interarrival_s"]["p50"] == pytest.approx(0.161, abs=0.0005)
    assert about["classes"]["all"]["interarrival_s"]["cv"] == pytest.approx(1.58, abs=0.01)
    spearman = about["correlations"]["spearman"]
    assert spearman["image: images, context"] == pytest.approx(0.63, abs=0.01)
    assert spearman["image: images, output"] == pytest.approx(-0.26, abs=0.01)
    assert spearman["text: context, output"] == pytest.approx(0.33, abs=0.01)


@pytest.mark.parametrize(("name", "fanos"), [("conv", (1.39, 3.86, 16.1)), ("code", (13.2, 71.6, 164))])
def test_the_real_traces_of_2023_have_the_published_dispersion(name: str, fanos: tuple[float, ...]) -> None:
    about = describe(read(shared_data(f"azure_llm_2023_{name}.csv")))
    assert list(about["classes"]["text"]["fano"].values()) == pytest.approx(fanos, rel=0.04)


def test_one_picture_or_a_folder_of_panels(tmp_path: Path) -> None:
    trace = trace_of([float(i * i) for i in range(50)], [i % 3 for i in range(50)])
    assert plot(trace, tmp_path / "all.png") == [tmp_path / "all.png"]
    written = plot(slice_time(trace, 0.0, 3.0), tmp_path / "new" / "folder")
    assert [path.stem for path in written] == list(PANELS)
    for path in (tmp_path / "all.png", *written):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_plots_to_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to a \.png file or to a folder"):
        plot(trace_of([0.0], [1]), tmp_path / "picture.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        plot(trace_of([0.0], [1]), tmp_path / "file" / "folder")
