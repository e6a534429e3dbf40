"""Starvation and fairness, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slackwise.simulator import Result, Simulation, result_of, summary
from slackwise.simulator.fairness import fairness, starvation
from tests.simulator.cases import OBJECTIVES, apart, configuration, monolith, trace_of


@pytest.fixture(scope="module")
def served() -> Result:
    """Two text requests and two with an image, apart in time."""
    rows = [(0.0, 0, 50, 2), (10.0, 0, 50, 2), (20.0, 1, 50, 2), (30.0, 1, 50, 2)]
    run = Simulation(trace_of(rows), configuration(apart()), OBJECTIVES)
    run.run_until()
    return result_of(run)


def test_the_longest_wait_is_told_in_seconds_and_over_the_objective(served: Result) -> None:
    waits = {"encode_wait": [np.nan, np.nan, 0.5, 0.1], "prefill_wait": [0.2, 0.9, 0.1, 1.0]}
    given = {name: np.array(values) for name, values in waits.items()}
    objectives_s = np.array([0.1, 1.0, 1.0, 2.0])
    found = starvation(replace(served, stages=served.stages | given, ttft_objective_s=objectives_s))
    assert found == {"longest_wait_s": pytest.approx(1.1), "over_objective": pytest.approx(2.0), "request": 0}


def test_whoever_is_alone_does_not_starve(served: Result) -> None:
    assert starvation(served) == {"longest_wait_s": 0.0, "over_objective": 0.0, "request": 0}


def test_equal_delays_are_fair_and_one_class_with_all_of_it_is_not(served: Result) -> None:
    objective_s, text = np.full(4, 2.0), served.category == 0
    even = replace(served, ttft_objective_s=objective_s, ttft_s=np.array([1.0, 3.0, 2.0, 2.0]), met=np.ones(4, bool))
    assert fairness(even) == {"attainment_ratio": 1.0, "jain": pytest.approx(1.0)}
    uneven = replace(even, ttft_s=np.where(text, 0.0, 5.0))
    assert fairness(uneven)["jain"] == pytest.approx(1 / 2)
    four_to_one = replace(even, ttft_s=np.where(text, 1.0, 4.0))
    assert fairness(four_to_one)["jain"] == pytest.approx(25 / (2 * 17))


def test_the_ratio_of_attainments_is_the_worst_class_over_the_best(served: Result) -> None:
    assert fairness(replace(served, met=np.array([True, True, True, False])))["attainment_ratio"] == 0.5
    assert fairness(replace(served, met=np.zeros(4, bool)))["attainment_ratio"] is None


def test_a_single_class_is_neither_fair_nor_unfair() -> None:
    run = Simulation(trace_of([(0.0, 0, 50, 2)]), configuration(monolith()), OBJECTIVES)
    run.run_until()
    assert summary(result_of(run))["fairness"] == {"attainment_ratio": None, "jain": None}
