"""A comparison is repeated under latency errors, and its verdict says what survived."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.perturb import CONSTANTS
from slackwise.simulator import Configuration, Objectives, isolated, preset
from slackwise.traces import Trace, scale_rate, synthesize
from slackwise.tuning.paired import Comparison, compare, judge
from slackwise.tuning.robustness import Case, Robustness, moved, robustness
from tests.tuning.synthetic import outcome, result

MODEL = "Llama-3.2-11B-Vision"


def objectives(configuration: Configuration) -> Objectives:
    return isolated(configuration.cluster, scale="work")


@pytest.fixture(scope="module")
def window() -> Trace:
    return scale_rate(synthesize(3, start_h=24, duration_h=0.15), 3.0)


@pytest.fixture(scope="module")
def found(window: Trace) -> Robustness:
    start = preset("vllm", MODEL)
    bad = Configuration("bad", start.cluster, start.policies.changed(["routing=busiest_instance"]))
    nominal = compare([window], [start, bad], objectives, "vllm", resamples=100)
    return robustness(nominal, [window], objectives, 0.15)


def shifted(by_s: float) -> Comparison:
    """A comparison in which "b" is later than "a" by `by_s` seconds, and a little noise."""
    random = np.random.default_rng(4)
    arrival = np.arange(3000, dtype=np.float64)
    first = random.exponential(1.0, 3000)
    other = first + by_s + 0.01 * random.normal(size=3000)
    return judge([outcome("a", result(arrival, first)), outcome("b", result(arrival, other))], "a", 0, "ttft_mean_s")


def test_every_constant_is_moved_down_and_up(found: Robustness) -> None:
    assert [(case.constant, case.factor) for case in found.cases] == [
        (constant, factor) for constant in CONSTANTS for factor in (0.85, 1.15)
    ]


def test_a_moved_constant_changes_the_run_and_the_objectives(found: Robustness) -> None:
    slower = next(case for case in found.cases if case.name == "linear_s x 1.15").comparison
    assert slower.values["vllm"]["all"]["ttft_p50_s"] > found.nominal.values["vllm"]["all"]["ttft_p50_s"]
    assert slower.outcomes[0].objectives.text_ttft_s > found.nominal.outcomes[0].objectives.text_ttft_s


def test_a_clear_difference_holds_under_every_error(found: Robustness) -> None:
    assert found.verdict.startswith("The ranking holds under an error of 15%")
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["holds"] is True
    assert len(document["cases"]) == 2 * len(CONSTANTS)


def test_a_reversed_difference_is_named_with_its_constant() -> None:
    cases = (Case("step_s", 0.9, shifted(0.1)), Case("step_s", 1.1, shifted(-0.1)))
    reversed_by = Robustness(0.1, shifted(0.1), cases)
    assert [case.name for case in reversed_by.reversals("b")] == ["step_s x 1.1"]
    assert "does not hold" in reversed_by.verdict
    assert "b by step_s x 1.1" in reversed_by.verdict
    assert reversed_by.to_json()["holds"] is False


def test_a_difference_that_fades_or_only_reorders_is_told_apart_from_a_reversal() -> None:
    faded = Robustness(0.1, shifted(0.1), (Case("step_s", 0.9, shifted(0.1)), Case("step_s", 1.1, shifted(0.0))))
    assert "the difference of b is not shown in 1 of 2" in faded.verdict
    assert "does not hold" not in faded.verdict
    flat = Robustness(0.1, shifted(0.0), (Case("step_s", 0.9, shifted(0.1)), Case("step_s", 1.1, shifted(-0.1))))
    assert flat.reversals("b") == []
    assert "the order changes in 1 of 2" in flat.verdict


def test_moves_add_up_and_leave_the_configuration_alone() -> None:
    start = preset("modserve", MODEL)
    twice = moved(moved(start, "step_s", 2.0), "step_s", 2.0)
    assert start.cluster.moved == ()
    pool = start.cluster.pools[-1]
    assert twice.cluster.costs(pool).record["step_s"] == 4 * start.cluster.costs(pool).record["step_s"]


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1, float("nan")])
def test_an_error_that_is_no_share_is_refused(error: float, window: Trace, found: Robustness) -> None:
    with pytest.raises(InputError, match="above 0 and below 1"):
        robustness(found.nominal, [window], objectives, error)
