"""How fast the environments are: Provision steps of the vectorised form at the trace's own rate, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from slackwise.env.vector import ProvisionVectorEnv
from slackwise.simulator.speed import machine, versions

LANES, WARM_UP = 64, 16

PPO_ROLLOUTS = 3
PPO_STEPS, PPO_BATCH, PPO_EPOCHS = 60, 240, 10
"""Rollouts of the learner that are measured, and their shape: what slackwise.tuning.training.settings starts with."""

Act = Callable[[], Any]


def env_speed(
    seed: int = 0, lanes: int = LANES, steps: int = 480, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Steps of all lanes per CPU second, new episodes included, windows of 4 hours of the synthetic week, 16 A100s.

    `steps_per_s` leaves the fleet as it is; `moving_steps_per_s` starts and drains an encoder in turn, and in
    `random_steps_per_s` actions are drawn: fleets that serve badly have long queues, which cost time in the kernel.
    `env_share_in_ppo` is the environment's share of the CPU seconds in which PPO learns, if it is installed.
    """
    env = ProvisionVectorEnv(lanes)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    found: dict[str, Any] = {"lanes": lanes, "steps": steps, "interval_s": 60.0, "duration_s": 4 * 3600.0}
    for name, act in _acts(env).items():
        env.reset(seed=seed)
        _steps_per_s(env, act, WARM_UP)
        found[name] = round(_steps_per_s(env, act, steps))
        progress(f"{name}: {found[name]:,}")
    found |= learner_shares(seed, lanes)
    env.reset(seed=seed)
    cluster = env.lanes.service.configuration.cluster.describe()
    rate = float(np.mean([len(each.arrival_s) for each in env.lanes.simulations])) / (4 * 60)
    return found | {"requests_per_step": rate, "cluster": cluster, "machine": machine(), "versions": versions()}


def learner_shares(seed: int, lanes: int) -> dict[str, float]:
    """PPO as `slackwise train` starts it: its steps per CPU second, and the environment's share of these seconds.

    Nothing if Stable-Baselines3 is not installed.
    """
    if find_spec("stable_baselines3") is None:
        return {}
    import torch
    from stable_baselines3 import PPO

    from slackwise.env.stable import LanesVecEnv

    torch.set_num_threads(1)
    env = LanesVecEnv(ProvisionVectorEnv(lanes))
    batch = min(PPO_BATCH, PPO_STEPS * lanes)
    shape: dict[str, Any] = {"n_steps": PPO_STEPS, "batch_size": batch, "n_epochs": PPO_EPOCHS}
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", **shape)
    model.learn(1)
    env.cpu_s, since_s, steps = 0.0, time.process_time(), model.num_timesteps
    model.learn(PPO_ROLLOUTS * PPO_STEPS * lanes, reset_num_timesteps=False)
    cpu_s = time.process_time() - since_s
    shares = {"ppo_steps_per_s": round((model.num_timesteps - steps) / cpu_s)}
    return shares | {"env_share_in_ppo": env.cpu_s / cpu_s, "learner_share_in_ppo": 1.0 - env.cpu_s / cpu_s}


def _acts(env: ProvisionVectorEnv) -> dict[str, Act]:
    """Ways to act, by the name of their speed."""
    hold = np.tile(np.array([2, 2, 0]), (env.num_envs, 1))
    turn = [hold + np.array([1, 0, 0]), hold - np.array([1, 0, 0])]

    def move() -> Any:
        turn.reverse()
        return turn[0]

    return {
        "steps_per_s": lambda: hold,
        "moving_steps_per_s": move,
        "random_steps_per_s": lambda: env.action_space.sample(),
    }


def _steps_per_s(env: ProvisionVectorEnv, act: Act, steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        env.step(act())
    return steps * env.num_envs / (time.process_time() - start)
