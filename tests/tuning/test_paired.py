"""A comparison serves the same arrivals with every configuration and tells good policies from bad ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Configuration, disaggregated, isolated, preset
from slackwise.traces import Trace, scale_rate, slice_time, synthesize
from slackwise.tuning.outcome import joined
from slackwise.tuning.paired import Comparison, compare

MODEL = "Llama-3.2-11B-Vision"
VLLM, MODSERVE = preset("vllm", MODEL), preset("modserve", MODEL)
OBJECTIVES = isolated(VLLM.cluster)


def window(rate: float = 2.0, hours: float = 0.25) -> Trace:
    return scale_rate(synthesize(3, start_h=24, duration_h=hours), rate)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare([window()], [VLLM, preset("vllm-0.7", MODEL), MODSERVE], OBJECTIVES, "vllm", resamples=200)


def changed(configuration: Configuration, name: str, *settings: str) -> Configuration:
    return replace(configuration, name=name, policies=configuration.policies.changed(settings))


def test_every_configuration_serves_the_same_arrivals(comparison: Comparison) -> None:
    first, *rest = (each.result.arrival_s for each in comparison.outcomes)
    for each in rest:
        np.testing.assert_array_equal(each, first)


def test_a_difference_is_value_minus_baseline(comparison: Comparison) -> None:
    found = comparison.difference("modserve", "ttft_p99_s", "image")
    assert found.difference == found.value - found.baseline
    assert found.low <= found.difference <= found.high
    assert found.value == comparison.values["modserve"]["image"]["ttft_p99_s"]


def test_a_configuration_does_not_differ_from_its_twin() -> None:
    twins = compare([window()], [VLLM, replace(VLLM, name="twin")], OBJECTIVES, "vllm", resamples=100)
    for metrics in twins.differences["twin"].values():
        for each in metrics.values():
            if not math.isfinite(each.value):
                continue  # GPU-seconds for each good request where none is good
            assert (each.difference, each.low, each.high) == (0.0, 0.0, 0.0)
            assert each.verdict == "no difference shown"


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    def intervals(seed: int) -> object:
        found = compare([window()], [VLLM, MODSERVE], OBJECTIVES, "vllm", seed, resamples=100)
        return found.to_json()["configurations"][1]["differences"]

    assert intervals(1) == intervals(1)
    assert intervals(1) != intervals(2)


def one_encoder(name: str, order: str, routing: str = "least_text_tokens") -> Configuration:
    """ModServe's cluster with its encoders cut to one, so that a queue forms in which order matters."""
    small = replace(MODSERVE, cluster=disaggregated(MODEL, "A100-80GB", 13, text_instances=3))
    return changed(small, name, f"encode_batching={order}", f"batching={order}", f"routing={routing}")


@pytest.mark.parametrize(
    "bad",
    [one_encoder("bad", "reverse_slack"), one_encoder("bad", "least_slack", "busiest_instance")],
    ids=["reverse_slack", "busiest_instance"],
)
def test_a_bad_policy_comes_out_clearly_worse_than_a_good_one(bad: Configuration) -> None:
    """With objectives that every request can meet ("work"): serving hopeless requests first is no virtue."""
    good = one_encoder("good", "least_slack")
    found = compare([window(4.0)], [good, bad], isolated(good.cluster, scale="work"), "good", resamples=200)
    for metric in ("attainment", "goodput_rps", "ttft_mean_s", "ttft_p90_s"):
        assert found.difference("bad", metric).verdict == "worse", metric
    assert found.ranking() == ["good", "bad"]


def test_several_windows_are_joined_in_requests_seconds_and_shares() -> None:
    whole = window(hours=0.5)
    parts = [slice_time(whole, 0, 900), slice_time(whole, 900)]
    found = compare(parts, [VLLM, MODSERVE], OBJECTIVES, "vllm", block_s=60.0, resamples=100)
    outcome = found.outcome("vllm")
    assert len(outcome.result.ttft_s) == len(whole)
    assert outcome.result.gpu_s == sum(each.gpu_s for each in outcome.results)
    low, high = sorted(each.busy["EPD"] for each in outcome.results)
    assert low <= outcome.result.busy["EPD"] <= high
    assert found.blocks.count >= 28
    assert joined(outcome.results[:1]) is outcome.results[0]


def test_a_short_window_has_no_intervals_and_says_so() -> None:
    found = compare([window(hours=0.05)], [VLLM, MODSERVE], OBJECTIVES, "vllm")
    assert found.difference("modserve").verdict == "no interval"
    assert "too few" in found.to_json()["bootstrap"]["note"]


def test_the_comparison_is_plain_json(comparison: Comparison) -> None:
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert [each["name"] for each in document["configurations"]] == ["vllm", "vllm-0.7", "modserve"]
    row = document["configurations"][2]["differences"]["all"]["attainment"]
    assert set(row) == {"value", "baseline", "difference", "relative", "interval", "verdict"}
    assert document["configurations"][0]["differences"] is None


def test_objectives_may_hang_on_the_configuration() -> None:
    found = compare(
        [window()], [VLLM, MODSERVE], lambda each: isolated(each.cluster, factor=9.0), "vllm", resamples=100
    )
    assert {each.objectives.factor for each in found.outcomes} == {9.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"baseline": "vlm"}, "did you mean 'vllm'"),
        ({"metric": "attainmnt"}, "did you mean 'attainment'"),
        ({"configurations": [VLLM, VLLM]}, "two configurations are called 'vllm'"),
        ({"windows": []}, "at least one window"),
        ({"block_s": -1.0}, "positive length"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], words: str) -> None:
    usual = {"windows": [window()], "configurations": [VLLM], "objectives": OBJECTIVES, "baseline": "vllm"}
    with pytest.raises(InputError, match=words):
        compare(**(usual | arguments))  # type: ignore[arg-type]


def test_the_baseline_has_no_difference_and_unknown_names_the_closest(comparison: Comparison) -> None:
    with pytest.raises(InputError, match="is the baseline"):
        comparison.difference("vllm")
    with pytest.raises(InputError, match="did you mean 'modserve'"):
        comparison.difference("modserv")
    with pytest.raises(InputError, match="did you mean 'image'"):
        comparison.difference("modserve", None, "imag")
