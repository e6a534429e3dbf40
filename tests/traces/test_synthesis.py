"""The synthetic week is like the real one, in numbers published of it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.traces import Trace, synthesize
from slackwise.traces.calibration import MINUTES, calibration
from slackwise.traces.checks import CHECKS, Check, Week
from slackwise.traces.generator import LABEL, minute_totals
from tests.shared import shared_data

SEEDS = (0, 1, 2)
REFERENCE_LARGEST_MINUTE = 14_500
"""Recorded images in the largest minute of the reference generator; the real week has 22,550."""


@pytest.fixture(scope="module")
def drawn() -> list[Week]:
    return [Week(synthesize(seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def minute_file() -> Path:
    return shared_data("azure_lmm_2025_per_minute.csv")


@pytest.fixture(scope="module")
def replayed(minute_file: Path) -> list[Week]:
    return [Week(synthesize(seed, minute_counts=minute_file)) for seed in SEEDS]


def assert_near(check: Check, weeks: list[Week]) -> None:
    found = [check.measure(week) for week in (weeks if check.varies else weeks[:1])]
    assert float(np.mean(found)) == pytest.approx(check.value, abs=check.tolerance), check.name


@pytest.mark.parametrize("check", [c for c in CHECKS if not c.replayed_only], ids=lambda check: check.name)
def test_a_drawn_week_is_near_the_real_one(check: Check, drawn: list[Week]) -> None:
    assert_near(check, drawn)


@pytest.mark.parametrize("check", [c for c in CHECKS if not c.drawn_only], ids=lambda check: check.name)
def test_a_replayed_week_is_near_the_real_one(check: Check, replayed: list[Week]) -> None:
    assert_near(check, replayed)


def test_replayed_minutes_have_exactly_the_given_totals(minute_file: Path, replayed: list[Week]) -> None:
    totals = minute_totals(minute_file)
    assert (len(totals), totals.sum()) == (MINUTES, 1_000_000)
    for week in replayed:
        np.testing.assert_array_equal(week.per_minute(), totals)


def test_output_falls_with_the_number_of_images(drawn: list[Week]) -> None:
    """A known miss of the reference generator: slightly positive there, clearly negative in all real rows."""
    measure = {check.name: check.measure for check in CHECKS}
    for week in drawn:
        assert -0.40 <= measure["Spearman images-output, image rows"](week) <= -0.26
        assert -0.06 <= measure["Pearson images-output"](week) <= -0.035


def test_the_largest_minute_of_images_beats_the_reference_generator(drawn: list[Week], replayed: list[Week]) -> None:
    for week in drawn + replayed:
        largest = week.per_minute(week.images).max()
        assert abs(largest - 22_550) < 22_550 - REFERENCE_LARGEST_MINUTE


def columns(trace: Trace) -> list[bytes]:
    return [
        getattr(trace, name).tobytes() for name in ("arrival_s", "recorded_images", "context_tokens", "output_tokens")
    ]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    first, again, other = (columns(synthesize(seed, duration_h=2.0)) for seed in (5, 5, 6))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_every_window_of_a_seed_has_the_minutes_of_its_week(drawn: list[Week]) -> None:
    window = synthesize(SEEDS[0], start_h=5.0, duration_h=3.0)
    assert window.start == "2024-10-15T17:00:00Z"
    counts = np.bincount((window.arrival_s // 60).astype(int), minlength=180)
    np.testing.assert_array_equal(counts, drawn[0].per_minute()[300:480])


def test_the_week_begins_again_after_its_end() -> None:
    trace = synthesize(3, start_h=167.0, duration_h=2.0)
    assert trace.start == "2024-10-22T11:00:00Z"
    about = calibration()
    for hour, of_week in ((0, 167), (1, 0)):
        rate = np.count_nonzero(trace.arrival_s // 3600 == hour) / 60
        assert rate == pytest.approx(about.text_rpm[of_week] + about.image_rpm[of_week], rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 400), st.floats(1 / 30, 5), st.integers(0, 3))
def test_rows_are_exactly_as_many_as_asked_for(rows: int, start_h: float, duration_h: float, seed: int) -> None:
    trace = synthesize(seed, rows=rows, start_h=start_h, duration_h=duration_h)
    assert len(trace) == rows
    assert np.all(np.diff(trace.arrival_s) >= 0)
    assert trace.arrival_s[0] >= 0
    assert trace.arrival_s[-1] < 60 * round(duration_h * 60)
    assert trace.context_tokens.min() >= 1
    assert trace.output_tokens.min() >= 0


def test_rows_scale_the_rate_and_keep_the_mix() -> None:
    one, ten = (synthesize(1, rows=rows, start_h=26.0, duration_h=4.0) for rows in (20_000, 200_000))
    shares = [np.mean(trace.recorded_images > 0) for trace in (one, ten)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=200).filter(any), st.floats(0, 167), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_any_minute_counts_are_replayed_exactly(counts: list[int], start_h: float, seed: int) -> None:
    trace = synthesize(seed, minute_counts=counts, start_h=start_h)
    found = np.bincount((trace.arrival_s // 60).astype(int), minlength=len(counts))
    assert found.tolist() == counts


def test_the_label_says_what_is_real() -> None:
    assert synthesize(0, duration_h=1.0).source == LABEL
    assert synthesize(0, minute_counts=[5, 6]).source == LABEL + "; arrival counts per minute are real"


def test_minute_counts_are_read_from_plain_lines_and_from_csv(tmp_path: Path) -> None:
    plain, csv = tmp_path / "plain.txt", tmp_path / "counts.csv"
    plain.write_text("3\n0\n4\n")
    csv.write_text("# a comment\nminute,timestamp,requests\n0,2024-10-15T12:00Z,3\n1,x,0\n2,y,4\n")
    assert minute_totals(plain).tolist() == minute_totals(csv).tolist() == [3, 0, 4]


@pytest.mark.parametrize("content", ["", "0\n0\n", "1\n-2\n", "1\nx\n", "1\n2.5\n", "1\n²\n"])
def test_bad_minute_counts_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "counts.txt").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2|hold no request"):
        synthesize(minute_counts=tmp_path / "counts.txt")


@pytest.mark.parametrize("counts", [[-1.0], [1.5], [float("nan")], [[1]], ["many"], []])
def test_bad_arrays_of_minute_counts_are_refused(counts: list[object]) -> None:
    with pytest.raises(InputError, match="minute counts"):
        synthesize(minute_counts=counts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 0},
        {"rows": -5},
        {"duration_h": 0.0},
        {"duration_h": float("nan")},
        {"start_h": -1.0},
        {"start_h": float("inf")},
        {"minute_counts": [1], "rows": 5},
        {"minute_counts": [1], "duration_h": 5.0},
        {"image_count": "cube"},
    ],
)
def test_options_that_make_no_trace_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        synthesize(**options)  # type: ignore[arg-type]


def test_the_calibration_is_small_and_holds_no_rows() -> None:
    text = files("slackwise.traces").joinpath("calibration.json").read_text("utf-8")
    assert len(text) < 40_000
    assert set(json.loads(text)["hours"]) == {"text_rpm", "image_rpm", "image_burst", "heavy_share"}


def test_dropping_knots_lost_less_than_a_tenth_of_a_percentage_point() -> None:
    stats = json.loads(shared_data("azure_lmm_2025_stats.json").read_text("utf-8"))["distributions"]
    names = {"context_text": "context_text", "context_image": "context_image"}
    names |= {"output_text": "generated_text", "output_image": "generated_image"}
    for name, origin in names.items():
        kept = calibration().quantiles[name]
        log10, percent = np.log10(stats[origin]["value"]), np.array(stats[origin]["percent"])
        # Where the distribution function jumps, any share between both sides of the jump is right.
        below = 100 * np.interp(log10 - 1e-4, kept.log10, kept.share)
        above = 100 * np.interp(log10 + 1e-4, kept.log10, kept.share)
        missed = np.maximum(np.maximum(below - percent, percent - above), 0)
        # The exact 90th percentile of image contexts, which the knots are led through, is 0.12 off the plotted one.
        assert missed.max() < (0.13 if name == "context_image" else 0.05), name
