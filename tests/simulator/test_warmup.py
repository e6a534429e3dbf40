"""A warm-up is served and not judged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Simulation, result_of, simulate, summary
from slackwise.simulator.warmup import mser5
from slackwise.streams import stream
from tests.simulator.cases import OBJECTIVES, TOPOLOGIES, Shape, configuration, monolith, random_simulation, trace_of

ROWS = [(1.0 + 0.2 * at, at % 3, 2000, 1 + 5 * (at % 4)) for at in range(30)]


def test_whoever_arrives_in_the_warm_up_is_left_out_and_the_rest_is_as_it_was() -> None:
    whole, cut = (simulate(trace_of(ROWS), configuration(monolith()), OBJECTIVES, warm_up_s=each) for each in (0, 2.0))
    later = whole.arrival_s >= 3.0
    assert (cut.warm_up_s, cut.warm_up_requests) == (2.0, 30 - later.sum())
    for name in ("arrival_s", "ttft_s", "tbt_s", "end_to_end_s", "met", "output_tokens", "category"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[later])
    for name, seconds in cut.stages.items():
        np.testing.assert_array_equal(seconds, whole.stages[name][later])
    assert cut.span_s == pytest.approx(whole.span_s - 2.0)
    assert cut.gpu_s == pytest.approx(whole.gpu_s - 4 * 2.0)
    told = summary(cut)
    assert told["requests"] == later.sum()
    assert told["warm_up"] == {"seconds": 2.0, "requests": 30 - later.sum()}
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_tokens_and_busy_seconds_count_from_the_end_of_the_warm_up(topology: str) -> None:
    run = random_simulation(Shape(topology, requests=40, chatty=True), 3)
    run.keep_log(100_000)
    seconds = 0.4 * float(run.arrival_s[-1] - run.arrival_s[0])
    run.warm_up(seconds)
    since_s = float(run.arrival_s[0]) + seconds
    before = run.state.tbt.tokens.sum()
    run.run_until()
    result, rows = result_of(run), run.state.log[: run.state.clock[0].logged]
    assert result.tbt_tokens.sum() == run.state.tbt.tokens.sum() - before
    steps = rows[rows.kind == rows.kind.max()]
    inside_s = np.maximum(0.0, steps.time_s - np.maximum(since_s, steps.since_s)).sum()
    kinds = {pool.stages: 0 for pool in run.configuration.cluster.pools}
    for pool in run.configuration.cluster.pools:
        kinds[pool.stages] += pool.instances
    busy_s = sum(share * kinds[kind] * result.span_s for kind, share in result.busy.items())
    assert busy_s == pytest.approx(inside_s, rel=1e-9)


@pytest.mark.parametrize("seconds", [-1.0, 5.9, float("nan")])
def test_a_warm_up_after_which_nobody_arrives_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match=r"must end before the last arrival, at 5\.8 s"):
        Simulation(trace_of(ROWS), configuration(monolith()), OBJECTIVES).warm_up(seconds)


def test_mser5_cuts_a_start_unlike_the_rest_and_nothing_of_a_steady_series() -> None:
    noise = np.asarray(stream(0, "mser").normal(0.0, 1.0, 1000))
    ramp = np.where(np.arange(1000) < 200, -10.0 * (1 - np.arange(1000) / 200), 0.0)
    assert 150 <= mser5(np.asarray(noise + ramp, np.float64)) <= 220
    assert mser5(noise) <= 100
    assert mser5(noise) % 5 == 0


def test_mser5_is_the_cut_of_least_error_by_definition() -> None:
    values = np.asarray(stream(1, "mser").exponential(1.0, 200) * np.linspace(0.2, 1.0, 200), np.float64)
    means = values.reshape(40, 5).mean(axis=1)
    errors = [means[cut:].var() / (40 - cut) for cut in range(21)]
    assert mser5(values) == 5 * int(np.argmin(errors))


def test_mser5_of_hardly_any_values_cuts_nothing() -> None:
    assert mser5(np.full(9, np.inf)) == mser5(np.arange(9.0)) == 0
