"""Models of Stable-Baselines3: made, seeded, saved and loaded again."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from slackwise.errors import InputError
from slackwise.streams import stream
from slackwise.tuning.training.scoring import POLICIES
from slackwise.tuning.training.settings import DISPATCH, Settings
from slackwise.tuning.training.timed import BUFFERS

CHECKPOINTS = "checkpoints"

PREFERENCE = 1.0
"""Added to the logits of the default action at the beginning: its probability is 0.4 among five choices."""


def seed_of(seed: int, steps: int) -> int:
    """The seed of a run that begins, or goes on, after so many steps: a resumed run draws other windows."""
    return int(stream(seed, f"training/{steps}").integers(2**31))


def make(settings: Settings, env: VecEnv, seed: int, folder: Path) -> Any:
    """A model that has learned nothing. Raises InputError for hyperparameters that it does not take."""
    logs = str(folder / "tensorboard") if find_spec("tensorboard") else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about batch sizes that do not divide the rollout
            return _kind(settings)(
                _policy(settings),
                env,
                seed=seed_of(seed, 0),
                device="cpu",
                tensorboard_log=logs,
                **_buffer(settings),
                **settings.hyperparameters_of_model(),
            )
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(f"hyperparameters of {settings.algorithm}: {' '.join(str(error).split())}") from None


def begin_at(model: Any, action: NDArray[Any]) -> None:
    """Let a fresh model prefer the default action, so that learning starts from what is served today."""
    policy = model.policy
    last = policy.actor.mu if hasattr(policy, "actor") else policy.action_net
    last = last if isinstance(last, nn.Linear) else [each for each in last if isinstance(each, nn.Linear)][-1]
    space: Any = model.action_space
    with torch.no_grad():
        if isinstance(space, spaces.MultiDiscrete):
            starts = np.concatenate([[0], np.cumsum(space.nvec)[:-1]])
            last.bias[starts + action] += PREFERENCE
        elif last.bias is not None:
            squashed = hasattr(policy, "actor")
            last.bias[:] = torch.as_tensor(np.arctanh(np.clip(action, -0.9, 0.9)) if squashed else action)
    if hasattr(model, "weights"):  # ARS keeps its own copy
        model.weights = nn.utils.parameters_to_vector(policy.parameters()).detach()


def load(settings: Settings, env: VecEnv, seed: int, folder: Path) -> Any:
    """The model of the last checkpoint, its draws begun anew. Raises InputError if there is none."""
    found = {int(match[1]): path for path in (folder / CHECKPOINTS).glob("*.zip") if (match := _steps(path))}
    if not found:
        raise InputError(f"{folder} holds no checkpoint to resume from")
    steps = max(found)
    model = _kind(settings).load(found[steps], env=env, device="cpu")
    model.set_random_seed(seed_of(seed, steps))
    return model


def checkpoint(folder: Path, steps: int) -> Path:
    """Where the model after so many steps is kept."""
    return folder / CHECKPOINTS / f"rl_model_{steps}_steps.zip"


def load_best(settings: Settings, folder: Path) -> Any:
    """The best model of a run so far, for deciding only."""
    return _kind(settings).load(folder / "best_model.zip", device="cpu")


def _policy(settings: Settings) -> Any:
    """Name or class of the networks: those of Dispatch score one instance at a time."""
    return POLICIES[settings.algorithm] if settings.environment == DISPATCH else settings.chosen.policy


def _buffer(settings: Settings) -> dict[str, Any]:
    """Dispatch decides at arrivals: a buffer that discounts by time."""
    timed = settings.environment == DISPATCH and settings.algorithm in BUFFERS
    return {"rollout_buffer_class": BUFFERS[settings.algorithm]} if timed else {}


def _kind(settings: Settings) -> Any:
    module, _, name = settings.chosen.place.partition(":")
    return getattr(import_module(module), name)


def _steps(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"rl_model_(\d+)_steps\.zip", path.name)
