"""Estimates under weights are the metrics of the run itself, and of one with requests repeated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from slackwise.simulator import isolated, preset, simulate, summary
from slackwise.traces import synthesize
from slackwise.tuning.estimates import Estimator, weighted_quantiles
from tests.tuning.synthetic import result


def test_weights_of_one_give_the_summary_of_the_run() -> None:
    configuration = preset("modserve", "Llama-3.2-11B-Vision")
    run = simulate(synthesize(1, duration_h=0.2), configuration, isolated(configuration.cluster))
    cell = (run.arrival_s // 10).astype(np.int64)
    found = Estimator(run, cell, int(cell.max()) + 1).estimates(np.ones((1, int(cell.max()) + 1), np.int32))
    told = summary(run)["classes"]
    assert found.keys() == told.keys()
    for name, metrics in told.items():
        for key in ("mean", "p50", "p90", "p99"):
            assert found[name][f"ttft_{key}_s"][0] == pytest.approx(metrics["ttft_s"][key], rel=1e-12)
        assert found[name]["tbt_mean_s"][0] == pytest.approx(metrics["tbt_s"]["mean"], rel=1e-9)
        assert found[name]["attainment"][0] == pytest.approx(metrics["attainment"], rel=1e-12)
        assert found[name]["goodput_rps"][0] == pytest.approx(metrics["goodput_rps"], rel=1e-12)


def test_a_weighted_quantile_is_that_of_the_repeated_requests() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        count = int(random.integers(1, 40))
        value, cell = -np.sort(-random.exponential(size=count)), random.integers(0, 6, count)
        weights = random.integers(0, 4, (3, 6)).astype(np.int32)
        found = weighted_quantiles(value, cell, weights, np.array([0.99, 0.9, 0.5]))
        for row, row_weights in zip(found, weights, strict=True):
            repeated = np.repeat(value, row_weights[cell])
            expected = [
                np.quantile(repeated, q, method="higher") if len(repeated) else np.nan for q in (0.99, 0.9, 0.5)
            ]
            np.testing.assert_array_equal(row, expected)


def test_a_request_never_served_makes_the_mean_infinite_and_spares_the_median() -> None:
    times = np.array([0.1, math.inf, 0.2, 0.3])
    run = result(np.arange(4, dtype=np.float64), times)
    found = Estimator(replace(run, tbt_s=times), np.zeros(4, np.int64), 1).estimates(np.ones((1, 1), np.int32))["all"]
    assert found["ttft_mean_s"][0] == math.inf
    assert found["ttft_p50_s"][0] == 0.3
    assert found["attainment"][0] == 0.75


def test_a_tail_from_one_burst_rests_on_one_stretch() -> None:
    arrival = np.arange(1000, dtype=np.float64)
    even = np.asarray(arrival % 7, np.float64)
    burst = np.where((arrival >= 500) & (arrival < 510), 9.0, 1.0)
    block = np.arange(20)
    cell = (arrival // 50).astype(np.int64)
    assert Estimator(result(arrival, burst), cell, 20).stretches("all", "ttft_p99_s", block) == 1.0
    assert Estimator(result(arrival, even), cell, 20).stretches("all", "ttft_p50_s", block) > 5
    assert Estimator(result(arrival, even), cell, 20).stretches("all", "attainment", block) == math.inf
