"""Other loads from one trace keep what they promise to keep."""

from __future__ import annotations

from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.traces import Trace, fold, scale_image_share, scale_rate, slice_time, split_days
from slackwise.traces.resample import DAY_S, period_s, shifts


def made(requests: int = 4000, days: float = 7.0, seed: int = 1) -> Trace:
    """A trace in which every request is known by its context tokens, half of them with images."""
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.integers(0, round(days * DAY_S) * 1000, requests)) / 1000.0
    identity = np.arange(requests, dtype=np.int32)
    return Trace(arrival, (identity % 2).astype(np.int32), identity, identity, start="2024-10-15T12:00:00Z")


def identities(trace: Trace) -> list[int]:
    return sorted(trace.context_tokens.tolist())


def test_a_slice_has_the_requests_of_its_window_on_its_own_clock() -> None:
    trace = made()
    part = slice_time(trace, 3600.0, 7200.0)
    inside = (trace.arrival_s >= 3600.0) & (trace.arrival_s < 7200.0)
    assert identities(part) == trace.context_tokens[inside].tolist()
    assert part.start == "2024-10-15T13:00:00Z"
    np.testing.assert_allclose(part.arrival_s, trace.arrival_s[inside] - 3600.0, atol=1e-9)
    assert "sliced from 3600 s to 7200 s" in part.notes["steps"]


def test_a_slice_by_time_of_day_is_the_slice_by_seconds() -> None:
    trace = made()
    by_clock = slice_time(trace, "2024-10-15T13:00:00Z", "2024-10-15T14:00Z")
    assert by_clock.arrival_s.tolist() == slice_time(trace, 3600.0, 7200.0).arrival_s.tolist()


def test_slices_side_by_side_hold_every_request_once() -> None:
    trace = made()
    parts = [slice_time(trace, at * 3600.0, (at + 24) * 3600.0) for at in range(0, 168, 24)]
    assert sorted(chain.from_iterable(identities(part) for part in parts)) == identities(trace)


@pytest.mark.parametrize(("start", "end"), [(1e9, None), (20.0, 10.0), (5.0, 5.0), ("2030-01-01", None)])
def test_a_window_without_requests_is_refused(start: str | float, end: float | None) -> None:
    with pytest.raises(InputError, match="window"):
        slice_time(made(), start, end)


def test_thinning_keeps_times_and_about_the_wanted_share() -> None:
    trace = made(20_000)
    part = scale_rate(trace, 0.3, seed=4)
    assert set(identities(part)) <= set(identities(trace))
    assert len(set(identities(part))) == len(part)
    np.testing.assert_array_equal(part.arrival_s, trace.arrival_s[part.context_tokens])
    assert len(part) / len(trace) == pytest.approx(0.3, abs=0.02)


def test_superposing_uses_every_request_as_often_as_the_factor_says() -> None:
    trace = made()
    double = scale_rate(trace, 3.0)
    assert len(double) == 3 * len(trace)
    assert identities(double) == sorted(3 * identities(trace))
    assert np.all(np.diff(double.arrival_s) >= 0)


def test_superposed_copies_are_shifted_by_whole_days_around_the_week() -> None:
    trace = made()
    double = scale_rate(trace, 7.0)
    order = np.argsort(double.context_tokens, kind="stable")
    moved = double.arrival_s[order].reshape(len(trace), 7) - trace.arrival_s[:, None]
    days = np.sort(np.mod(np.rint(moved / DAY_S), 7), axis=1)
    assert np.all(np.abs(moved - np.rint(moved / DAY_S) * DAY_S) < 1e-6)
    np.testing.assert_array_equal(days, np.tile(np.arange(7.0), (len(trace), 1)))


def test_no_gap_of_a_copy_is_squeezed() -> None:
    trace = made(50)
    double = scale_rate(trace, 2.0)
    for copy in (0, 1):
        rows = np.flatnonzero(double.context_tokens == 10)[copy]
        start = double.arrival_s[rows]
        later = double.arrival_s[np.flatnonzero(double.context_tokens == 11)] - start
        gap = trace.arrival_s[11] - trace.arrival_s[10]
        assert np.min(np.abs(np.mod(later, period_s(trace)) - gap)) < 1e-6


def test_a_fraction_above_one_thins_only_the_last_copy() -> None:
    trace = made(20_000)
    more = scale_rate(trace, 2.5, seed=3)
    _, times = np.unique(more.context_tokens, return_counts=True)
    assert set(times) == {2, 3}
    assert np.mean(times == 3) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("period", [7 * DAY_S, 3 * DAY_S, 602.0, 3502.0, 2.5 * DAY_S])
def test_shifts_never_repeat_and_days_come_first(period: float) -> None:
    first = list(islice(shifts(period), 40))
    assert first[0] == 0.0
    assert len({round(shift, 6) for shift in first}) == 40
    assert all(0 <= shift < period for shift in first)
    if period >= 2 * DAY_S:
        assert all(shift % DAY_S == 0 for shift in first[: int(period // DAY_S)])


@given(st.integers(1, 40), st.integers(0, 5))
def test_folding_uses_every_request_once_inside_one_segment(parts: int, seed: int) -> None:
    trace = made(300, seed=seed)
    folded = fold(trace, parts)
    assert identities(folded) == identities(trace)
    assert np.all(np.diff(folded.arrival_s) >= 0)
    segment = period_s(trace) / parts
    assert folded.arrival_s[-1] <= segment + 1e-6
    original = trace.arrival_s[folded.context_tokens]
    turns = (original - folded.arrival_s) / segment
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_image_share_is_reached_by_leaving_out_one_class(share: float) -> None:
    trace = made()
    scaled = scale_image_share(trace, share, seed=2)
    found = np.count_nonzero(scaled.recorded_images) / len(scaled)
    assert found == pytest.approx(share, abs=1 / len(scaled))
    kept = 2000 if share >= 0.5 else np.count_nonzero(scaled.recorded_images == 0)
    assert (np.count_nonzero(scaled.recorded_images) if share >= 0.5 else kept) == 2000
    assert np.all(np.diff(scaled.arrival_s) >= 0)


def test_an_image_share_out_of_reach_is_refused() -> None:
    text = made().take(made().recorded_images == 0)
    with pytest.raises(InputError, match="no image request"):
        scale_image_share(text, 0.2)
    assert len(scale_image_share(text, 0.0)) == len(text)
    with pytest.raises(InputError, match="between 0 and 1"):
        scale_image_share(made(), 1.5)


def test_days_are_split_in_order_without_overlap() -> None:
    trace = made()
    split = split_days(trace, train=4, validation=1, test=2)
    assert list(chain.from_iterable(identities(part) for part in split)) == identities(trace)
    assert [part.start for part in split] == ["2024-10-15T12:00:00Z", "2024-10-19T12:00:00Z", "2024-10-20T12:00:00Z"]
    assert split.validation.arrival_s[-1] < DAY_S
    assert split.train.context_tokens.max() < split.validation.context_tokens.min()


def test_a_short_trace_is_split_by_shorter_days() -> None:
    split = split_days(made(500, days=0.01), 2, 1, 1, day_s=200.0)
    assert [part.arrival_s[-1] < days * 200 for part, days in zip(split, (2, 1, 1), strict=True)] == [True] * 3


@pytest.mark.parametrize(("days", "reason"), [((5, 2, 1), "the trace has 7"), ((4, 0, 2), "validation is 0 days")])
def test_days_that_are_not_there_are_refused(days: tuple[int, int, int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        split_days(made(), *days)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_a_factor_that_makes_no_trace_is_refused(factor: float) -> None:
    with pytest.raises(InputError, match=r"rate factor|requests are more than"):
        scale_rate(made(), factor)


def test_thinning_to_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no request is left"):
        scale_rate(made(3), 1e-9)


def test_zero_parts_are_refused() -> None:
    with pytest.raises(InputError, match="parts is 0"):
        fold(made(), 0)


def test_the_same_seed_gives_the_same_trace_and_another_one_another() -> None:
    trace = made()
    again = [scale_rate(trace, 0.5, seed=seed).context_tokens.tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_every_step_is_noted_in_order() -> None:
    trace = fold(scale_rate(scale_image_share(made(), 0.4), 2.0), 7)
    steps = trace.notes["steps"].split("; ")
    assert [step.split(" ")[0] for step in steps] == ["image", "rate", "folded"]
