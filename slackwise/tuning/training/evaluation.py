"""Scores over a suite: windows that are the same for whoever is judged, and the interval of a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from slackwise.env.base import ServiceEnv
from slackwise.env.score import score_of
from slackwise.policies.learned.actor import Actor
from slackwise.streams import stream

Floats = NDArray[np.float64]
Act = Callable[[NDArray[np.float32], VecEnv], NDArray[Any]]
"""Actions of all lanes from their observations; the environment is there to be asked for masks."""

SUITE_SEED = 20_000
"""Seed of the windows of a suite: lane i draws its window with it plus i."""

RESAMPLES = 10_000


def scores(env: VecEnv, act: Act, keep: list[NDArray[np.float32]] | None = None, first: int = SUITE_SEED) -> Floats:
    """The score of one window a lane, float64, shape (lanes,); `keep` is given what lane 0 has observed.

    Lane i draws its window with the seed `first` plus i.
    """
    env.seed(first)
    observations: Any = env.reset()
    found = np.full(env.num_envs, np.nan)
    while np.isnan(found).any():
        if keep is not None:
            keep.append(observations[0].copy())
        observations, _, over, infos = env.step(act(observations, env))
        for lane in np.flatnonzero(over & np.isnan(found)):
            found[lane] = infos[lane]["score"]
    return found


def by_actor(actor: Actor, space: Any) -> Act:
    """An actor, by NumPy; a single choice is a number, not a list of one."""

    def act(observations: NDArray[np.float32], env: VecEnv) -> NDArray[Any]:
        actions = np.stack([actor.action(each) for each in observations]).astype(space.dtype)
        return actions.reshape(len(observations), *space.shape)

    return act


def always(action: NDArray[Any]) -> Act:
    """The same action in every step."""
    return lambda observations, env: np.repeat(action[None], len(observations), axis=0)


def provisioned(env: ServiceEnv, policy: str, windows: int) -> Floats:
    """The scores of a provisioning policy, by name or the path of an actor, on the windows of a suite of `env`.

    It decides in the loop in which it will serve: at its own interval, from its first request on.
    """
    configuration = env.service.configuration
    policies = configuration.policies.changed([f"provisioning={policy}"])
    served = replace(env.service, configuration=replace(configuration, policies=policies))
    found = np.zeros(windows)
    for lane in range(windows):
        random = np_random(SUITE_SEED + lane)[0]
        window = env.scene.window(random, env.interval_s)
        simulation = served.begin(window, int(random.integers(2**31)), env.scene.given_faults)
        simulation.run_until()
        found[lane] = score_of(simulation, env.lanes.gpu_price, env.scene.duration_s)
    return found


def interval(differences: Floats) -> dict[str, float]:
    """The mean of paired differences and its 95 % bootstrap interval over windows."""
    random = stream(0, "bootstrap")
    drawn = differences[random.integers(len(differences), size=(RESAMPLES, len(differences)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"mean": float(differences.mean()), "low": float(low), "high": float(high)}
