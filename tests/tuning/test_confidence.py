"""Intervals of a single run hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.simulator import Result
from slackwise.streams import stream
from slackwise.tuning.confidence import confidence
from tests.tuning.synthetic import OBJECTIVES, result

HOUR_S = 3600.0


def steady(number: int, late: float = 0.1, count: int = 600) -> Result:
    """An hour in which each request is late with probability `late`, whatever the others are."""
    random = stream(number, "confidence test")
    arrival_s = np.sort(random.uniform(0.0, HOUR_S, count))
    return result(arrival_s, np.where(random.random(count) < late, 10.0, random.uniform(0.5, 1.5, count)))


def test_the_interval_of_attainment_holds_the_truth_nineteen_times_of_twenty() -> None:
    held = 0
    for number in range(120):
        pair = confidence([steady(number)], number, block_s=60.0, resamples=200).intervals["all"]["attainment"]
        assert pair is not None
        held += pair[0] <= 0.9 <= pair[1]
    assert 0.88 <= held / 120 <= 0.995


def test_more_hours_give_a_narrower_interval() -> None:
    widths = []
    for hours in (1, 9):
        pair = confidence([steady(each) for each in range(hours)], 0, block_s=60.0).intervals["all"]["attainment"]
        assert pair is not None
        widths.append(pair[1] - pair[0])
    assert widths[1] == pytest.approx(widths[0] / 3, rel=0.25)


def test_the_same_seed_gives_the_same_interval() -> None:
    one, other = (confidence([steady(0)], 5).to_json() for _ in range(2))
    assert one == other
    assert one != confidence([steady(0)], 6).to_json()


def test_too_short_a_run_has_no_interval() -> None:
    arrival_s = np.linspace(0.0, 100.0, 50)
    found = confidence([result(arrival_s, np.full(50, 1.0))])
    assert set(found.intervals["all"].values()) == {None}
    assert "too few" in found.to_json()["note"]


def test_a_metric_that_some_request_never_reaches_has_none() -> None:
    late = steady(0)
    never = result(late.arrival_s, np.where(late.ttft_s > OBJECTIVES.text_ttft_s, np.inf, late.ttft_s))
    found = confidence([never], block_s=60.0, resamples=100).intervals["all"]
    assert found["ttft_mean_s"] is None
    assert found["attainment"] is not None
