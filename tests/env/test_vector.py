"""The vectorised form steps the episodes of single environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from slackwise.errors import InputError
from tests.env.cases import KNOBS, PROVISION, WINDOW, hour, made


def many(lanes: int, name: str = PROVISION, **arguments: Any) -> Any:
    options = {"trace": hour(), **WINDOW, "start_s": None} | arguments
    return gymnasium.make_vec(name, num_envs=lanes, vectorization_mode="vector_entry_point", **options)


@pytest.mark.parametrize("name", [PROVISION, KNOBS])
def test_lanes_are_single_environments_side_by_side(name: str) -> None:
    vector, singles = many(3, name), [made(name, start_s=None) for _ in range(3)]
    observations, _ = vector.reset(seed=7)
    single_observations = [env.reset(seed=7 + at)[0] for at, env in enumerate(singles)]
    assert np.array_equal(observations, single_observations)
    vector.action_space.seed(1)
    for step in range(10):
        actions = vector.action_space.sample()
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        mine = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        assert np.allclose(rewards, [each[1] for each in mine], rtol=1e-12)
        assert not terminated.any()
        assert truncated.tolist() == [each[3] for each in mine] == [step == 9] * 3
        seen = list(infos["final_obs"]) if step == 9 else observations
        assert np.array_equal(seen, [each[0] for each in mine])
    assert np.allclose(infos["final_info"]["score"], [each[4]["score"] for each in mine], rtol=1e-12)
    assert (infos["time_s"] == 600.0).all()


def test_a_lane_that_is_over_begins_anew() -> None:
    vector, single = many(1), made(start_s=None)
    vector.reset(seed=3)
    single.reset(seed=3)
    for _ in range(10):
        observations, *_ = vector.step([[2, 2, 0]])
        single.step([2, 2, 0])
    assert np.array_equal(observations[0], single.reset()[0])
    rewards = [float(vector.step([[2, 2, 0]])[1][0]) for _ in range(10)]
    assert rewards == pytest.approx([single.step([2, 2, 0])[1] for _ in range(10)], rel=1e-12)


def test_bad_actions_and_counts_are_refused() -> None:
    vector = many(2)
    with pytest.raises(InputError, match="call reset first"):
        vector.step([[2, 2, 0]] * 2)
    vector.reset(seed=0)
    for actions, words in (
        ([[2, 2, 0]], "shape"),
        ([[2, 2, 9]] * 2, "out of the bounds"),
        ([[2.5, 2, 0]] * 2, "whole"),
    ):
        with pytest.raises(InputError, match=words):
            vector.step(actions)
    with pytest.raises(InputError, match="num_envs"):
        many(0)
    with pytest.raises(InputError, match="3 seeds"):
        vector.reset(seed=[1, 2, 3])


def test_room_for_orders_does_not_widen_queues() -> None:
    """Orders are kept; their table grows alone, also while it is nearly full and no order is given."""
    vector = many(1, duration_s=3000.0, interval_s=20.0, most_change=8)
    vector.reset(seed=0)
    state = vector.lanes.simulations[0].state
    queues, orders = state.queues.shape, len(state.orders)
    for step in range(40):
        vector.step([[16 if step % 4 == 0 else 0 if step % 4 == 2 else 8, 8, 0]])
        assert state.clock[0].orders + state.clock[0].leaves < len(state.orders)
    assert state.queues.shape == queues
    assert len(state.orders) > orders
