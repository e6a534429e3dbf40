"""A card says what the study found, in plain data, and calls a winner only what is one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slackwise.policies.winner import Winner
from slackwise.reports.card import card, verdict
from slackwise.reports.curves import BINS, SHARES, attainment_series, bin_width_s, ttft_curves
from slackwise.reports.document import command
from slackwise.simulator import preset
from slackwise.tuning.interval import Difference
from slackwise.tuning.search_study import TUNED, Plan, Study, study

ROW_KEYS = {"name", "model", "ttft_p99_s", "attainment", "gpu_hours", "difference", "interval"}


def moved(found: Difference, value: float, low: float, high: float) -> Difference:
    return replace(found, difference=value, low=low, high=high)


def with_differences(study: Study, over_default: tuple[float, ...], over_strongest: tuple[float, ...]) -> Study:
    """The study as if these were its differences and intervals; the strongest baseline is modserve."""
    differences = {name: {**found} for name, found in study.comparison.differences.items()}
    everyone = differences[TUNED]["all"]
    differences[TUNED]["all"] = {**everyone, "attainment": moved(everyone["attainment"], *over_default)}
    comparison = replace(study.comparison, differences=differences)
    over = moved(study.over_strongest, *over_strongest)
    return replace(study, comparison=comparison, strongest="modserve", over_strongest=over)


def test_the_card_is_json_without_nan(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False))["rows"] == found["rows"]


def test_every_row_is_complete(found: dict[str, Any]) -> None:
    assert [row["name"] for row in found["rows"]] == ["vllm", "vllm-0.7", "modserve", TUNED]
    for row in found["rows"]:
        assert row.keys() >= ROW_KEYS
        assert 0.0 <= row["attainment"] <= 1.0
        assert row["gpu_hours"] > 0
        assert row["ttft_p99_s"] > 0
        assert sum(each["requests"] for each in row["classes"].values()) == found["cards"][0]["reported"]["requests"]


def test_the_baseline_has_no_interval_and_the_others_hold_their_difference(found: dict[str, Any]) -> None:
    first, *others = found["rows"]
    assert (first["difference"], first["interval"], first["verdict"]) == (0.0, None, "baseline")
    for row in others:
        assert row["difference"] == pytest.approx(row["attainment"] - first["attainment"])
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]


def test_goodput_is_attainment_times_requests_over_the_span(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        span_s = row["gpu_hours"] * 3600 / 16
        requests = found["cards"][0]["reported"]["requests"]
        assert row["goodput_rps"] * span_s == pytest.approx(row["attainment"] * requests)


def test_rules_that_no_release_runs_on_a_cross_attention_model_are_labelled(found: dict[str, Any], plan: Plan) -> None:
    llama = card(study("Llama-3.2-11B", replace(plan, trials=2)))
    labelled = {row["name"]: bool(row["hypothetical"]) for row in llama["rows"]}
    assert labelled == {"vllm": True, "vllm-0.7": False, "modserve": False, TUNED: True}
    assert not any(row["hypothetical"] for row in found["rows"])


def test_the_same_seed_gives_the_same_report(found: dict[str, Any], plan: Plan) -> None:
    assert card(study("InternVL2.5", plan)) == found["cards"][0]


def test_another_seed_gives_other_rows(found: dict[str, Any], plan: Plan) -> None:
    assert card(study("InternVL2.5", replace(plan, seed=1)))["rows"] != found["rows"]


def test_the_winner_is_the_tuned_service_and_replays(tiny: Study) -> None:
    wins = with_differences(tiny, (0.05, 0.02, 0.08), (0.03, 0.01, 0.05))
    winner = Winner.from_dict(json.loads(json.dumps(card(wins)["winner"])))
    assert winner.policies == wins.comparison.outcome(TUNED).configuration.policies
    assert winner.scores["wins"] is True
    assert len(winner.golden) > 0


def test_without_a_winner_the_bundle_is_todays_service(tiny: Study) -> None:
    loses = with_differences(tiny, (0.01, -0.02, 0.04), (0.01, -0.02, 0.04))
    winner = Winner.from_dict(card(loses)["winner"])
    assert winner.policies == preset("vllm", "InternVL2.5-26B").policies
    assert winner.cluster["topology"] == "monolith"
    assert winner.scores["wins"] is False


@pytest.mark.parametrize(
    ("over_default", "over_strongest", "words", "wins"),
    [
        (
            (0.05, 0.02, 0.08),
            (0.03, 0.01, 0.05),
            "Winner: tuned is better than vllm, +5.0 points (+2.0 to +8.0)",
            True,
        ),
        ((0.05, 0.02, 0.08), (0.01, -0.01, 0.02), "Winner over vllm alone", True),
        ((0.05, 0.02, 0.08), (-0.03, -0.05, -0.01), "No winner: tuned is better than vllm", False),
        ((0.01, -0.02, 0.04), (0.0, -0.01, 0.01), "No winner: no difference shown", False),
        ((-0.05, -0.08, -0.02), (-0.06, -0.08, -0.02), "No winner: tuned is worse than vllm", False),
        ((0.05, math.nan, math.nan), (0.05, math.nan, math.nan), "No verdict", False),
    ],
)
def test_the_verdict_says_what_the_intervals_say(
    tiny: Study, over_default: tuple[float, ...], over_strongest: tuple[float, ...], words: str, wins: bool
) -> None:
    changed = with_differences(tiny, over_default, over_strongest)
    assert verdict(changed).startswith(words)
    assert changed.wins is wins


def test_curves_are_the_quantiles_of_the_class(tiny: Study) -> None:
    result = tiny.comparison.outcomes[0].result
    mine = result.ttft_s[result.category == 0]
    curve = ttft_curves(result)["text-only"]
    assert curve[0] == mine.min()
    at = int(np.argmin(abs(SHARES - 0.9)))
    assert np.mean(mine <= np.float64(curve[at] or 0.0)) == pytest.approx(0.9, abs=0.01)


def test_attainment_over_time_averages_to_the_attainment(tiny: Study) -> None:
    result, trace = tiny.comparison.outcomes[0].result, tiny.load.reported
    width_s = bin_width_s(trace)
    series = attainment_series(result, width_s)
    arrived = np.histogram(trace.arrival_s - trace.arrival_s[0], BINS, (0.0, BINS * width_s))[0]
    met = sum((share or 0.0) * count for share, count in zip(series, arrived, strict=True))
    assert met / len(trace) == pytest.approx(result.met.mean())
    assert len(series) == BINS


def test_the_command_spells_out_the_plan() -> None:
    typed = command(["InternVL2.5-26B"], Plan(hours=1.5, trials=7, seed=4))
    for words in ("--model InternVL2.5-26B", "--hours 1.5", "--trials 7", "--seed 4", "--slo-scale work"):
        assert words in typed
