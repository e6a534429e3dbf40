"""Episodes of actors: pure functions of the ground, the actor and the seeds, so that any machine can run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from slackwise.policies.learned.actor import Actor
from slackwise.streams import stream
from slackwise.traces import Trace
from slackwise.tuning.tasks import Tasks, Waiting
from slackwise.tuning.training.environments import lanes, served
from slackwise.tuning.training.evaluation import SUITE_SEED, Floats, by_actor, scores
from slackwise.tuning.training.settings import Settings


@dataclass(frozen=True)
class Ground:
    """Where episodes take place: an environment over windows of a part of the trace."""

    settings: Settings
    part: Trace


def episodes(ground: Ground, actor: Actor, first: int, count: int) -> tuple[Floats, int, int]:
    """The scores of an actor on `count` windows, drawn with the seeds from `first` on; steps and requests of these."""
    env = lanes(ground.settings, ground.part, count)
    steps = [0]
    decide = by_actor(actor, env.action_space)

    def act(observations: Any, which: Any) -> Any:
        steps[0] += count
        return decide(observations, which)

    found = scores(env, act, first=first)
    env.close()
    return found, steps[0], served(env)


class Rollouts:
    """Episodes on one ground, as tasks; `requests` were simulated in them so far."""

    def __init__(self, tasks: Tasks, settings: Settings, part: Trace) -> None:
        self.tasks, self.windows, self.requests = tasks, settings.windows, 0
        self.ground = tasks.keep(Ground(settings, part))

    def begin(self, actor: Actor, first: int, count: int) -> Waiting:
        """Begin `episodes`; what is returned gives the scores and the steps."""
        waiting = self.tasks.begin(episodes, self.ground, actor, first, count)

        def outcome() -> tuple[Floats, int]:
            found, steps, requests = waiting()
            self.requests += requests
            return found, steps

        return outcome

    def suite(self, actor: Actor) -> Floats:
        """The scores on the windows of the suite, (windows,), in as many tasks as may be under way."""
        edges = np.linspace(0, self.windows, min(self.tasks.width, self.windows) + 1).astype(int).tolist()
        begun = [self.begin(actor, SUITE_SEED + since, until - since) for since, until in pairwise(edges)]
        return np.concatenate([each()[0] for each in begun])


class Candidates:
    """What ARS asks of its workers (sb3_contrib's AsyncEval): the returns of candidates, all on the same windows."""

    remotes = (None,)  # steps are counted one by one

    def __init__(self, model: Any, rollouts: Rollouts, actor: Callable[[Any], Actor], seed: int) -> None:
        self.model, self.rollouts, self.actor, self.seed = model, rollouts, actor, seed
        self.begun: list[Waiting] = []

    def send_jobs(self, candidate_weights: torch.Tensor, pop_size: int) -> None:
        """Begin the episodes of every candidate; each generation draws windows of its own."""
        first = int(stream(self.seed, f"rollouts/{self.model.num_timesteps}").integers(2**30))
        kept = torch.nn.utils.parameters_to_vector(self.model.policy.parameters()).detach().clone()
        actors = []
        for weights in candidate_weights[:pop_size]:
            self.model.policy.load_from_vector(weights.cpu().numpy())
            actors.append(self.actor(self.model))
        self.model.policy.load_from_vector(kept.numpy())
        self.begun = [self.rollouts.begin(actor, first, self.model.n_eval_episodes) for actor in actors]

    def get_results(self) -> list[tuple[int, tuple[list[float], list[int]]]]:
        """The scores of each candidate, and how many steps each took."""
        found = []
        for at, waiting in enumerate(self.begun):
            returns, steps = waiting()
            found.append((at, (returns.tolist(), [steps // len(returns)] * len(returns))))
        self.begun = []
        return found

    def get_obs_rms(self) -> list[Any]:
        """No running statistics are kept."""
        return []

    def close(self) -> None:
        """Nothing is open."""
