"""Results and metrics: exact where they can be, honest about what was rejected."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slackwise.simulator import Objectives, Simulation, result_of, simulate, summary
from slackwise.simulator.state import BUCKETS_PER_DECADE
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
from tests.simulator.watched import Watched, gaps

ROWS = [(1.0 + 0.2 * at, at % 3, 2000, 1 + 5 * (at % 4)) for at in range(30)]


def test_times_count_from_arrival_and_add_up() -> None:
    result = simulate(trace_of(ROWS), configuration(monolith()), OBJECTIVES)
    assert (result.ttft_s > 0).all()
    several = result.output_tokens > 1
    assert (result.tbt_s[~several] == 0).all()
    added_s = result.ttft_s + result.tbt_s * (result.output_tokens - 1)
    np.testing.assert_allclose(added_s, result.end_to_end_s, rtol=1e-9)
    last_s = (result.arrival_s + result.end_to_end_s).max()
    assert result.span_s == pytest.approx(last_s - 1.0)
    assert result.gpu_s == pytest.approx(4 * result.span_s)


def test_a_request_meets_its_objectives_if_both_times_are_within() -> None:
    run = Simulation(trace_of(ROWS), configuration(monolith()), OBJECTIVES)
    run.run_until()
    free = result_of(run)
    text = free.category == 0
    for ttft_share, tbt_share, expected in ((1.001, 1.001, 1.0), (0.5, 1.001, 0.0), (1.001, 0.5, 0.0)):
        ttft_s, tbt_s = float(free.ttft_s[text].max()), float(free.tbt_s[text].max())
        objectives = Objectives(ttft_share * ttft_s, 100.0, max(1e-9, tbt_share * tbt_s), 100.0)
        judged = simulate(trace_of(ROWS), configuration(monolith()), objectives)
        np.testing.assert_array_equal(judged.ttft_s, free.ttft_s)
        within = (free.ttft_s <= ttft_share * ttft_s) & (free.tbt_s <= tbt_share * tbt_s)
        np.testing.assert_array_equal(judged.met[text], within[text])
        assert judged.met[~text].all()
        assert judged.met[text].all() == bool(expected)


def test_rejected_requests_count_as_failed() -> None:
    rows = [(0.0, 0, 100, 3), (0.1, 0, 30_000_000, 3), (0.2, 1, 1000, 3)]
    result = simulate(trace_of(rows), configuration(apart(DECODER_ONLY)), Objectives(9.0, 9.0, 9.0, 9.0))
    assert result.rejected.tolist() == [False, True, False]
    assert result.met.tolist() == [True, False, True]
    assert np.isinf(result.ttft_s).tolist() == np.isinf(result.tbt_s).tolist() == [False, True, False]
    told = summary(result)
    assert told["rejected"] == 1
    assert told["classes"]["all"]["attainment"] == pytest.approx(2 / 3)
    assert told["classes"]["text-only"]["attainment"] == pytest.approx(1 / 2)
    assert told["classes"]["all"]["ttft_s"]["p99"] is None
    assert told["classes"]["all"]["ttft_s"]["p50"] is not None
    assert told["classes"]["text-only"]["tbt_s"]["mean"] == pytest.approx(result.tbt_s[0])
    json.dumps(told, allow_nan=False)


def test_tbt_quantiles_are_those_of_every_token_to_a_bucket() -> None:
    run = random_simulation(Shape(topology="monolith", requests=60, chatty=True), seed=3)
    reference = Watched(run)
    run.run_until()
    reference.run()
    every = np.concatenate([gaps(reference, category) for category in range(3)])
    told = summary(result_of(run))["classes"]["all"]["tbt_s"]
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        exact_s = np.quantile(every, quantile, method="inverted_cdf")
        assert told[name] == pytest.approx(exact_s, rel=10 ** (1 / BUCKETS_PER_DECADE) - 1)
    assert told["mean"] == pytest.approx(every.mean(), rel=1e-9)


def test_the_classes_make_up_the_whole() -> None:
    result = simulate(trace_of(ROWS), configuration(apart()), OBJECTIVES)
    classes = summary(result)["classes"]
    parts = [metrics for name, metrics in classes.items() if name != "all"]
    assert list(classes) == ["all", "text-only", "image"]
    for name in ("requests", "goodput_rps", "output_tokens_per_s"):
        assert sum(part[name] for part in parts) == pytest.approx(classes["all"][name])
    assert classes["all"]["output_tokens_per_s"] == pytest.approx(result.output_tokens.sum() / result.span_s)


def test_utilisation_is_the_share_of_the_span_in_steps() -> None:
    rows = [(10.0 * at, 1, 1000, 2) for at in range(5)]
    run = Simulation(trace_of(rows), configuration(apart(DECODER_ONLY, encoders=2)), OBJECTIVES)
    run.run_until()
    result, hidden = result_of(run), run.state.progress
    encoding_s = (hidden.encoded_s - run.arrival_s).sum()
    serving_s = (hidden.finish_s - hidden.encoded_s - hidden.near_transfer_s).sum()
    assert result.busy["E"] == pytest.approx(encoding_s / (2 * result.span_s))
    assert result.encode_busy == {"E": pytest.approx(result.busy["E"]), "PD": 0.0}
    assert result.busy["PD"] == pytest.approx(serving_s / result.span_s)


def test_the_encode_part_of_a_monolith_s_steps_is_told_apart() -> None:
    run = Simulation(trace_of([(0.0, 2, 1000, 2)]), configuration(monolith()), OBJECTIVES)
    run.run_until()
    costs, tiles = run.state.costs[0], int(run.state.requests.tiles_per_image[0])
    steps = 2  # one image fits the budget of a step
    encode_s = steps * costs.encode_step_s + 2 * tiles * costs.encode_s_per_tile
    chunks_s = result_of(run).encode_busy["EPD"] * result_of(run).span_s
    assert chunks_s in (pytest.approx(encode_s), pytest.approx(encode_s - costs.encode_step_s))
