"""Dispatch is discounted by the seconds that pass, not by the number of decisions."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from slackwise.tuning.training.settings import DISPATCH, PROVISION, Settings
from slackwise.tuning.training.timed import BUFFERS, Discounts, TimedRolloutBuffer

BOX, FOUR = spaces.Box(0.0, 1.0, (1,)), spaces.Discrete(4)


def filled(buffer: Any, rewards: list[float], values: list[float], discounts: list[float], starts: list[float]) -> Any:
    """A buffer of one lane with these steps."""
    rows = zip(rewards, values, discounts, starts, strict=True)
    for reward, value, discount, start in rows:
        buffer.tell(np.array([discount], np.float32))
        told = np.zeros((1, 1)), np.zeros((1, 1)), np.array([reward]), np.array([start])
        buffer.add(*told, torch.tensor([value]), torch.zeros(1))
    return buffer


def test_returns_are_discounted_by_the_time_that_passed_as_computed_by_hand() -> None:
    """Three decisions 1 s, 2 s and 5 s before the next one, horizon 10 s, then a state of value 4; lambda 1."""
    discounts = [math.exp(-elapsed_s / 10.0) for elapsed_s in (1.0, 2.0, 5.0)]
    buffer = TimedRolloutBuffer(3, BOX, FOUR, "cpu", gae_lambda=1.0, gamma=1.0)
    filled(buffer, [-1.0, -2.0, -3.0], [0.5, 0.25, 0.125], discounts, [1.0, 0.0, 0.0])
    buffer.compute_returns_and_advantage(torch.tensor([4.0]), np.array([False]))
    last = -3.0 + math.exp(-0.5) * 4.0
    second = -2.0 + math.exp(-0.2) * last
    assert buffer.returns[:, 0] == pytest.approx([-1.0 + math.exp(-0.1) * second, second, last], rel=1e-6)


def test_advantages_with_lambda_as_computed_by_hand_and_nothing_passes_the_end_of_an_episode() -> None:
    buffer = TimedRolloutBuffer(3, BOX, FOUR, "cpu", gae_lambda=0.5, gamma=0.9)
    filled(buffer, [1.0, 1.0, 1.0], [2.0, 3.0, 5.0], [0.8, 0.5, 0.25], [0.0, 0.0, 1.0])
    buffer.compute_returns_and_advantage(torch.tensor([7.0]), np.array([False]))
    third = 1.0 + 0.9 * 0.25 * 7.0 - 5.0
    second = 1.0 - 3.0  # the third step begins an episode
    first = 1.0 + 0.9 * 0.8 * 3.0 - 2.0 + 0.9 * 0.8 * 0.5 * second
    assert buffer.advantages[:, 0] == pytest.approx([first, second, third], rel=1e-6)


@pytest.mark.parametrize("name", BUFFERS)
def test_with_even_steps_it_is_the_usual_discount(name: str) -> None:
    """The buffer of Stable-Baselines3 with gamma 0.9 is this one with gamma 1 and discounts of 0.9."""
    random = np.random.default_rng(0)
    rewards, values = random.normal(size=(2, 6)).tolist()
    starts, found = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0], []
    for gamma, discount in ((0.9, 1.0), (1.0, 0.9)):
        buffer = BUFFERS[name](6, BOX, FOUR, "cpu", gae_lambda=0.95, gamma=gamma)
        filled(buffer, rewards, values, [discount] * 6, starts)
        usual = RolloutBuffer.compute_returns_and_advantage
        compute = partial(usual, buffer) if discount == 1.0 else buffer.compute_returns_and_advantage
        compute(torch.tensor([2.0]), np.array([True]))
        found.append(buffer.returns.copy())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_step_tells_its_discount_and_asks_for_no_value_after_the_end() -> None:
    buffer, watch = TimedRolloutBuffer(1, BOX, FOUR, "cpu"), Discounts()
    infos: list[dict[str, Any]] = [{"discount": 0.75, "TimeLimit.truncated": True}]
    watch.locals = {"infos": infos, "rollout_buffer": buffer}
    assert watch._on_step()
    assert buffer.discounts.tolist() == [[0.75]]
    assert infos[0]["TimeLimit.truncated"] is False


def test_only_dispatch_leaves_the_discount_a_step_at_one() -> None:
    assert Settings(DISPATCH, "ppo").hyperparameters_of_model()["gamma"] == 1.0
    assert Settings(DISPATCH, "ppo", hyperparameters={"gamma": 0.5}).hyperparameters_of_model()["gamma"] == 0.5
    assert Settings(PROVISION, "ppo").hyperparameters_of_model()["gamma"] == 0.98
