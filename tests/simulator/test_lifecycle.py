"""Instances start, take work, drain, are released and switch roles, at times that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.simulator import Cluster, Pool, Simulation, result_of
from slackwise.simulator.fleet import gpus_held, held_gpu_s
from slackwise.simulator.state import DRAIN, DRAINING, OFF, READY, START, STARTING
from tests.simulator.cases import DECODER_ONLY, GPU, OBJECTIVES, configuration, trace_of

SHORT = (100, 20)  # context and output tokens


def fleet(rows: list[tuple[float, int, int, int]], *pools: Pool, routing: str = "least_requests") -> Simulation:
    """The rows on these pools, not begun."""
    return Simulation(trace_of(rows), configuration(Cluster(DECODER_ONLY, GPU, pools), routing=routing), OBJECTIVES)


def steady(count: int, gap_s: float = 1.0) -> list[tuple[float, int, int, int]]:
    """Short text requests, one every `gap_s`."""
    return [(gap_s * at, 0, *SHORT) for at in range(count)]


def test_an_instance_takes_work_when_its_start_is_over_and_not_before() -> None:
    run = fleet(steady(10), Pool("EPD", 1, 4, most=2), routing="round_robin")
    run.run_until(1.5)
    assert run.start(0, seconds=3.0) == [1]
    assert run.state.engines.status.tolist() == [READY, STARTING]
    run.run_until()
    assert run.state.progress.instance.tolist()[:5] == [0] * 5
    assert run.state.engines.ready_s[1] == 4.5
    assert set(run.state.progress.instance.tolist()[5:]) == {0, 1}
    assert run.state.instances.pool_size.tolist() == [2, 2]


def test_a_start_takes_what_the_latency_model_says_unless_told_otherwise() -> None:
    run = fleet(steady(3), Pool("EPD", 1, 4, most=2))
    run.start(0)
    assert run.costs[0].load_s > 10
    assert run.state.engines.ready_s[1] == pytest.approx(run.costs[0].load_s)


def test_gpu_seconds_run_from_the_order_to_the_release() -> None:
    run = fleet(steady(101), Pool("EPD", 1, 4, most=2))
    run.run_until(10.25)
    run.start(0, seconds=5.0)
    run.run_until(60.5)
    assert run.drain(0) == [1]  # both are idle: the later one goes
    run.run_until()
    end_s = float(run.state.progress.finish_s.max())
    released_s = float(run.state.engines.released_s[1])
    assert released_s == 60.5
    assert result_of(run).gpu_s == pytest.approx(4 * end_s + 4 * (released_s - 10.25), rel=1e-12)


def test_a_fleet_that_never_changes_is_charged_from_the_first_arrival_to_the_last_finish() -> None:
    run = fleet([(7.0, 0, *SHORT), (8.0, 0, *SHORT)], Pool("EPD", 2, 4))
    run.run_until()
    result = result_of(run)
    assert result.gpu_s == pytest.approx(8 * result.span_s, rel=1e-15)
    assert result.busy["EPD"] == pytest.approx(run.state.engines.busy_s.sum() / (2 * result.span_s), rel=1e-12)


def test_a_draining_instance_finishes_its_work_and_gets_no_more() -> None:
    run = fleet(steady(40, 0.1), Pool("EPD", 2, 4), routing="round_robin")
    run.run_until(1.05)
    here = run.state.progress.instance == 1
    mine = np.flatnonzero(here & np.isnan(run.state.progress.finish_s))
    assert len(mine) > 0
    run.order(DRAIN, 1)
    assert run.state.engines.status[1] == DRAINING
    run.run_until(check=True)
    assert np.flatnonzero(run.state.progress.instance == 1).max() == mine.max()
    assert run.state.engines.status[1] == OFF
    assert run.state.engines.released_s[1] == run.state.progress.finish_s[mine].max()


def test_whoever_has_least_work_is_drained_and_a_start_is_called_off_first() -> None:
    run = fleet([(0.0, 0, 1000, 500), *steady(3)], Pool("EPD", 2, 4, most=3))
    run.run_until(0.5)
    assert run.state.instances.running.tolist() == [1, 0, 0]
    run.start(0, seconds=10.0)
    assert run.drain(0, 2) == [2, 1]
    assert run.state.engines.status.tolist() == [READY, OFF, OFF]
    assert gpus_held(run.state) == 4
    assert held_gpu_s(run.state, 0.5).tolist() == [2.0, 2.0, 0.0]


def test_a_start_calls_back_whoever_drains_at_once() -> None:
    run = fleet([(0.0, 0, 1000, 500), (0.0, 0, 1000, 500)], Pool("EPD", 2, 4, most=3))
    run.run_until(0.5)
    gone = run.drain(0)
    assert run.start(0, 2, seconds=1.0) == [*gone, 2]
    assert run.state.engines.status.tolist() == [READY, READY, STARTING]
    assert run.start(0, 2) == []  # the ceiling is reached


def test_requests_wait_while_no_instance_is_ready_and_are_served_when_one_is() -> None:
    for topology in (("EPD",), ("E", "PD"), ("E", "P", "D")):
        pools = [Pool(kind, 1, 1 if kind == "E" else 4) for kind in topology]
        for closed in range(len(pools)):
            run = fleet([(0.2 * at, at % 2, 300, 5) for at in range(6)], *pools)
            run.order(DRAIN, closed)
            run.run_until(50.0, check=True)
            assert run.state.groups.parked.sum() > 0
            assert not run.done or np.isnan(run.state.progress.finish_s).any()
            run.order(START, closed, 2.0)
            run.run_until(check=True)
            assert not np.isnan(run.state.progress.finish_s).any()
            waited = run.state.progress.finish_s > 50.0
            assert run.state.progress.finish_s[waited].min() > 52.0


def test_a_run_that_ends_with_requests_parked_says_so() -> None:
    run = fleet(steady(5), Pool("EPD", 1, 4))
    run.run_until(1.5)
    run.drain(0)
    run.run_until(check=True)
    assert run.done
    result = result_of(run)
    assert result.parked == 3
    assert np.isinf(result.ttft_s[2:]).all()
    assert str(result.verdict).startswith("stuck: 3 of 5 requests are left")
    assert "3 wait for an instance to be ready" in str(result.verdict)
    assert result.met.tolist()[2:] == [False] * 3


def test_a_role_switch_takes_its_seconds_from_the_last_release() -> None:
    pools = Pool("E", 5, 1, "transformers", most=8), Pool("PD", 1, 4, most=2)
    run = fleet([(0.0, 1, 300, 50), (0.0, 2, 300, 50), (30.0, 0, *SHORT)], *pools)
    run.run_until(0.01)  # two encoders are busy
    leaving, coming = run.move(0, 1, seconds=2.0)
    assert (len(leaving), coming) == (4, [9])
    assert gpus_held(run.state) == 9
    run.run_until(check=True)
    released_s = run.state.engines.released_s[leaving]
    assert run.state.engines.ready_s[9] == released_s.max() + 2.0
    assert len(np.unique(released_s)) > 1
    end_s = float(run.state.progress.finish_s.max())
    assert result_of(run).gpu_s == pytest.approx(9 * end_s, rel=1e-12)  # no GPU was ever given back


def test_one_instance_of_four_gpus_becomes_four_of_one() -> None:
    run = fleet(steady(30), Pool("E", 1, 1, "transformers", most=9), Pool("PD", 2, 4))
    run.run_until(5.5)
    leaving, coming = run.move(1, 0, seconds=1.0)
    assert (len(leaving), len(coming)) == (1, 4)
    run.run_until(check=True)
    assert run.state.engines.status.tolist() == [READY] * 5 + [OFF] * 4 + [READY, OFF]


def test_a_role_switch_that_would_leave_gpus_over_does_not_happen() -> None:
    run = fleet(steady(3), Pool("E", 3, 1, "transformers", most=8), Pool("PD", 1, 4, most=2))
    assert run.move(0, 1, seconds=2.0) == ([], [])
    assert gpus_held(run.state) == 7


def test_an_order_for_a_time_that_is_over_is_refused() -> None:
    run = fleet(steady(5), Pool("EPD", 1, 4, most=2))
    run.run_until(2.0)
    with pytest.raises(InputError, match="an order for 1 s comes too late: the run is at 2 s"):
        run.order(START, 1, at_s=1.0)


def test_a_pool_cannot_grow_to_less_than_it_has() -> None:
    with pytest.raises(InputError, match="a pool of 4 E instances cannot grow to at most 3"):
        Pool("E", 4, most=3)


def test_policies_see_ready_instances_only_and_numbered_through() -> None:
    knobs = PolicyChoice("round_robin")
    cluster = Cluster(DECODER_ONLY, GPU, (Pool("EPD", 3, 4),))
    run = Simulation(trace_of(steady(12)), configuration(cluster, routing=knobs), OBJECTIVES)
    run.run_until(2.5)
    run.order(DRAIN, 1)
    run.run_until()
    assert run.state.instances.index.tolist() == [0, -1, 1]
    assert set(run.state.progress.instance.tolist()[3:]) == {0, 2}


def test_many_orders_make_room_for_orders_alone() -> None:
    run = fleet(steady(400, 0.1), Pool("EPD", 1, 4, most=2))
    room = run.state.queues.shape
    for turn in range(300):
        run.run_until(0.1 * turn)
        run.start(0, seconds=0.01)
        run.run_until(0.1 * turn + 0.05)
        run.drain(0)
    run.run_until()
    assert len(run.state.orders) > run.state.clock[0].orders == 900
    assert run.state.queues.shape == room
    assert not np.isnan(run.state.progress.finish_s).any()
