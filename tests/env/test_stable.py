"""Stable-Baselines3's vectorised form tells the same episodes as environments one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from slackwise.env.stable import LanesVecEnv
from slackwise.env.vector import ProvisionVectorEnv
from slackwise.errors import InputError
from tests.env.cases import WINDOW, hour, made

OPTIONS: dict[str, Any] = {"trace": hour(), **WINDOW, "start_s": None}


def lanes(count: int, **arguments: Any) -> LanesVecEnv:
    return LanesVecEnv(ProvisionVectorEnv(count, **(OPTIONS | arguments)))


def test_it_steps_as_environments_one_by_one() -> None:
    mine: Any = lanes(2)
    plain: Any = DummyVecEnv([lambda: made(start_s=None)] * 2)
    for env in (mine, plain):
        env.seed(5)
        env.action_space.seed(5)
    assert np.array_equal(mine.reset(), plain.reset())
    for step in range(12):
        actions = np.array([mine.action_space.sample() for _ in range(2)])
        ours, theirs = mine.step(actions), plain.step(actions)
        assert np.array_equal(ours[0], theirs[0])
        assert np.allclose(ours[1], theirs[1], rtol=1e-6)
        assert ours[2].tolist() == theirs[2].tolist() == [step == 9] * 2
        for lane in range(2) if step == 9 else ():
            for name in ("terminal_observation", "TimeLimit.truncated", "score", "gpu_s"):
                assert np.allclose(ours[3][lane][name], theirs[3][lane][name])


def test_options_hold_for_the_next_reset() -> None:
    env = lanes(2)
    env.set_options({"load": 2.0})
    env.reset()
    assert env.lanes.chosen.load == 2.0
    env.reset()
    assert env.lanes.chosen.load == 1.0


def test_ppo_learns_from_it_and_the_seconds_of_the_environment_are_counted() -> None:
    env = lanes(4)
    model = PPO("MlpPolicy", VecMonitor(env), n_steps=8, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64
    assert len(model.ep_info_buffer or ()) == 4
    assert env.cpu_s > 0.0


def test_continuous_actions_change_as_much_as_discrete_ones() -> None:
    smooth, steps = made(continuous=True), made()
    for env in (smooth, steps):
        env.reset(seed=0)
    for real, whole in (([-1.0, 0.2], [0, 2, 0]), ([0.4, -0.6], [3, 1, 0]), ([1.0, 1.0], [4, 4, 0])):
        assert smooth.step(np.array(real))[1] == steps.step(np.array(whole))[1]
    assert smooth.lanes.simulations[0].state.engines.status.tolist() == steps.simulation.state.engines.status.tolist()


@pytest.mark.parametrize("action", [[0.0, float("nan")], [1.5, 0.0], [0.0]])
def test_bad_continuous_actions_are_refused(action: list[float]) -> None:
    env = lanes(1, continuous=True)
    env.reset()
    with pytest.raises(InputError, match=r"finite|out of the bounds"):
        env.step(np.array([action]))
