"""Callbacks of a run: the suite now and then, the best model, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from slackwise.files import written_whole
from slackwise.tuning.training.evaluation import Floats
from slackwise.tuning.training.learner import checkpoint

Say = Callable[[str], None]
Suite = Callable[[Any], Floats]
"""The scores of a model on the windows of the suite."""


class Evaluations:
    """What the suite has said so far: evaluations.npz, as EvalCallback leaves it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "evaluations.npz"
        self.timesteps: list[int] = []
        self.results: list[Any] = []
        if self.path.exists():
            with np.load(self.path) as kept:
                self.timesteps, self.results = kept["timesteps"].tolist(), list(kept["results"])

    @property
    def best(self) -> float:
        """The best mean so far."""
        return max((float(np.mean(each)) for each in self.results), default=-np.inf)

    def add(self, steps: int, found: Any) -> None:
        """Remember the scores of the windows after so many steps, and write them down."""
        self.timesteps.append(steps)
        self.results.append(found)
        with written_whole(self.path) as part, part.open("wb") as file:
            np.savez(file, timesteps=np.array(self.timesteps), results=np.array(self.results))


class Judge(BaseCallback):
    """Runs the suite at the beginning, every `every` steps up to `last`, at the end; keeps checkpoints and the best.

    A learner that takes whole rollouts or generations goes beyond `last` before it ends.
    """

    def __init__(self, suite: Suite, every: int, last: int, folder: Path, say: Say) -> None:
        super().__init__()
        self.suite, self.folder, self.say = suite, folder, say
        self.every, self.last = every, last
        self.kept = Evaluations(folder)
        self.next = 0

    def _on_training_start(self) -> None:
        begun = self.kept.timesteps[-1] if self.kept.timesteps else -self.every
        self.next = begun + self.every
        self._judge_if_due()

    def _on_step(self) -> bool:
        self._judge_if_due()
        return True

    def _on_training_end(self) -> None:
        if self.kept.timesteps[-1] < self.model.num_timesteps:
            self.judge()

    def _judge_if_due(self) -> None:
        if self.model.num_timesteps >= self.next <= self.last:
            self.judge()
            self.next = (self.model.num_timesteps // self.every + 1) * self.every

    def judge(self) -> None:
        """Run the suite and write down everything."""
        found, best = self.suite(self.model), self.kept.best
        steps = self.model.num_timesteps
        if found.mean() > best:
            self._save(self.folder / "best_model.zip")
        self._save(checkpoint(self.folder, steps))
        self.kept.add(steps, found)
        self.say(f"{steps:>9,} steps  score {found.mean():.4f}  best {max(best, float(found.mean())):.4f}")

    def _save(self, path: Path) -> None:
        with written_whole(path) as part, part.open("wb") as file:
            self.model.save(file)
