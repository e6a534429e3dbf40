"""Many windows stepped in one call of the kernel: the vectorised forms of Provision and Knobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from slackwise.env.base import ServiceEnv
from slackwise.env.knobs import KnobsEnv
from slackwise.env.lanes import Lanes
from slackwise.env.provision import ProvisionEnv
from slackwise.errors import InputError

Step = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class LanesVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` windows of an environment of one lane; other arguments as there.

    A lane whose window is over begins a new one in the same step (`SAME_STEP`): the observation is of the new episode,
    `infos["final_obs"]` and `infos["final_info"]` are of the one that ended. Options of `reset` hold until the next
    reset. A lane's episodes are those of a single environment under the same seed.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, single: ServiceEnv, num_envs: int) -> None:
        if num_envs < 1:
            raise InputError(f"num_envs = {num_envs} must be 1 or more")
        self.num_envs, self.single = num_envs, single
        self.scene, self.chosen = single.scene, single.scene
        self.lanes = Lanes(single.service, num_envs, single.lanes.gpu_price, single.interval_s)
        self.single_action_space, self.single_observation_space = single.action_space, single.observation_space
        self.action_space = batch_space(single.action_space, num_envs)
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.randoms: list[np.random.Generator] = [np_random(None)[0] for _ in range(num_envs)]
        self.running = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every lane; lane i gets the seed plus i. Raises InputError as ServiceEnv."""
        self.chosen = self.scene.changed(options)
        for lane, each in enumerate(self._seeds(seed)):
            if each is not None:
                self.randoms[lane] = np_random(each)[0]
            self.lanes.begin(lane, self.chosen, self.randoms[lane], self.single.prepare)
        self.running = True
        return self.lanes.observe(), self._info()

    def step(self, actions: NDArray[Any]) -> Step:
        """Act in every lane, run for an interval. Raises InputError for an action that is not in the action space."""
        if not self.running:
            raise InputError("no episode was begun: call reset first")
        self._act(self._checked(actions))
        over = self.lanes.move()
        rewards = self.lanes.reward.copy()
        observations = self.lanes.observe()
        infos = self._info()
        if over.any():
            infos |= self._next_episodes(over, observations, rewards)
        return observations, rewards, np.zeros(self.num_envs, bool), over, infos

    def _act(self, actions: NDArray[Any]) -> None:
        """What the actions of all lanes do, before the interval."""
        raise NotImplementedError

    def _next_episodes(
        self, over: NDArray[np.bool_], observations: NDArray[np.float32], rewards: NDArray[np.float64]
    ) -> dict[str, Any]:
        """Close the lanes that are at their end and begin their next episodes."""
        final_obs = np.full(self.num_envs, None, object)
        score = np.zeros(self.num_envs)
        for lane in np.flatnonzero(over):
            final_obs[lane] = observations[lane].copy()
            rewards[lane] += self.lanes.close(lane)
            score[lane] = self.lanes.scores[lane]
        final = {**self._info(), "score": score, "_score": over.copy()}
        for lane in np.flatnonzero(over):
            self.lanes.begin(lane, self.chosen, self.randoms[lane], self.single.prepare)
        observations[over] = self.lanes.observe()[over]
        return {"final_obs": final_obs, "_final_obs": over.copy(), "final_info": final, "_final_info": over.copy()}

    def _checked(self, actions: Any) -> NDArray[Any]:
        given, space = np.asarray(actions), self.action_space
        kinds, words = ("iu", "whole") if np.dtype(space.dtype).kind == "i" else ("iuf", "finite")
        fits = given.dtype.kind in kinds and given.shape == space.shape
        if not fits or not np.isfinite(given).all():
            raise InputError(f"actions must be {words} numbers of shape {space.shape}")
        given = given.astype(space.dtype, copy=False)
        if not space.contains(given):
            raise InputError(f"an action is out of the bounds of {self.single_action_space}")
        return given

    def _info(self) -> dict[str, Any]:
        """Numbers about the last step, float64 or int64, shape (lanes,)."""
        episodes, every = self.lanes.episodes.view(np.ndarray), np.ones(self.num_envs, bool)
        values = {
            "time_s": self.lanes.now_s.copy(),
            "judged": episodes["judged"].sum(axis=1),
            "missed": episodes["missed"].sum(axis=1),
            "gpus": episodes["gpus"].copy(),
            "gpu_s": episodes["gpu_s"].copy(),
        }
        return values | {f"_{name}": every for name in values}

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None or isinstance(seed, int | np.integer):
            return [None if seed is None else int(seed) + lane for lane in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise InputError(f"{len(seed)} seeds are given for {self.num_envs} lanes")
        return list(seed)


class ProvisionVectorEnv(LanesVectorEnv):
    """`num_envs` windows of ProvisionEnv; other arguments as there."""

    def __init__(self, num_envs: int = 1, **arguments: Any) -> None:
        self.provision = ProvisionEnv(**arguments)
        super().__init__(self.provision, num_envs)

    def _act(self, actions: NDArray[Any]) -> None:
        self.lanes.change(*self.provision.actions.orders(actions), self.provision.least)


class KnobsVectorEnv(LanesVectorEnv):
    """`num_envs` windows of KnobsEnv, each with knobs of its own; other arguments as there."""

    def __init__(self, num_envs: int = 1, **arguments: Any) -> None:
        self.knobs = KnobsEnv(**arguments)
        super().__init__(self.knobs, num_envs)

    def _act(self, actions: NDArray[Any]) -> None:
        for simulation, action in zip(self.lanes.simulations, actions, strict=True):
            self.knobs.turn(simulation, action)
