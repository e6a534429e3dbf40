"""The sum of rewards is the score, recomputed from the result, from the event log, and from a run of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slackwise.env.score import score_of
from slackwise.simulator import Simulation
from slackwise.simulator.events import event_log
from slackwise.simulator.fleet import gpus_held
from slackwise.simulator.state import CLASSES, READY, STARTING
from tests.env.cases import HOLD, IDS, KNOBS, PROVISION, drawn, hold, made, played


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("seed", range(2))
def test_rewards_sum_to_the_score_of_the_result(name: str, seed: int) -> None:
    env = made(name)
    total = played(env, drawn(env, seed), seed)
    assert total == pytest.approx(score_of(env.simulation, 0.25, 600.0), rel=1e-12)
    assert total == pytest.approx(float(env.lanes.scores[0]), rel=1e-12)


@pytest.mark.parametrize("name", IDS)
def test_rewards_sum_to_the_score_under_faults(name: str) -> None:
    env = made(name, faults="mtbf_s=200,repair_s=60,straggler_every_s=200")
    total = played(env, drawn(env), 1)
    assert env.simulation.state.clock[0].orders > 5
    assert total == pytest.approx(score_of(env.simulation, 0.25, 600.0), rel=1e-12)


def test_rewards_sum_to_the_score_where_requests_are_rejected() -> None:
    env = made(model="Llama-3.2-90B-Vision", gpus=32, configuration="vllm")
    env.reset(seed=0)
    over, total = False, 0.0
    while not over:
        _, reward, _, over, _ = env.step([2])
        total += reward
    assert total == pytest.approx(score_of(env.simulation, 0.25, 600.0), rel=1e-12)


def test_rewards_sum_to_the_score_of_the_event_log() -> None:
    env = made()
    env.reset(seed=0)
    env.simulation.keep_log(1_000_000)
    total, over, policy = 0.0, False, drawn(env, 5)
    while not over:
        _, reward, _, over, _ = env.step(policy(None, 0))
        total += reward
    assert total == pytest.approx(-_missed_of_log(env.simulation) - _gpu_cost_of_orders(env), rel=1e-9)


def _missed_of_log(simulation: Simulation) -> float:
    """Mean over classes of the share that missed, from the rows of first and of last tokens."""
    log, count = event_log(simulation), len(simulation.arrival_s)
    assert log.left_out == 0
    first, finish, output = (np.full(count, np.inf) for _ in range(3))
    rows = log.of("first_token")
    for row in rows[::-1]:  # a preempted request has one more: the earliest counts
        first[row.request] = row.time_s
    last = log.of("finished")
    finish[last.request], output[last.request] = last.time_s, last.tokens
    within = np.zeros(count)
    within[~simulation.rejected] = simulation.workload.requests.deadline_s - simulation.workload.requests.arrival_s
    with np.errstate(invalid="ignore"):
        tbt = (finish - first) / np.maximum(1, output - 1)
    met = (first - simulation.arrival_s <= within) & (tbt <= simulation.objectives.tbt_s(simulation.images))
    shares = [
        (~met[simulation.category == at]).mean() for at in range(len(CLASSES)) if (simulation.category == at).any()
    ]
    return float(np.mean(shares))


def _gpu_cost_of_orders(env: Any) -> float:
    """Price of the GPUs from the accounts of every instance: what was released, and what is held to the end."""
    state, simulation = env.simulation.state, env.simulation
    end_s = max(600.0, float(np.nanmax(simulation.workload.progress.finish_s)))
    gpu_s = sum(
        float(engine.held_gpu_s)
        + float(seen.tensor_parallel) * (end_s - float(engine.since_s)) * (engine.status != 0)
        + float(engine.lent_gpus) * end_s
        for engine, seen in zip(state.engines, state.instances, strict=True)
    )
    return float(0.25 * gpu_s / (16 * 600.0))


def test_a_fleet_that_is_left_alone_is_charged_for_its_time() -> None:
    env = made()
    env.reset(seed=0)
    _, _, _, _, info = env.step(HOLD)
    assert info["gpu_s"] == pytest.approx(16 * 60.0)


@pytest.mark.parametrize("seed", range(3))
def test_actions_order_what_the_simulation_would(seed: int) -> None:
    """The same changes, given to a Simulation one by one, make the same run to the byte."""
    env = made()
    env.reset(seed=seed)
    twin = env.service.begin(env.scene.window(np.random.default_rng(0), 60.0), 0)
    twin.state.draws.value[:] = env.simulation.state.draws.value
    policy, over, now = drawn(env, seed), False, 0.0
    while not over:
        action = policy(None, 0)
        change, giver, taker = (each[0] for each in env.actions.orders(action[None, :]))
        _apply(twin, change, int(giver), int(taker), env.lanes.load_s)
        _, _, _, over, _ = env.step(action)
        now += 60.0
        twin.run_until(now)
    twin.run_until()
    mine, its = env.simulation.state, twin.state
    assert np.array_equal(mine.progress.finish_s, its.progress.finish_s, equal_nan=True)
    assert np.array_equal(mine.engines.status, its.engines.status)
    assert np.array_equal(mine.engines.held_gpu_s, its.engines.held_gpu_s)


def _apply(twin: Simulation, change: Any, giver: int, taker: int, load_s: Any) -> None:
    engines, pools = twin.state.engines, range(len(change))

    def count(pool: int, *status: int) -> int:
        return int(((engines.pool == pool) & np.isin(engines.status, status)).sum())

    for pool in pools:
        if change[pool] < 0:
            twin.drain(pool, max(0, min(-int(change[pool]), count(pool, READY, STARTING) - 1)))
    if giver >= 0:
        out = 4 if twin.configuration.cluster.pools[giver].tensor_parallel == 1 else 1
        if count(giver, READY) - out >= 1:
            twin.move(giver, taker, float(load_s[taker]))
    for pool in pools:
        for _ in range(max(0, int(change[pool]))):
            recalls = ((engines.pool == pool) & (engines.status == 3) & (engines.successor < 0)).any()
            gpus = twin.configuration.cluster.pools[pool].tensor_parallel
            if recalls or gpus_held(twin.state) + gpus <= twin.state.clock[0].gpu_cap:
                twin.start(pool)


def test_the_fleet_never_holds_more_than_its_cap() -> None:
    env = made()
    env.reset(seed=0)
    over, policy = False, drawn(env, 1)
    while not over:
        _, _, _, over, info = env.step(policy(None, 0))
        assert info["gpus"] <= 16
        assert gpus_held(env.simulation.state) == info["gpus"]


def test_instances_that_are_started_load_first() -> None:
    env = made()
    env.reset(seed=0)
    env.step([0, 2, 0])
    env.step([4, 2, 0])
    assert played(env, hold) == played(env, hold)
    env.reset(seed=0)
    env.step([0, 2, 0])
    before = env.lanes.now_s[0]
    env.step([4, 2, 0])
    opened = env.simulation.state.engines.ready_s.max()
    assert opened == pytest.approx(before + env.lanes.load_s[0])


def test_the_default_action_of_knobs_leaves_the_configuration_as_it_is() -> None:
    env = made(KNOBS)
    total = played(env, lambda observation, step: env.default_action)
    plain = env.service.begin(env.scene.window(np.random.default_rng(0), 60.0), 0)
    plain.run_until()
    assert np.array_equal(env.simulation.state.progress.finish_s, plain.state.progress.finish_s)
    assert total == pytest.approx(score_of(plain, 0.25, 600.0), rel=1e-12)


def test_a_score_is_the_mean_over_classes() -> None:
    env = made(PROVISION, gpu_price=0.0)
    total = played(env, hold)
    simulation = env.simulation
    assert total == pytest.approx(-_class_mean(simulation))


def _class_mean(simulation: Simulation) -> float:
    from slackwise.simulator import result_of, summary

    classes = summary(result_of(simulation))["classes"]
    return float(np.mean([1.0 - classes[name]["attainment"] for name in CLASSES if name in classes]))
