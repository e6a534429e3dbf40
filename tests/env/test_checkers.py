"""Every registered environment passes the checkers, is reproducible, and ends by truncation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_stable

from slackwise.policies.learned import features
from tests.env.cases import DISPATCH, IDS, KNOBS, PROVISION, drawn, made, played


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_accepts_it(name: str) -> None:
    env = gymnasium.make(name, trace=made().scene.trace, duration_s=300.0, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)


@pytest.mark.parametrize("name", IDS)
def test_stable_baselines_accepts_it(name: str) -> None:
    check_stable(made(name, duration_s=300.0))


@pytest.mark.parametrize("name", IDS)
def test_an_episode_ends_by_truncation_at_the_end_of_its_window(name: str) -> None:
    env = made(name)
    played(env, drawn(env))
    assert env.lanes.end_s[0] == 600.0
    assert env.simulation.state.clock[0].next_arrival == len(env.simulation.state.requests)


@pytest.mark.parametrize("name", IDS)
def test_the_same_seed_gives_the_same_episode_and_another_another(name: str) -> None:
    env = made(name, start_s=None)
    totals = [played(env, drawn(env), seed) for seed in (3, 3, 4)]
    assert totals[0] == totals[1] != totals[2]


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name in IDS for mode in ("ansi", "rgb_array")])
def test_it_draws_itself(name: str, mode: str) -> None:
    env: Any = made(name, render_mode=mode)
    env.reset(seed=0)
    before = env.render()
    for _ in range(3):
        env.step(env.action_space.sample())
    after = env.render()
    assert type(before) is type(after)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("name", [PROVISION, KNOBS])
def test_its_page_shows_every_observation(name: str) -> None:
    env = made(name)
    document = type(env).__doc__ or ""
    for at, feature in enumerate(features.features(2)):
        assert f"| {at} | {features.names(('E', 'PD'))[at]} | {feature.low:g} | 1 | {feature.unit} |" in document
    assert env.observation_space.shape == (len(features.features(2)),)


def test_the_page_of_dispatch_shows_every_observation() -> None:
    env = made(DISPATCH)
    document = type(env).__doc__ or ""
    assert document.count("| request.") == 7
    assert document.count("| instance0.") == 6
    assert env.observation_space.shape == (7 + 6 * 4,)
