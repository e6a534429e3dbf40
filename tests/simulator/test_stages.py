"""Seconds by stage are those of the rules, by hand, and add up to the whole of every request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.simulator import Simulation, result_of, simulate, summary
from slackwise.simulator.stages import STAGES, WAITS
from tests.simulator.cases import (
    DECODER_ONLY,
    OBJECTIVES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    trace_of,
)
from tests.simulator.test_equality import shapes


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_the_stages_of_a_request_add_up_to_its_time(shape: Shape, seed: int) -> None:
    run = random_simulation(shape, seed)
    run.run_until()
    result = result_of(run)
    stages = np.array(list(result.stages.values()))
    assert (stages[~np.isnan(stages)] >= 0).all()
    whole_s, before_s = result.end_to_end_s[result.served], result.ttft_s[result.served]
    np.testing.assert_allclose(np.nansum(stages, axis=0)[result.served], whole_s, rtol=1e-9, atol=1e-9)
    until = list(result.stages).index("prefill") + 1
    np.testing.assert_allclose(np.nansum(stages[:until], axis=0)[result.served], before_s, rtol=1e-9, atol=1e-9)


def test_a_lone_request_by_way_of_an_encoder_waits_nowhere() -> None:
    run = Simulation(trace_of([(1.0, 1, 50, 3)]), configuration(apart(DECODER_ONLY)), OBJECTIVES)
    run.run_until()
    hidden, stages = run.state.progress[0], result_of(run).stages
    queued_s = hidden.encoded_s + stages["transfer"][0]
    assert list(stages) == ["encode_wait", "encode", "transfer", "prefill_wait", "prefill", "decode"]
    assert stages["encode_wait"][0] == stages["prefill_wait"][0] == 0.0
    assert stages["encode"][0] == pytest.approx(hidden.encoded_s - 1.0)
    assert stages["transfer"][0] > 0
    assert stages["prefill"][0] == pytest.approx(hidden.first_token_s - queued_s)
    assert stages["decode"][0] == pytest.approx(hidden.finish_s - hidden.first_token_s)


def test_text_passes_no_stage_of_the_encoders() -> None:
    run = Simulation(trace_of([(0.0, 1, 50, 3), (0.0, 0, 50, 1)]), configuration(apart(DECODER_ONLY)), OBJECTIVES)
    run.run_until()
    told = summary(result_of(run))["classes"]["text-only"]["stages"]
    assert told["encode_wait"] is told["encode"] is told["transfer"] is told["decode"] is None
    assert told["prefill"]["requests"] == 1


def test_the_second_of_two_waits_for_the_encoder_as_long_as_the_first_is_encoded() -> None:
    rows = [(0.0, 1, 50, 1), (0.0, 1, 50, 1)]
    run = Simulation(trace_of(rows), configuration(apart(DECODER_ONLY)), OBJECTIVES)
    run.run_until()
    stages = result_of(run).stages
    assert stages["encode_wait"].tolist() == pytest.approx([0.0, stages["encode"][0]])


def test_with_one_seat_the_second_waits_for_its_prefill_until_the_first_is_done() -> None:
    run = Simulation(trace_of([(0.0, 0, 50, 10)] * 2), configuration(monolith()), OBJECTIVES)
    run.state.pools.max_sequences = 1
    run.run_until()
    stages, finish_s = result_of(run).stages, run.state.progress.finish_s
    assert list(stages) == ["prefill_wait", "prefill", "decode"]
    assert stages["prefill_wait"].tolist() == pytest.approx([0.0, finish_s[0]])


def test_where_decodes_are_apart_the_hand_over_and_the_wait_for_a_seat_are_told() -> None:
    shape = Shape("E+P+D", requests=40, bursts=True)
    run = random_simulation(shape, 1)
    run.state.pools.max_sequences[-1] = 1
    run.run_until()
    stages = result_of(run).stages
    assert [*stages] == [name for name in STAGES if name in stages]
    assert set(STAGES) - {*stages} <= {"preprocess"}
    several = run.output_tokens > 1
    assert np.isnan(stages["hand_over"][~several]).all()
    assert (stages["hand_over"][several] > 0).all()
    assert np.nanmax(stages["decode_wait"]) > 0


def test_a_rejected_request_passes_no_stage() -> None:
    result = simulate(trace_of([(0.0, 0, 100, 3), (0.1, 0, 30_000_000, 3)]), configuration(monolith()), OBJECTIVES)
    assert all(np.isnan(seconds).tolist() == [False, True] for seconds in result.stages.values())


def test_the_waits_are_stages() -> None:
    assert set(WAITS) < set(STAGES)


def test_utilisation_by_stage_adds_up_and_is_that_of_the_steps() -> None:
    run = Simulation(trace_of([(0.0, 1, 50, 1), (10.0, 0, 100, 40)]), configuration(apart(DECODER_ONLY)), OBJECTIVES)
    run.run_until()
    result = result_of(run)
    told, span_s, stages = summary(result)["stage_utilisation"], result.span_s, result.stages
    assert told["E"] == {"encode": pytest.approx(stages["encode"][0] / span_s), "prefill": 0.0, "decode": 0.0} | {
        "idle": pytest.approx(1 - stages["encode"][0] / span_s)
    }
    assert told["PD"]["prefill"] == pytest.approx(stages["prefill"].sum() / span_s)
    assert told["PD"]["decode"] == pytest.approx(stages["decode"][1] / span_s)
    assert sum(told["PD"].values()) == pytest.approx(1.0)


def test_preprocessing_is_a_stage_of_requests_with_images() -> None:
    cluster = replace(apart(DECODER_ONLY), preprocess_workers=1)
    run = Simulation(trace_of([(0.0, 1, 50, 2), (0.0, 1, 50, 2), (0.0, 0, 50, 2)]), configuration(cluster), OBJECTIVES)
    run.run_until()
    result, image_s = result_of(run), float(run.image_s[0])
    assert result.stages["preprocess"].tolist() == pytest.approx([image_s, 2 * image_s, np.nan], nan_ok=True)
    total_s = np.nansum(list(result.stages.values()), axis=0)
    np.testing.assert_allclose(total_s, result.end_to_end_s, rtol=1e-12)
