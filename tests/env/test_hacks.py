"""What looks like a way to cheat does not pay: each trick scores less than leaving it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slackwise.env.lanes import Lanes
from slackwise.env.score import score_of
from slackwise.simulator import Configuration, preset, result_of
from slackwise.simulator.state import READY
from slackwise.traces import Trace
from tests.env.cases import DISPATCH, HOLD, IDS, KNOBS, drawn, hold, hour, made, played

STEPS = 10


def with_policies(*changes: str) -> Configuration:
    """The modserve preset with other policies."""
    plain = preset("modserve", "InternVL2.5-26B", gpus=16)
    return Configuration("changed", plain.cluster, plain.policies.changed(changes))


def test_dropping_hard_requests_does_not_pay() -> None:
    """Every image-heavy request is turned away at the door: all of them count as missed."""
    env = made(configuration=with_policies("admission=tests.env.tricks:drop_heavy"))
    dropping = played(env, hold)
    result = result_of(env.simulation)
    heavy = result.category == 2
    assert result.failed == {"dropped": heavy.sum()}
    assert dropping < played(made(), hold) - 0.2


def test_pushing_work_past_the_end_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM instances are given up in the last interval: what is left at the end is judged all the same."""
    closing: list[float] = []
    close = Lanes.close

    def closed(lanes: Lanes, lane: int) -> float:
        closing.append(close(lanes, lane))
        return closing[-1]

    monkeypatch.setattr(Lanes, "close", closed)
    pushed = played(made(), lambda observation, step: [2, 0, 0] if step == STEPS - 1 else HOLD, load=1.3)
    kept = played(made(), hold, load=1.3)
    assert closing[0] < closing[1] < 0.0
    assert pushed < kept


def test_work_that_is_never_done_counts_as_missed() -> None:
    env = made()
    env.reset(seed=0)
    for _ in range(STEPS - 1):
        env.step(HOLD)
    for pool in (0, 1):
        env.simulation.drain(pool, 100)  # past the environment, which leaves one
    _, _, _, over, info = env.step(HOLD)
    result = result_of(env.simulation)
    never = ~result.served
    assert over
    assert never.sum() > 50
    assert not result.met[never].any()
    assert info["missed"] >= never.sum()
    assert info["score"] == pytest.approx(score_of(env.simulation, 0.25, 600.0), rel=1e-12)


@pytest.mark.parametrize("pool", [0, 1])
def test_scaling_to_zero_at_the_end_does_not_pay(pool: int) -> None:
    """The last instance of a pool stays, and what a cut saves in the last minutes is less than it costs."""

    def ending(observation: Any, step: int) -> Any:
        action = np.array([8, 8, 0])
        action[pool] = 0 if step >= STEPS - 3 else 8
        return action

    env = made(most_change=8)
    assert played(env, ending) < played(made(), hold)
    seen = env.simulation.state.engines
    assert ((seen.pool == pool) & (seen.status == READY)).sum() == 1


def test_instances_cannot_be_started_for_free() -> None:
    """Who starts and calls off again, over and over, pays for the GPUs from the order on and gets nothing."""
    env = made(configuration="vllm", gpus=16)
    slim = played(env, lambda observation, step: [0] if step == 0 else [2])
    flicker = played(env, lambda observation, step: [0] if step == 0 else [3 if step % 2 else 1])
    gpu_s = [0.0, 0.0]
    for at, action in enumerate(([2], [3])):
        env.reset(seed=0)
        env.step([0])
        _, _, _, _, info = env.step(action)
        gpu_s[at] = info["gpu_s"]
    assert gpu_s[1] - gpu_s[0] == pytest.approx(4 * 60.0)
    assert flicker != slim


def test_starving_a_class_does_not_pay() -> None:
    """With one encoder hardly an image-heavy request is in time, more requests are on the whole, and GPUs are saved."""
    fair, starved = made(), made(most_change=8)
    served = played(fair, hold, load=1.5)
    assert played(starved, lambda observation, step: [0, 8, 0], load=1.5) < served - 0.1
    before, after = result_of(fair.simulation), result_of(starved.simulation)
    assert after.met.mean() > before.met.mean()
    assert after.gpu_s < before.gpu_s
    assert after.met[after.category == 2].mean() < 0.1 < before.met[before.category == 2].mean()


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    env = made()
    env.reset(seed=0)
    counts = np.bincount(env.simulation.category, minlength=3)
    assert np.allclose(env.lanes.episodes.weight[0] * counts, 1.0 / 3.0)


@pytest.mark.parametrize("name", IDS)
def test_true_output_lengths_cannot_be_read(name: str) -> None:
    """Two windows that differ only in output lengths look the same until a request ends that would not have."""
    trace = hour()
    longer = Trace(
        trace.arrival_s, trace.recorded_images, trace.context_tokens, trace.output_tokens + 4000, trace.image_count
    )
    seen = [_first_observations(name, each) for each in (_endless(trace, 2000), longer)]
    assert np.array_equal(*seen)


def _endless(trace: Trace, tokens: int) -> Trace:
    """The trace with outputs so long that none ends in the first steps."""
    return Trace(
        trace.arrival_s, trace.recorded_images, trace.context_tokens, trace.output_tokens + tokens, trace.image_count
    )


def _first_observations(name: str, trace: Trace) -> Any:
    arguments: dict[str, Any] = {} if name == DISPATCH else {"interval_s": 5.0}
    env = made(name, trace=trace, duration_s=30.0, **arguments)
    found = [env.reset(seed=0)[0]]
    act = drawn(env) if name != KNOBS else lambda observation, step: env.default_action
    for step in range(5):
        found.append(env.step(act(None, step))[0])
    assert np.isnan(env.simulation.state.progress.finish_s[:10]).all()
    return np.array(found)
