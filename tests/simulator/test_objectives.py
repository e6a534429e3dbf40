"""Objectives: multiples of a request that runs alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Objectives, Simulation, isolated
from slackwise.simulator.objectives import IMAGE_TEXT_TOKENS, TEXT_TOKENS
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, OBJECTIVES, apart, configuration, monolith, trace_of

TIMES = ("text_ttft_s", "image_ttft_s", "text_tbt_s", "image_tbt_s")
MODELS = pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])


@MODELS
def test_objectives_are_the_times_of_isolated_requests_times_the_factor(model: str) -> None:
    times = isolated(apart(model), factor=3.0)
    rows = [(0.0, 0, TEXT_TOKENS, 2), (100.0, 1, IMAGE_TEXT_TOKENS, 2)]
    chosen = configuration(monolith(model, engine="vllm-0.7"))  # takes the prompt in one step
    run = Simulation(trace_of(rows), chosen, OBJECTIVES, image_context="keep")
    run.run_until()
    hidden = run.state.progress
    ttft_s = hidden.first_token_s - run.arrival_s
    tbt_s = hidden.finish_s - hidden.first_token_s
    assert [times.text_ttft_s, times.image_ttft_s] == pytest.approx(3.0 * ttft_s, rel=1e-12)
    assert [times.text_tbt_s, times.image_tbt_s] == pytest.approx(3.0 * tbt_s, rel=1e-12)


@MODELS
def test_the_factor_scales_every_objective(model: str) -> None:
    one, seven = (isolated(monolith(model), factor=factor) for factor in (1.0, 7.0))
    for name in TIMES:
        assert getattr(seven, name) == pytest.approx(7.0 * getattr(one, name))
    assert one.text_ttft_s < one.image_ttft_s


def test_one_objective_for_a_class_or_more_for_more_work() -> None:
    images, work_s = np.array([0, 0, 1, 9], np.int32), np.array([0.01, 3.0, 0.01, 2.0])
    alike = dataclasses.replace(OBJECTIVES, factor=5.0, scale="class").ttft_s(images, work_s)
    assert alike.tolist() == [0.3, 0.3, 0.6, 0.6]
    scaled = dataclasses.replace(OBJECTIVES, factor=5.0, scale="work").ttft_s(images, work_s)
    assert scaled.tolist() == [0.3, 15.0, 0.6, 10.0]
    assert OBJECTIVES.tbt_s(images).tolist() == [0.05] * 4
    assert OBJECTIVES.tightest_ttft_s == 0.3


def test_a_scale_by_work_moves_deadlines_of_the_simulation() -> None:
    rows = [(1.0, 9, 9000, 2)]
    deadlines = []
    for scale in ("class", "work"):
        objectives = isolated(monolith(), factor=2.0, scale=scale)
        run = Simulation(trace_of(rows), configuration(monolith()), objectives)
        request = run.state.requests[0]
        deadlines.append(float(request.deadline_s))
        work_s = request.encode_estimate_s + request.transfer_estimate_s + request.prefill_estimate_s
    assert deadlines[0] == 1.0 + objectives.image_ttft_s
    assert deadlines[1] == pytest.approx(1.0 + 2.0 * work_s)


def test_an_unknown_scale_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown objective scale 'works': did you mean 'work'\?"):
        dataclasses.replace(OBJECTIVES, scale="works")


@pytest.mark.parametrize("name", [*TIMES, "factor"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_objectives_are_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"objective {name} must be positive and finite"):
        Objectives(**(OBJECTIVES.to_json() | {name: value}))


def test_objectives_say_their_times_factor_and_scale() -> None:
    text = Objectives(0.5, 1.25, 0.04, 0.05, factor=4.0, scale="work").describe()
    assert text == "TTFT 0.50 s text, 1.25 s image; TBT 40 ms text, 50 ms image (isolated request x 4, scale: work)"
    assert Objectives(**OBJECTIVES.to_json()) == OBJECTIVES
