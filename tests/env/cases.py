"""Small episodes for tests of the environments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import slackwise.env
from slackwise.traces import Trace, synthesize

IDS = tuple(slackwise.env.IDS)
PROVISION, KNOBS, DISPATCH = IDS
WINDOW: dict[str, Any] = {"start_s": 600.0, "duration_s": 600.0}
HOLD = np.array([2, 2, 0])
"""The action that leaves two pools as they are."""


@lru_cache(maxsize=1)
def hour() -> Trace:
    """An hour of the synthetic week."""
    return synthesize(seed=1, start_h=8, duration_h=1)


def made(name: str = PROVISION, **arguments: Any) -> Any:
    """An environment, bare, over ten minutes."""
    return gymnasium.make(name, **({"trace": hour()} | WINDOW | arguments)).unwrapped


def played(env: Any, policy: Any, seed: int = 0, **options: Any) -> float:
    """The sum of rewards of an episode; `policy` makes an action of an observation and a step number."""
    observation, _ = env.reset(seed=seed, options=options)
    total, step, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, over, _ = env.step(policy(observation, step))
        assert not terminated
        assert reward <= 0.0
        total, step = total + reward, step + 1
    return total


def drawn(env: Any, seed: int = 0) -> Any:
    """A policy that draws its actions."""
    env.action_space.seed(seed)
    return lambda observation, step: env.action_space.sample()


def hold(observation: Any, step: int) -> NDArray[np.int64]:
    """The policy that leaves the fleet as it is."""
    return HOLD
