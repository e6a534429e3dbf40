"""Time-proper discount for decisions that are not evenly spaced (semi-Markov; Bradtke and Duff, 1994).

What follows a decision is discounted by info["discount"] = exp(-elapsed seconds / horizon) instead of a constant a
step:  delta_t = r_t + g_t V(s_t+1) - V(s_t),  A_t = delta_t + g_t lambda A_t+1,  g_t = gamma discount_t.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

Row = NDArray[np.float32]


class _Timed:
    """A rollout buffer that is told the discount of each step before the step is added."""

    def reset(self: Any) -> None:
        self.discounts = np.ones((self.buffer_size, self.n_envs), np.float32)
        super().reset()  # type: ignore[misc]

    def tell(self: Any, discounts: Row) -> None:
        """The discounts of the step to be added next, shape (lanes,)."""
        self.discounts[self.pos] = discounts

    def compute_returns_and_advantage(self: Any, last_values: torch.Tensor, dones: NDArray[Any]) -> None:
        """As in Stable-Baselines3, a discount a step."""
        follows = np.append(self.values[1:], last_values.detach().cpu().numpy().reshape(1, -1), axis=0)
        goes_on = 1.0 - np.append(self.episode_starts[1:], np.asarray(dones, np.float32)[None], axis=0)
        passed = self.gamma * self.discounts * goes_on
        deltas = self.rewards + passed * follows - self.values
        later = np.zeros(self.n_envs, np.float32)
        for step in reversed(range(self.buffer_size)):
            later = deltas[step] + self.gae_lambda * passed[step] * later
            self.advantages[step] = later
        self.returns = self.advantages + self.values


class TimedRolloutBuffer(_Timed, RolloutBuffer):
    """For PPO."""


class TimedMaskableRolloutBuffer(_Timed, MaskableRolloutBuffer):
    """For MaskablePPO."""


BUFFERS = {"ppo": TimedRolloutBuffer, "maskable_ppo": TimedMaskableRolloutBuffer}
"""By algorithm."""


class Discounts(BaseCallback):
    """Hands the discounts of a step from its infos to the buffer.

    The end of a window is the end of the sum: its last reward holds what becomes of the work left over, and its last
    observation is of no request, so there is no value to add.
    """

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self.locals["rollout_buffer"].tell(np.array([info["discount"] for info in infos], np.float32))
        for info in infos:
            info["TimeLimit.truncated"] = False
        return True
