"""The interval of a paired difference covers the truth as often as it says, where a naive one does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from slackwise.tuning.interval import NO_DIFFERENCE, Difference, difference, levels, student_t
from slackwise.tuning.paired import Comparison, judge
from tests.tuning.synthetic import outcome, queue, result

REPLICATIONS = 100
RATE_RPS, LOAD, FASTER = 1.0, 0.5, 0.9
MEANS_S = [share * LOAD / (RATE_RPS * (1 - share * LOAD)) for share in (1.0, FASTER)]
"""Mean sojourn of an M/M/1 queue, rho / (lambda (1 - rho)): of the baseline and of a server that needs 10 % less."""


def two_queues(seed: int, count: int = 10_000) -> tuple[NDArray[np.float64], ...]:
    random = np.random.default_rng(seed)
    gaps, service = random.exponential(1 / RATE_RPS, count), random.exponential(LOAD / RATE_RPS, count)
    return np.cumsum(gaps), queue(gaps, service), queue(gaps, FASTER * service)


def compared(seed: int) -> Comparison:
    arrival, slow, fast = two_queues(seed)
    return judge(
        [outcome("slow", result(arrival, slow)), outcome("fast", result(arrival, fast))], "slow", seed, resamples=200
    )


def covers(found: Difference, truth: float) -> bool:
    return found.low <= truth <= found.high


def test_the_interval_covers_the_true_difference_of_queues_where_one_over_requests_does_not() -> None:
    truth = MEANS_S[1] - MEANS_S[0]
    p90 = math.log(10) * truth  # sojourn times of M/M/1 are exponential
    covered = {"mean": 0, "p90": 0, "naive": 0}
    for seed in range(REPLICATIONS):
        comparison = compared(seed)
        covered["mean"] += covers(comparison.difference("fast", "ttft_mean_s"), truth)
        covered["p90"] += covers(comparison.difference("fast", "ttft_p90_s"), p90)
        _, slow, fast = two_queues(seed)
        error = 1.96 * (fast - slow).std() / math.sqrt(len(slow))
        covered["naive"] += abs((fast - slow).mean() - truth) <= error
    assert 0.88 * REPLICATIONS <= covered["mean"] <= 0.99 * REPLICATIONS
    assert 0.88 * REPLICATIONS <= covered["p90"] <= 0.99 * REPLICATIONS
    assert covered["naive"] < 0.7 * REPLICATIONS


def test_the_interval_covers_the_mean_of_an_autoregressive_difference() -> None:
    """AR(1) with coefficient 0.98 at 2 requests/s: a memory of about 25 s."""
    covered = 0
    for seed in range(REPLICATIONS):
        random = np.random.default_rng(1000 + seed)
        noise = random.normal(size=14_400)
        drift = np.empty_like(noise)
        drift[0] = noise[0] / math.sqrt(1 - 0.98**2)
        for at in range(1, len(noise)):
            drift[at] = 0.98 * drift[at - 1] + noise[at]
        arrival = 0.5 * np.arange(len(noise), dtype=np.float64)
        ours = [outcome("a", result(arrival, np.full(len(noise), 50.0))), outcome("b", result(arrival, 51.0 + drift))]
        covered += covers(judge(ours, "a", seed, resamples=200).difference("b", "ttft_mean_s"), 1.0)
    assert 0.88 * REPLICATIONS <= covered <= 0.99 * REPLICATIONS


def test_no_difference_is_said_when_there_is_none_and_better_when_there_is() -> None:
    arrival, slow, fast = two_queues(7)
    noisy = np.random.default_rng(1).permutation(slow)
    three = [outcome("slow", result(arrival, slow)), outcome("same", result(arrival, noisy))]
    three.append(outcome("fast", result(arrival, fast)))
    comparison = judge(three, "slow")
    assert comparison.difference("same", "ttft_mean_s").verdict == NO_DIFFERENCE
    assert comparison.difference("same", "ttft_p90_s").difference == 0.0
    assert comparison.difference("fast", "ttft_mean_s").verdict == "better"
    assert comparison.difference("fast", "attainment").verdict == "better"
    backwards = judge(three, "fast")
    assert backwards.difference("slow", "ttft_mean_s").verdict == "worse"


@pytest.mark.parametrize(("freedom", "exact"), [(2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)])
def test_students_t_is_that_of_the_tables(freedom: int, exact: float) -> None:
    assert student_t(freedom) == pytest.approx(exact, rel=0.035)


def test_fewer_blocks_widen_the_percentiles() -> None:
    assert levels(5)[0] < levels(20)[0] < levels(10_000)[0] == pytest.approx(0.025, rel=1e-2)


def test_a_metric_that_rests_on_few_stretches_has_a_wider_interval() -> None:
    ours, base = np.linspace(0.0, 1.0, 101), np.zeros(101)
    wide, narrow = (difference("ttft_p99_s", ours, base, 30, rests, False) for rests in (3.0, 30.0))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_an_undefined_resample_leaves_no_interval() -> None:
    found = difference("ttft_mean_s", np.array([1.0, math.inf, 1.0]), np.ones(3), 30, math.inf, False)
    assert found.verdict == "no interval"
    assert found.to_json()["interval"] is None
