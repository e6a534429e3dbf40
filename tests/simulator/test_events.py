"""The event log tells the run: what adds up from its rows is the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator import EventLog, Result, Simulation, event_log, result_of
from slackwise.simulator.faults import Fault
from slackwise.simulator.log import KINDS
from tests.simulator.cases import (
    DECODER_ONLY,
    OBJECTIVES,
    TOPOLOGIES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    shrink_memory,
    trace_of,
)
from tests.simulator.test_equality import shapes

PLENTY = 100_000


def logged(shape: Shape, seed: int, limit: int = PLENTY) -> Simulation:
    """A random case that keeps a log, not yet run."""
    run = random_simulation(shape, seed)
    run.keep_log(limit)
    return run


def times(log: EventLog, kind: str, count: int) -> NDArray[np.float64]:
    """When each request had its first event of a kind; infinite if never, shape (count,)."""
    found, rows = np.full(count, np.inf), log.of(kind)
    np.minimum.at(found, rows.request, rows.time_s)
    return found


def per_request(rows: Any, values: Any, count: int) -> NDArray[np.int64]:
    """Sums of `values` over the rows of each request, shape (count,)."""
    return np.bincount(rows.request, weights=values, minlength=count).astype(np.int64)


def check_sums(log: EventLog, run: Simulation, result: Result) -> None:
    """Everything of the result that the log can tell."""
    count = len(result.arrival_s)
    arrived_s, first_s, finished_s = (times(log, kind, count) for kind in ("arrived", "first_token", "finished"))
    kept = ~result.rejected
    np.testing.assert_array_equal(arrived_s[kept], run.ready_s)
    np.testing.assert_array_equal((first_s - result.arrival_s)[kept], result.ttft_s[kept])
    np.testing.assert_array_equal((finished_s - result.arrival_s)[kept], result.end_to_end_s[kept])
    ends, served = log.of("finished"), result.served
    tokens = per_request(ends, ends.tokens, count)
    np.testing.assert_array_equal(tokens[served], result.output_tokens[served])
    tbt_s = (finished_s[served] - first_s[served]) / np.maximum(1, tokens[served] - 1)
    np.testing.assert_array_equal(tbt_s, result.tbt_s[served])
    given_up = log.of("failed")
    np.testing.assert_array_equal(per_request(given_up, given_up.tokens, count)[kept], result.failure[kept])
    assert len(log.of("preempted")) == result.preemptions
    check_steps(log, run, result)


def check_steps(log: EventLog, run: Simulation, result: Result) -> None:
    """Steps: how many, how long, and what was in them."""
    steps, chunks = log.of("step"), log.of("chunk")
    assert steps.steps.sum() == result.steps
    busy_s = np.bincount(steps.instance, steps.time_s - steps.since_s, len(log.pool))
    np.testing.assert_allclose(busy_s, run.state.engines.busy_s, rtol=1e-12, atol=1e-12)
    resumed, ends = len(log.of("resumed")), log.of("finished")
    assert (steps.steps * steps.decodes).sum() == ends.tokens.sum() - len(ends) - resumed
    for column in ("images", "tiles", "tokens"):
        in_steps, in_chunks = (np.bincount(rows.instance, rows[column], len(log.pool)) for rows in (steps, chunks))
        np.testing.assert_array_equal(in_steps, in_chunks)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("scarce", [True, False])
def test_the_log_adds_up_to_the_result(topology: str, scarce: bool) -> None:
    for seed in range(4):
        run = logged(Shape(topology, requests=40, chatty=True, scarce=scarce), seed)
        run.run_until()
        check_sums(event_log(run), run, result_of(run))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_the_log_adds_up_to_the_result_of_random_cases(shape: Shape, seed: int) -> None:
    run = logged(shape, seed)
    run.run_until()
    log = event_log(run)
    check_sums(log, run, result_of(run))
    assert (np.diff(log.rows.time_s) >= 0).all()
    assert (log.rows.since_s <= log.rows.time_s).all()


def test_every_kind_of_event_happens_and_none_is_missed() -> None:
    rows = [(0.02 * at, int(at == 1), 40, 150) for at in range(20)]
    run = Simulation(trace_of(rows), configuration(monolith(DECODER_ONLY)), OBJECTIVES, log=PLENTY)
    shrink_memory(run, spare_tokens=20)
    run.run_until()
    other = logged(Shape("E+P+D", requests=30), 3)
    other.run_until()
    late = [logged(Shape(requests=40, admission=each), 3) for each in ("drop_late", "relegate_late")]
    for each in late:
        each.run_until()
    moved = logged(Shape("monolith", requests=5), 3)
    moved.drain(0)
    moved.start(0, seconds=0.1)
    moved.run_until()
    crashed = Simulation(trace_of(rows), configuration(monolith(DECODER_ONLY)), OBJECTIVES, log=PLENTY)
    crashed.inject([Fault(0.1, 0, "crash", 1.0)])
    crashed.run_until()
    found = {kind for each in (run, other, *late, moved, crashed) for kind in event_log(each).rows.kind}
    assert found == set(range(len(KINDS)))


def test_a_request_by_way_of_an_encoder_leaves_these_rows() -> None:
    run = Simulation(trace_of([(1.0, 1, 50, 3)]), configuration(apart(DECODER_ONLY)), OBJECTIVES, log=PLENTY)
    run.run_until()
    log, hidden = event_log(run), run.state.progress[0]
    told = [(KINDS[row.kind], row.instance, row.images, row.tokens) for row in log.rows if row.request == 0]
    prompt = int(run.state.requests.prompt_tokens[0])
    assert told == [
        ("arrived", -1, 0, 0),
        ("routed", 0, 1, 0),
        ("chunk", 0, 1, 0),
        ("routed", 1, 0, 0),
        ("sent", 1, 0, 0),
        ("queued", 1, 0, 0),
        ("admitted", 1, 0, 0),
        ("chunk", 1, 0, prompt),
        ("first_token", 1, 0, 0),
        ("finished", 1, 0, 3),
    ]
    encode, prefill, decode = log.of("step")
    assert (encode.since_s, encode.time_s) == (1.0, hidden.encoded_s)
    assert (prefill.steps, prefill.decodes, prefill.tokens) == (1, 0, prompt)
    assert (decode.steps, decode.decodes, decode.tokens) == (2, 1, 0)


def test_a_log_changes_nothing_of_the_run() -> None:
    shape = Shape(requests=60, scarce=True)
    plain, told = random_simulation(shape, 9), logged(shape, 9)
    for run in (plain, told):
        run.run_until()
    assert plain.state.progress.tobytes() == told.state.progress.tobytes()
    assert plain.state.instances.tobytes() == told.state.instances.tobytes()


def test_a_full_log_keeps_the_first_events_and_counts_the_rest() -> None:
    whole, cut = logged(Shape(requests=20), 2), logged(Shape(requests=20), 2, limit=50)
    for run in (whole, cut):
        run.run_until()
    every, first = event_log(whole), event_log(cut)
    assert first.rows.tobytes() == every.rows[:50].tobytes()
    assert first.left_out == len(every.rows) - 50
    assert every.left_out == 0
    assert every.warning == ""
    assert f"first 50 events; {first.left_out:,} were left out" in first.warning


def test_requests_in_the_log_are_places_in_the_trace_also_after_a_rejected_one() -> None:
    rows = [(0.0, 0, 30_000_000, 3), (0.1, 0, 100, 3), (0.2, 0, 100, 3)]
    run = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES, log=PLENTY)
    run.run_until()
    assert event_log(run).of("finished").request.tolist() == [1, 2]
    check_sums(event_log(run), run, result_of(run))


def test_a_snapshot_takes_the_log_back_too() -> None:
    run = logged(Shape(requests=30), 4)
    run.run_until(float(run.arrival_s[10]))
    saved, early = run.snapshot(), event_log(run).rows.tobytes()
    run.run_until()
    late = event_log(run).rows.tobytes()
    run.restore(saved)
    assert event_log(run).rows.tobytes() == early
    run.run_until()
    assert event_log(run).rows.tobytes() == late


def test_a_run_without_a_log_has_none_and_a_negative_limit_is_refused() -> None:
    run = random_simulation(Shape(requests=3), 0)
    with pytest.raises(InputError, match="keeps no event log: make it with log=LIMIT"):
        event_log(run)
    with pytest.raises(InputError, match="cannot be limited to -1 events"):
        Simulation(trace_of([(0.0, 0, 10, 1)]), configuration(monolith()), OBJECTIVES, log=-1)
