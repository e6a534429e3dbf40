"""The environments of a training run: lanes to learn in, and suites of fixed windows to be judged on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

import slackwise.env
from slackwise.env.base import ServiceEnv
from slackwise.env.scene import loaded
from slackwise.env.stable import LanesVecEnv
from slackwise.env.vector import KnobsVectorEnv, LanesVectorEnv, ProvisionVectorEnv
from slackwise.errors import InputError
from slackwise.traces import Split, Trace, slice_time
from slackwise.traces.resample import period_s
from slackwise.tuning.training.settings import KNOBS, PROVISION, Settings

HOUR_S = 3600.0
VECTORS: dict[str, Callable[..., LanesVectorEnv]] = {PROVISION: ProvisionVectorEnv, KNOBS: KnobsVectorEnv}
assert slackwise.env.IDS


def parts(settings: Settings) -> Split:
    """The hours to train, to choose and to test on. Raises InputError if the trace is shorter than all of them."""
    trace = loaded(settings.trace)
    wanted_s = sum(settings.split_h) * HOUR_S
    if wanted_s > period_s(trace) + 1e-6:
        raise InputError(
            f"split: {wanted_s / HOUR_S:g} hours are asked for, the trace has {period_s(trace) / HOUR_S:g}"
        )
    ends = np.cumsum(settings.split_h) * HOUR_S
    starts = [0.0, *ends[:-1].tolist()]
    return Split(*(slice_time(trace, start, float(end)) for start, end in zip(starts, ends, strict=True)))


def arguments(settings: Settings, part: Trace) -> dict[str, Any]:
    """Arguments of the environment over windows drawn from a part of the trace."""
    given: dict[str, Any] = {"trace": part, "duration_s": settings.hours * HOUR_S}
    given |= {"model": settings.model, "gpu": settings.gpu, "gpus": settings.gpus}
    if settings.configuration:
        given["configuration"] = settings.configuration
    if settings.continuous:
        given["continuous"] = True
    return given | dict(settings.environment_arguments)


def single(settings: Settings, part: Trace) -> ServiceEnv:
    """One environment."""
    try:
        made = gymnasium.make(f"slackwise/{settings.environment}", **arguments(settings, part))
    except TypeError as error:
        raise InputError(f"environment: {error}") from None
    return cast(ServiceEnv, made.unwrapped)


def lanes(settings: Settings, part: Trace, count: int) -> VecEnv:
    """So many windows side by side: of Provision and Knobs in one call of the kernel, of Dispatch in turn."""
    single(settings, part)  # names a bad argument
    if settings.environment in VECTORS:
        return LanesVecEnv(VECTORS[settings.environment](count, **arguments(settings, part)))
    return DummyVecEnv([lambda: single(settings, part) for _ in range(count)])


def served(env: VecEnv) -> int:
    """Requests of the windows that were run to their end in what `lanes` made."""
    if isinstance(env, LanesVecEnv):
        return env.lanes.lanes.served
    return sum(each.lanes.served for each in cast(Any, env).envs)


class Scaled(VecEnvWrapper):
    """Rewards times a constant; a score stays as it is."""

    def __init__(self, venv: VecEnv, scale: float) -> None:
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> tuple[Any, NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        observations, rewards, over, infos = self.venv.step_wait()
        return observations, rewards * self.scale, over, infos
