"""The gate calls a winner only what is shown better than the best simpler candidate and loses in no suite."""

from __future__ import annotations

import json
import math

import pytest

from slackwise.tuning.gate import Standing, Verdict, gate
from slackwise.tuning.interval import Difference

STANDINGS = [
    Standing("default", 0.90, 0, {"crash": 0.0, "load": 0.0}),
    Standing("edf", 0.93, 1, {"crash": 0.01, "load": 0.02}),
    Standing("reverse", 0.99, -1, {}),
    Standing("random", 0.95, 2, {"crash": 0.0, "load": 0.0}),
    Standing("tpe", 0.96, 2, {"crash": -0.005, "load": 0.03}),
]


def judged(standings: list[Standing], low: float, asked: list[tuple[str, str]] | None = None) -> Verdict:
    """The gate, every interval beginning at `low`."""

    def difference(name: str, baseline: str) -> Difference:
        if asked is not None:
            asked.append((name, baseline))
        return Difference("attainment", 0.96, 0.93, 0.03, low, 0.05, True)

    return gate(standings, difference)


def test_the_best_is_measured_against_the_best_simpler_one() -> None:
    asked: list[tuple[str, str]] = []
    verdict = judged(STANDINGS, 0.01, asked)
    assert (verdict.winner, verdict.named, verdict.against) == ("tpe", "tpe", "edf")
    assert asked == [("tpe", "edf")]
    assert verdict.sentence.startswith("Winner: tpe against edf")


def test_an_interval_that_touches_zero_names_the_simpler_one() -> None:
    verdict = judged(STANDINGS, -0.001)
    assert (verdict.winner, verdict.named) == (None, "edf")
    assert verdict.sentence.endswith("use edf")


def test_an_interval_that_does_not_exist_is_no_winner() -> None:
    verdict = judged(STANDINGS, math.nan)
    assert verdict.winner is None
    assert "no interval" in verdict.sentence


@pytest.mark.parametrize(("gain", "wins"), [(-0.009, True), (-0.011, False)])
def test_a_suite_that_is_lost_by_more_than_the_tolerance_stops_a_winner(gain: float, wins: bool) -> None:
    standings = [*STANDINGS[:-1], Standing("tpe", 0.96, 2, {"crash": gain, "load": 0.5})]
    verdict = judged(standings, 0.01)
    assert (verdict.winner == "tpe") == wins
    assert verdict.lost == (() if wins else ("crash",))
    assert verdict.named == ("tpe" if wins else "edf")


def test_a_control_never_wins_and_of_equals_the_simpler_does() -> None:
    equal = [Standing("tuned", 0.9, 2, {}), Standing("default", 0.9, 0, {}), Standing("control", 1.0, -1, {})]
    verdict = judged(equal, 0.01)
    assert (verdict.winner, verdict.named, verdict.over) == (None, "default", None)
    json.dumps(verdict.to_json(), allow_nan=False)
