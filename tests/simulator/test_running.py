"""A run: in slices, with growing queues, under seeds; the next event of many instances."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.policies.features import REQUEST
from slackwise.simulator import Simulation, result_of, simulate, simulation
from slackwise.simulator.state import JOB, PROGRESS, ROOMS, allocate, records
from slackwise.simulator.timeline import replay
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

BUSY = Shape(requests=200, model=DECODER_ONLY, encoder="vllm")


def bytes_of(run: Simulation) -> bytes:
    """All that a run leaves of its requests and instances."""
    tables: list[Any] = [run.state.progress, run.state.requests, run.state.instances, run.state.tbt]
    return b"".join(table.tobytes() for table in tables)


def finished(shape: Shape = BUSY, seed: int = 5) -> Simulation:
    """A random case, run to its end."""
    run = random_simulation(shape, seed)
    run.run_until()
    return run


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert bytes_of(finished()) == bytes_of(finished())


def test_another_seed_routes_otherwise_at_random_and_alike_by_rule() -> None:
    trace = trace_of([(0.01 * at, at % 3, 500, 10) for at in range(60)])
    for routing, alike in (("random", False), ("power_of_two", False), ("least_requests", True)):
        chosen = configuration(monolith(instances=4), routing=routing)
        one, other = (simulate(trace, chosen, OBJECTIVES, seed).ttft_s for seed in (1, 2))
        assert np.array_equal(one, other) == alike


def test_a_run_in_slices_is_the_run_in_one() -> None:
    whole, sliced = finished(), random_simulation(BUSY, 5)
    for until_s in np.linspace(0.0, np.nanmax(whole.state.progress.finish_s), 50):
        sliced.run_until(float(until_s))
        assert sliced.state.clock[0].now_s <= until_s
    sliced.run_until()
    assert bytes_of(sliced) == bytes_of(whole)


def test_a_run_is_done_only_when_nothing_is_left_to_do() -> None:
    run = random_simulation(BUSY, 5)
    run.run_until(float(run.arrival_s[-1]) / 2)
    paused = run.done
    assert 0 < run.state.clock[0].finished < len(run.arrival_s)
    run.run_until()
    assert (paused, run.done) == (False, True)
    assert run.state.clock[0].finished == len(run.arrival_s)
    after = bytes_of(run)
    run.run_until()
    assert bytes_of(run) == after


def test_in_the_result_of_a_run_that_is_not_done_whoever_has_not_finished_has_met_nothing() -> None:
    run = random_simulation(BUSY, 5)
    run.run_until(float(run.arrival_s[-1]) / 2)
    early, unfinished = result_of(run), np.isnan(run.state.progress.finish_s)
    run.run_until()
    assert unfinished.any()
    assert not early.met[unfinished].any()
    np.testing.assert_array_equal(early.met[~unfinished], result_of(run).met[~unfinished])


def test_events_at_the_time_itself_belong_to_the_slice() -> None:
    run = Simulation(trace_of([(1.0, 0, 100, 2), (3.0, 0, 100, 2)]), configuration(monolith()), OBJECTIVES)
    run.run_until(0.999)
    assert run.state.clock[0].next_arrival == 0
    run.run_until(1.0)
    assert run.state.clock[0].next_arrival == 1


def test_growing_in_the_middle_of_a_run_changes_nothing() -> None:
    whole, grown = finished(), random_simulation(BUSY, 5)
    for until_s in np.linspace(0.0, np.nanmax(whole.state.progress.finish_s), 5):
        grown.run_until(float(until_s))
        for room in ROOMS:
            grown.state.grow(room)
    grown.run_until()
    assert bytes_of(grown) == bytes_of(whole)


def test_a_run_grows_its_room_when_it_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(0.01 * at, 4, 500, 5) for at in range(300)]
    chosen = configuration(apart(DECODER_ONLY), chunking="per_image")
    roomy = Simulation(trace_of(rows), chosen, OBJECTIVES)
    roomy.run_until()

    def small(*arguments: Any, jobs: int) -> Any:
        return partial(allocate, queue=300, jobs=8)(*arguments)

    monkeypatch.setattr(simulation, "allocate", small)
    tight = Simulation(trace_of(rows), chosen, OBJECTIVES)
    tight.run_until()
    assert tight.state.queues.shape[1] > 300
    assert len(tight.state.jobs) > 8
    assert bytes_of(tight) == bytes_of(roomy)


def test_growth_keeps_what_the_tables_hold_and_frees_new_jobs() -> None:
    state = allocate(records(3, REQUEST), records(3, PROGRESS), 1, 2, 4, queue=8, jobs=4)
    state.point()
    state.queues.ident[1, :8] = np.arange(8)
    state.clock[0].free_jobs = 2  # jobs 3 and 2 are free, as the stack starts
    free = set(state.jobs.free[:2].tolist())
    state.grow("queues")
    state.grow("jobs")
    assert state.queues.shape == (2, 16)
    assert state.queues.ident[1, :8].tolist() == list(range(8))
    assert state.clock[0].queue_room == 16
    assert state.clock[0].queues_at == state.queues.ctypes.data
    assert set(state.jobs.free[: state.clock[0].free_jobs].tolist()) == free | {4, 5, 6, 7}
    assert state.jobs.dtype == JOB


def test_a_table_that_is_not_contiguous_is_refused() -> None:
    state = allocate(records(3, REQUEST), records(3, PROGRESS), 1, 2, 4)
    state.requests = records(6, REQUEST)[::2]
    with pytest.raises(AssertionError, match="requests is not contiguous"):
        state.point()


@settings(deadline=None, derandomize=True)
@given(instances=st.integers(1, 9), data=st.data())
def test_the_tournament_leads_to_the_earliest_step_end(instances: int, data: st.DataObject) -> None:
    state = allocate(records(1, REQUEST), records(1, PROGRESS), 1, instances, 4)
    state.point()
    state.engines.step_end_s = np.inf
    ends = st.one_of(st.just(np.inf), st.integers(0, 4).map(float))
    for at, end_s in data.draw(st.lists(st.tuples(st.integers(0, instances - 1), ends), max_size=30)):
        state.engines.step_end_s[at] = end_s
        replay(state.clock[0], at)
        assert state.matches.winner[1] == np.argmin(state.engines.step_end_s)
