"""What every environment of a service shares: options, spaces, the episode, its end, pictures."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from slackwise.env.lanes import Lanes, run_info
from slackwise.env.picture import Picture
from slackwise.env.scene import OPTIONS, Scene, Service
from slackwise.errors import InputError, unknown
from slackwise.simulator import Simulation

Observation = NDArray[np.float32]
MODES = ("ansi", "rgb_array")


def box(low: NDArray[np.float32], high: NDArray[np.float32]) -> Any:
    """The space of observations between two bounds."""
    return spaces.Box(low, high, dtype=np.float32)


def checked_number(name: str, value: float, above_zero: bool = True) -> float:
    """A finite number that is not negative, nor zero if that is not allowed. Raises InputError otherwise."""
    if not np.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise InputError(f"{name} = {value!r} must be a finite number {'above 0' if above_zero else 'of 0 or more'}")
    return float(value)


class ServiceEnv(gymnasium.Env[Observation, Any]):
    """One lane. A subclass gives the action its meaning in `_act`."""

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": 10}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self, service: Service, scene: Scene, interval_s: float, gpu_price: float, render_mode: str | None = None
    ) -> None:
        if render_mode is not None and render_mode not in MODES:
            raise unknown("render mode", render_mode, MODES)
        self.service, self.scene, self.render_mode = service, scene, render_mode
        self.interval_s = checked_number("interval_s", interval_s)
        self.lanes = Lanes(service, 1, checked_number("gpu_price", gpu_price, False), self.interval_s)
        self.observation_space = box(self.lanes.transform.low, self.lanes.transform.high)
        self.picture = Picture(service.configuration.cluster)
        self.running = False

    @classmethod
    def scene_of(cls, options: dict[str, Any]) -> Scene:
        """The scene of arguments that are not the environment's own. Raises InputError for one that is neither's."""
        own = [name for name in inspect.signature(cls).parameters if name != "options"]
        for name in options:
            if name not in OPTIONS:
                raise unknown("argument", name, [*own, *OPTIONS])
        return Scene().changed(options)

    @property
    def simulation(self) -> Simulation:
        """The run of the episode."""
        return self.lanes.simulations[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; `options` are the fields of `Scene`, for this episode alone.

        Raises InputError for an unknown option or a window without requests; the episode that was goes on.
        """
        scene = self.scene.changed(options)
        super().reset(seed=seed)
        self.lanes.begin(0, scene, self.np_random, self.prepare)
        self.running = True
        self.picture.clear()
        return self._observation(), self._info(False)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act, run for an interval. Raises InputError for an action that is not in the action space."""
        self._check_running()
        self._act(self.checked(action))
        over = bool(self.lanes.move()[0])
        return self._ended(over)

    def checked(self, action: Any) -> NDArray[Any]:
        """The action as an array of the action space. Raises InputError if it is not in it."""
        given = np.asarray(action)
        space: Any = self.action_space
        if given.dtype.kind not in "iuf" or given.shape != space.shape or not np.isfinite(given).all():
            raise InputError(f"action {action!r} is not {space.shape} finite numbers")
        given = given.astype(space.dtype)
        if not space.contains(given):
            raise InputError(f"action {action!r} is out of the bounds of {space}")
        return given

    def render(self) -> Any:
        """A line of text, or a picture as uint8, shape (height, width, 3); None without a render mode."""
        if self.render_mode is None or not self.lanes.simulations:
            return None
        return self.picture.text(self.lanes) if self.render_mode == "ansi" else self.picture.image()

    def _ended(self, over: bool) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward = float(self.lanes.reward[0])
        if self.render_mode == "rgb_array":
            self.picture.add(self.simulation)
        observation = self._observation()
        if over:
            reward += self.lanes.close(0)
            self.running = False
        return observation, reward, False, over, self._info(over)

    def _check_running(self) -> None:
        if not self.running:
            raise InputError("the episode is over, or none was begun: call reset first")

    def _observation(self) -> Observation:
        observation: Observation = self.lanes.observe()[0]
        return observation

    def _info(self, over: bool) -> dict[str, Any]:
        return run_info(self.lanes, 0, over)

    def prepare(self, simulation: Simulation) -> None:
        """What is done to a run before its first event."""

    def _act(self, action: NDArray[Any]) -> None:
        raise NotImplementedError
