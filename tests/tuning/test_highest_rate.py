"""Capacity: the bracket closes on the rate at which attainment crosses the target, and its edges are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slackwise.errors import InputError
from slackwise.simulator import isolated, preset, simulate
from slackwise.traces import Trace, scale_rate, synthesize
from slackwise.tuning.capacity import Probe, attainment_at, capacity

MODEL = "Llama-3.2-11B-Vision"
VLLM = preset("vllm", MODEL)
OBJECTIVES = isolated(VLLM.cluster, scale="work")
STRICT = isolated(VLLM.cluster, factor=0.5)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return synthesize(5, start_h=24, duration_h=0.5)


def test_the_bracket_is_narrow_passes_below_and_fails_above(trace: Trace) -> None:
    found = capacity(trace, VLLM, OBJECTIVES, target=0.98)
    assert found.verdict == "found"
    assert found.passing is not None
    assert found.failing is not None
    assert found.passing.attainment >= 0.98 > found.failing.attainment
    assert 1.0 < found.failing.factor / found.passing.factor <= 1.02
    assert found.requests_per_s == found.passing.requests_per_s
    assert found.requests_per_s == pytest.approx(found.passing.factor * len(trace) / 1800, rel=0.03)


def test_the_share_without_serving_the_backlog_is_that_of_the_whole_run(trace: Trace) -> None:
    for rate in (1.0, 12.0, 30.0):
        scaled = scale_rate(trace, rate)
        assert attainment_at(scaled, VLLM, OBJECTIVES) == simulate(scaled, VLLM, OBJECTIVES).met.mean()


def test_more_gpus_carry_more(trace: Trace) -> None:
    small = preset("vllm", MODEL, gpus=8)
    assert capacity(trace, VLLM, OBJECTIVES).requests_per_s > capacity(trace, small, OBJECTIVES).requests_per_s


def test_objectives_that_no_rate_meets_are_below(trace: Trace) -> None:
    found = capacity(trace, VLLM, STRICT)
    assert found.verdict == "below"
    assert found.passing is None
    assert found.requests_per_s == 0.0
    assert found.failing is not None
    assert found.failing.factor * len(trace) == pytest.approx(200)
    assert "none. Even at" in found.describe()


def test_a_highest_rate_that_passes_is_above(trace: Trace) -> None:
    found = capacity(trace, VLLM, OBJECTIVES, target=0.5, highest=1.5)
    assert found.verdict == "above"
    assert found.failing is None
    assert found.passing is not None
    assert found.passing.factor == 1.5
    assert "the highest rate asked for" in found.describe()


def test_a_search_below_the_traces_rate_halves(trace: Trace) -> None:
    found = capacity(scale_rate(trace, 30.0), replace(VLLM, name="busy"), OBJECTIVES)
    assert found.verdict == "found"
    assert found.passing is not None
    assert found.passing.factor < 1.0


def test_every_rate_tried_is_told_and_written(trace: Trace) -> None:
    told: list[Probe] = []
    found = capacity(trace, VLLM, OBJECTIVES, progress=told.append)
    assert tuple(told) == found.probes
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(document["probes"]) == len(told)
    assert document["requests_per_s_per_gpu"] == found.requests_per_s / 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": 0.0}, "target is 0"),
        ({"target": 1.5}, "target is 1.5"),
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"highest": 0.001}, "highest rate factor"),
        ({"highest": float("inf")}, "highest rate factor"),
    ],
)
def test_bad_settings_are_refused(trace: Trace, arguments: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        capacity(trace, VLLM, OBJECTIVES, **arguments)  # type: ignore[arg-type]


def test_an_empty_trace_is_refused(trace: Trace) -> None:
    with pytest.raises(InputError, match="no request"):
        capacity(trace.take(slice(0, 0)), VLLM, OBJECTIVES)
