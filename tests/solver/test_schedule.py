"""Bounds of schedules: below every policy on random instances; exact and replayable where requests run one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.cli.main import run
from slackwise.errors import EmptyError, InputError, LimitError
from slackwise.policies.registry import policies
from slackwise.simulator import Cluster, Simulation, isolated, preset
from slackwise.solver.result import LIMIT, OPTIMAL, Limits
from slackwise.solver.schedule.bounds import time_indexed, trivial
from slackwise.solver.schedule.full import least_cost_serial
from slackwise.solver.schedule.intervals import interval_bound
from slackwise.solver.schedule.ladder import Window, candidates, climb, run_cost, serial_relaxation
from slackwise.solver.schedule.late import fewest_late, fewest_late_serial
from slackwise.solver.schedule.offline import selected
from slackwise.solver.schedule.problem import LATE, OBJECTIVES, TARDINESS, TTFT, Relaxation, relaxation
from slackwise.solver.schedule.serial import SerialProblem, release_trace, replay, serial_cost
from slackwise.streams import stream
from slackwise.traces import Trace, fold, synthesize
from tests.simulator.cases import (
    DECODER_ONLY,
    ENGINES,
    GPU,
    TOPOLOGIES,
    Shape,
    configuration,
    random_pools,
    random_simulation,
    random_surroundings,
    random_trace,
)
from tests.simulator.cases import OBJECTIVES as OBJECTIVES_OF_CASES

MODEL = "Llama-3.2-11B-Vision"
EXACT = Limits(gap=0.0, work=5.0)
RELATIVE = 1e-7


@settings(max_examples=40, deadline=None)
@given(
    topology=st.sampled_from(TOPOLOGIES),
    engine=st.sampled_from(ENGINES[:2]),
    chatty=st.booleans(),
    bursts=st.booleans(),
    scarce=st.booleans(),
    admission=st.sampled_from([each.name for each in policies("admission")]),
    seed=st.integers(0, 10_000),
)
def test_no_policy_beats_a_lower_bound_whatever_the_costs_and_limits(
    topology: str, engine: str, chatty: bool, bursts: bool, scarce: bool, admission: str, seed: int
) -> None:
    shape = Shape(topology, DECODER_ONLY, engine, requests=16, chatty=chatty, bursts=bursts, scarce=scarce)
    made = random_simulation(replace(shape, odd_costs=True, admission=admission), seed)
    bounds = bounds_of(relaxation(made))
    made.run_until()
    assert_below(bounds, relaxation(made), made)


@settings(max_examples=8, deadline=None)
@given(topology=st.sampled_from(TOPOLOGIES), bursts=st.booleans(), seed=st.integers(0, 10_000))
def test_no_registered_policy_beats_a_lower_bound(topology: str, bursts: bool, seed: int) -> None:
    shape, generator = Shape(topology, requests=12, bursts=bursts), stream(seed, "schedule")
    cluster = Cluster(DECODER_ONLY, GPU, random_pools(shape, generator), **random_surroundings(generator))
    window = Window(random_trace(shape, generator), configuration(cluster), OBJECTIVES_OF_CASES, seed)
    relaxed = relaxation(window.run())
    bounds = bounds_of(relaxed)
    for _, chosen in candidates(window.configuration):
        run_ = window.run(chosen)
        run_.run_until()
        assert_below(bounds, relaxed, run_)


def bounds_of(relaxed: Relaxation) -> dict[str, list[float]]:
    """Objective -> every bound of it."""
    found = {each: [trivial(relaxed, each), time_indexed(relaxed, each, bins=16)] for each in OBJECTIVES}
    found[LATE].append(fewest_late(relaxed, Limits(gap=0.0, work=0.2)).bound)
    return found


def assert_below(bounds: dict[str, list[float]], relaxed: Relaxation, run_: Simulation) -> None:
    for objective, each in bounds.items():
        cost = run_cost(relaxed, run_, objective)
        assert max(each) <= cost * (1 + RELATIVE) + RELATIVE


def serial_window(requests: int, machines: int = 2, start_h: float = 30.0, folds: int = 1) -> Window:
    trace = fold(synthesize(1, start_h=start_h, duration_h=2), folds).take(slice(0, requests))
    chosen = preset("vllm", MODEL, gpus=4 * machines)
    return Window(trace, chosen, isolated(chosen.cluster, scale="work"), 0, sequences=1)


@pytest.mark.parametrize("start_h", [5.0, 30.0, 60.0])
@pytest.mark.parametrize("objective", [LATE, TARDINESS, TTFT])
def test_a_timetable_replayed_in_the_simulator_gives_its_objective(start_h: float, objective: str) -> None:
    window = serial_window(6, start_h=start_h, folds=3)
    problem = window.serial()
    found = fewest_late_serial(problem, EXACT) if objective == LATE else least_cost_serial(problem, objective, EXACT)
    assert found.status == OPTIMAL
    held, order = release_trace(window.trace, found.solution)
    first = replay(replace(window, trace=held).run(), found.solution, order)
    assert serial_cost(problem, first, objective).sum() == pytest.approx(found.objective, abs=1e-6)
    assert found.bound == pytest.approx(found.objective, abs=0.0 if objective == LATE else 6 * 4e-3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5), machines=st.integers(1, 2))
def test_the_exact_rungs_give_what_trying_all_orders_gives(seed: int, count: int, machines: int) -> None:
    generator = np.random.default_rng(seed)
    arrival, busy = np.round(generator.uniform(0, 4, count), 2), np.round(generator.uniform(0.5, 3, count), 2)
    first = np.round(busy * generator.uniform(0.2, 1.0, count), 2)
    due = np.round(arrival + first + generator.uniform(0, 2, count), 2)
    problem = SerialProblem(machines, arrival, due, first, busy, np.zeros(count, bool))
    for objective in (LATE, TARDINESS, TTFT):
        best = min(
            _cost(problem, order, places, objective)
            for order in permutations(range(count))
            for places in product(range(machines), repeat=count)
        )
        solve = fewest_late_serial if objective == LATE else lambda p, limits: least_cost_serial(p, objective, limits)  # noqa: B023
        found = solve(problem, EXACT)
        assert found.objective == pytest.approx(best, abs=1e-6)
        assert found.bound <= best + 1e-9
        if objective == LATE:
            assert max(interval_bound(problem, parts) for parts in (1, 2, 4)) <= best


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 6),
    machines=st.integers(1, 2),
    patience=st.sampled_from([0.0, 2.0]),
)
def test_a_timetable_by_hand_is_never_better_than_the_best_and_without_slack_as_good(
    seed: int, count: int, machines: int, patience: float
) -> None:
    generator = np.random.default_rng(seed)
    arrival, busy = np.round(generator.uniform(0, 4, count), 2), np.round(generator.uniform(0.5, 3, count), 2)
    first = np.round(busy * generator.uniform(0.2, 1.0, count), 2)
    due = arrival + first + np.round(generator.uniform(0, patience, count), 2)
    problem = SerialProblem(machines, arrival, due, first, busy, generator.uniform(size=count) < 0.1)
    best = fewest_late_serial(problem, EXACT).objective or 0.0
    found = selected(problem)
    assert sorted(np.unique(found.machine)) <= list(range(machines))
    assert found.cost(problem, LATE) >= best
    if patience == 0.0:
        assert found.cost(problem, LATE) == best


def test_the_best_known_of_a_long_serial_window_is_a_timetable_by_hand() -> None:
    window = serial_window(600, folds=4)
    ladder = climb(window, LATE, Limits(gap=0.0, work=0.1))
    assert ladder.search is None
    assert ladder.timetable is not None
    assert ladder.best_rung.bound <= ladder.best_known < min(ladder.costs.values())
    held, order = release_trace(window.trace, ladder.timetable)
    first = replay(replace(window, trace=held).run(), ladder.timetable, order)
    assert serial_cost(window.serial(), first, LATE).sum() == ladder.best_known


def _cost(problem: SerialProblem, order: tuple[int, ...], places: tuple[int, ...], objective: str) -> float:
    free, begin = [0.0] * problem.machines, np.zeros(problem.count)
    for at in order:
        begin[at] = max(free[places[at]], problem.arrival_s[at])
        free[places[at]] = begin[at] + problem.busy_s[at]
    return float(serial_cost(problem, begin + problem.first_s, objective).sum())


@pytest.mark.parametrize("objective", [LATE, TARDINESS, TTFT])
def test_the_ladder_rises_and_regret_lies_between_its_ends(objective: str) -> None:
    window = serial_window(6, folds=2)
    ladder = climb(window, objective, EXACT)
    names = [rung.name for rung in ladder.rungs]
    assert names[:2] == ["trivial", "time-indexed LP"]
    assert ladder.rungs[0].bound <= ladder.rungs[1].bound <= ladder.best_known + 1e-6
    assert ladder.best_rung.bound <= ladder.best_known + 1e-6
    for name, cost in ladder.costs.items():
        low, high = ladder.regret(name)
        assert 0.0 <= low <= high <= cost + 1e-9 or np.isinf(cost)
    again = climb(window, objective, EXACT)
    assert again.to_json(times=False) == ladder.to_json(times=False)


def test_the_lp_of_a_serial_fleet_sees_the_whole_service() -> None:
    window = serial_window(60, machines=1, folds=4)
    run_ = window.run()
    problem = window.serial()
    relaxed = relaxation(run_)
    assert time_indexed(serial_relaxation(relaxed, problem), TTFT) > 2 * time_indexed(relaxed, TTFT)


def test_eighty_requests_on_four_servers_are_solved_and_the_interval_lp_comes_close() -> None:
    problem = serial_window(80, machines=4, folds=2).serial()
    found = fewest_late_serial(problem, Limits(gap=0.0, work=5.0))
    assert found.status == OPTIMAL
    assert found.objective is not None
    assert 0.8 * found.objective <= interval_bound(problem) <= found.objective


def test_a_limit_before_any_timetable_leaves_the_bound_of_the_interval_lp() -> None:
    problem = serial_window(80, machines=4, folds=2).serial()
    found = fewest_late_serial(problem, Limits(gap=0.0, work=0.0))
    assert found.status == LIMIT
    assert found.bound == interval_bound(problem) > 0
    with pytest.raises(LimitError, match="the objective is"):
        found.required()


def test_fingerprints_tell_windows_objectives_and_large_fleets_apart() -> None:
    window, limits = serial_window(4), Limits(work=0.1)
    other = replace(window, trace=serial_window(4, start_h=60.0).trace)
    fluid = [fewest_late(relaxation(each.run()), limits).fingerprint for each in (window, other)]
    exact = [least_cost_serial(window.serial(), each, limits).fingerprint for each in (TARDINESS, TTFT)]
    large = [fewest_late_serial(replace(window.serial(), machines=each), limits).fingerprint for each in (256, 512)]
    assert len({*fluid, *exact, *large}) == 6


def test_only_a_serial_fleet_has_a_timetable_and_an_empty_window_none() -> None:
    window = serial_window(5)
    several = replace(window, sequences=None)
    with pytest.raises(InputError, match="one request at a time"):
        several.serial()
    with pytest.raises(EmptyError):
        replace(window, trace=_without_requests(window.trace))


def _without_requests(trace: Trace) -> Trace:
    return trace.take(slice(0, 0))


def test_the_command_shows_bounds_and_regrets(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["solve", "schedule", "synthetic", "--hours", "0.02", "--from", "30h", "--gpus", "8", "--sequences", "1"]
    assert run([*words, "--work", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert "CP-SAT late requests" in shown
    assert "built in" in shown
    assert "Regret to the best possible" in shown
    assert run([*words, "--objective", "ttft", "--work", "0.2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bound_from"] in [rung["name"] for rung in document["rungs"]]
    assert document["search"]["solver"] == "cp-sat"
    assert document["search"]["trajectory"]
    assert len(document["timetable"]["begin_s"]) == document["trace"]["requests"]
    assert run(["solve", "schedule", "synthetic", "--objective", "fame"]) == 2
