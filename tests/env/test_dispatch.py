"""Dispatch-v0 sends each request where it is told to."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Simulation, result_of
from slackwise.traces import slice_time
from tests.env.cases import DISPATCH, hour, made, played
from tests.simulator.cases import trace_of


def test_dealing_in_turn_is_round_robin() -> None:
    env = made(DISPATCH)
    played(env, lambda observation, step: step % 4)
    configuration = env.service.configuration
    dealt = type(configuration)("dealt", configuration.cluster, configuration.policies.changed(["routing=round_robin"]))
    plain = Simulation(slice_time(hour(), 600.0, 1200.0), dealt, env.simulation.objectives)
    plain.run_until()
    assert np.array_equal(env.simulation.state.progress.instance, plain.state.progress.instance)
    assert np.array_equal(result_of(env.simulation).end_to_end_s, result_of(plain).end_to_end_s)


def test_there_is_a_decision_for_every_request() -> None:
    env = made(DISPATCH)
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        _, _, _, over, _ = env.step(0)
        steps += 1
    assert steps == len(env.simulation.state.requests)
    assert (env.simulation.state.progress.instance == 0).all()


def test_requests_of_one_instant_are_decided_one_by_one() -> None:
    env = made(DISPATCH, trace=trace_of([(0.5, 0, 100, 10)] * 4), start_s=0.0, duration_s=5.0)
    played(env, lambda observation, step: 3 - step)
    assert env.simulation.state.progress.instance.tolist() == [3, 2, 1, 0]


def test_an_instance_that_takes_no_work_is_masked_and_replaced_by_the_first_that_does() -> None:
    env = made(DISPATCH)
    env.reset(seed=0)
    env.simulation.drain(0, 1)
    closed = int(np.flatnonzero(~env.action_masks())[0])
    assert env.action_masks().sum() == 3
    env.step(closed)
    assert env.simulation.state.progress.instance[0] == np.flatnonzero(env.action_masks())[0]


def test_the_discount_is_that_of_the_time_between_decisions() -> None:
    env = made(DISPATCH, horizon_s=10.0)
    _, first = env.reset(seed=0)
    _, _, _, _, info = env.step(0)
    arrival_s = env.simulation.state.requests.arrival_s
    assert info["elapsed_s"] == pytest.approx(arrival_s[1] - arrival_s[0])
    assert info["discount"] == pytest.approx(np.exp(-info["elapsed_s"] / 10.0))
    assert first["elapsed_s"] == 0.0


def test_separate_encoders_are_refused() -> None:
    with pytest.raises(InputError, match="not on E\\+PD"):
        made(DISPATCH, configuration="modserve")
