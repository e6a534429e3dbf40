"""CPU preprocessing: images pass a tier of workers before their request reaches the router."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.latency.model import load_model
from slackwise.latency.preprocess import preprocess_images_seconds, preprocess_seconds
from slackwise.simulator import Simulation, result_of, summary
from slackwise.simulator.preprocess import alone_seconds, ready_times
from tests.simulator.cases import DECODER_ONLY, OBJECTIVES, configuration, monolith, trace_of

ONE_S = preprocess_seconds(load_model(DECODER_ONLY), 896, 896)
Rows = list[tuple[float, int, int, int]]


def served(rows: Rows, workers: int) -> Simulation:
    """The rows served by one monolith behind `workers` workers."""
    cluster = replace(monolith(DECODER_ONLY), preprocess_workers=workers)
    run = Simulation(trace_of(rows), configuration(cluster), OBJECTIVES)
    run.run_until(check=True)
    return run


def test_images_are_taken_one_by_one_by_the_worker_that_is_free_first() -> None:
    rows = [(0.0, 3, 500, 1), (0.0, 1, 500, 1), (0.0, 0, 500, 1), (9.0, 1, 500, 1)]
    for workers, rounds in ((1, [3, 4, 0, 1]), (2, [2, 2, 0, 1]), (3, [1, 2, 0, 1]), (8, [1, 1, 0, 1])):
        seconds = served(rows, workers).ready_s - np.array([0.0, 0.0, 0.0, 9.0])
        np.testing.assert_allclose(seconds, np.array(rounds) * ONE_S, rtol=1e-9)


def test_a_request_reaches_the_router_when_its_images_are_done_and_its_deadline_stays() -> None:
    rows = [(0.0, 2, 500, 3), (0.001, 0, 100, 3)]
    plain, delayed = served(rows, 0), served(rows, 1)
    shift_s = 2 * ONE_S
    assert delayed.state.progress.encoded_s[0] == pytest.approx(plain.state.progress.encoded_s[0] + shift_s, rel=1e-9)
    assert delayed.state.progress.first_token_s[1] < shift_s  # the text request overtakes it
    np.testing.assert_array_equal(plain.state.requests.deadline_s, delayed.state.requests.deadline_s)
    np.testing.assert_array_equal(plain.state.requests.arrival_s, delayed.state.requests.arrival_s)


def test_preprocessing_and_its_queue_are_reported() -> None:
    rows = [(0.0, 2, 500, 1), (0.0, 1, 500, 1), (0.0, 0, 100, 1), (0.0, 1, 10**8, 1)]  # the last fits no KV cache
    result = result_of(served(rows, 2))
    np.testing.assert_allclose(result.preprocess_s, [ONE_S, 2 * ONE_S, 0.0, 0.0], rtol=1e-9)
    np.testing.assert_allclose(result.preprocess_wait_s, [0.0, ONE_S, 0.0, 0.0], rtol=1e-9, atol=1e-12)
    told = summary(result)["preprocess"]
    assert told["seconds"]["mean"] == pytest.approx(1.5 * ONE_S)
    assert told["queued_s"]["p99"] == pytest.approx(ONE_S)
    assert summary(result_of(served(rows, 0)))["preprocess"] is None


@given(
    gaps_s=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    workers=st.integers(1, 5),
    counts=st.data(),
)
def test_more_workers_are_never_later_and_nobody_is_earlier_than_alone(
    gaps_s: list[float], workers: int, counts: st.DataObject
) -> None:
    arrival_s = np.cumsum(gaps_s)
    images = np.array(counts.draw(st.lists(st.integers(0, 6), min_size=len(gaps_s), max_size=len(gaps_s))), np.int64)
    image_s = np.full(len(gaps_s), 0.3)
    few, more = (ready_times(arrival_s, images, image_s, count) for count in (workers, workers + 1))
    assert (more <= few + 1e-9).all()
    assert (few - arrival_s >= alone_seconds(images, image_s, workers) - 1e-9).all()
    alone = preprocess_images_seconds(load_model(DECODER_ONLY), 896, 896, 3, workers)
    assert alone_seconds(np.array([3]), np.array([ONE_S]), workers)[0] == pytest.approx(alone)


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(InputError, match="preprocess_workers of a cluster must be finite and not negative: -1"):
        replace(monolith(), preprocess_workers=-1)
