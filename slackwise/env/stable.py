"""Stable-Baselines3's vectorised form: many windows stepped in one call of the kernel. Needs the extra `rl`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from slackwise.env.vector import LanesVectorEnv, Step

Indices = int | Iterable[int] | None


class LanesVecEnv(VecEnv):
    """A LanesVectorEnv as Stable-Baselines3 wants it: one info a lane, ends told as truncations.

    `cpu_s` sums the CPU seconds spent in steps: what is left of a training run's is the learner's.
    """

    def __init__(self, lanes: LanesVectorEnv) -> None:
        self.lanes, self.cpu_s = lanes, 0.0
        self.actions: NDArray[Any] = np.zeros(0)
        super().__init__(lanes.num_envs, lanes.single_observation_space, lanes.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every lane, with the seeds of `seed` and the options of `set_options`, both used once."""
        seeds = list(self._seeds)
        observations, _ = self.lanes.reset(seed=seeds, options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        since_s = time.process_time()
        step = self.lanes.step(self.actions)
        self.cpu_s += time.process_time() - since_s
        observations, rewards, _, over, _ = step
        return observations, rewards.astype(np.float32), over, _infos(step)

    def close(self) -> None:
        self.lanes.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        return [getattr(self.lanes, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        raise AttributeError(f"lanes share their attributes: '{attr_name}' is an argument of the environment")

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(f"lanes have no methods of their own: '{method_name}' cannot be called")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


def _infos(step: Step) -> list[dict[str, Any]]:
    """An info a lane; those of lanes that are over hold the last observation and the score of the episode."""
    _, _, _, over, infos = step
    told: list[dict[str, Any]] = [{} for _ in range(len(over))]
    for lane in np.flatnonzero(over):
        final = infos["final_info"]
        numbers = {name: final[name][lane].item() for name in final if not name.startswith("_")}
        told[lane] = numbers | {"terminal_observation": infos["final_obs"][lane], "TimeLimit.truncated": True}
    return told
