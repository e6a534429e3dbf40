"""Options of an episode hold for it, and bad ones are one clear line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator.faults import Faults
from tests.env.cases import HOLD, KNOBS, PROVISION, hour, made


def begun(**options: Any) -> Any:
    env = made()
    env.reset(seed=0, options=options)
    return env.simulation


def test_the_window_is_the_one_asked_for() -> None:
    trace = hour()
    inside = (trace.arrival_s >= 120.0) & (trace.arrival_s < 420.0)
    simulation = begun(start_s=120.0, duration_s=300.0)
    assert np.allclose(simulation.arrival_s, trace.arrival_s[inside] - 120.0)


def test_load_and_image_share_change_the_requests() -> None:
    plain, more, images = begun(), begun(load=2.0), begun(image_share=0.9)
    assert len(more.arrival_s) == pytest.approx(2 * len(plain.arrival_s), abs=1)
    assert (images.images > 0).mean() == pytest.approx(0.9, abs=0.01)


def test_faults_happen_in_the_episode_that_asks_for_them() -> None:
    calm = begun()
    calm.run_until()
    hit = begun(faults="mtbf_s=300,repair_s=60")
    hit.run_until()
    same = begun(faults=Faults(mtbf_s=300.0, repair_s=60.0))
    same.run_until()
    assert not np.array_equal(calm.state.progress.finish_s, hit.state.progress.finish_s)
    assert np.array_equal(same.state.progress.finish_s, hit.state.progress.finish_s)


def test_options_hold_for_one_episode() -> None:
    env = made()
    env.reset(seed=0, options={"duration_s": 120.0})
    assert env.lanes.end_s[0] == 120.0
    env.reset(seed=0)
    assert env.lanes.end_s[0] == 600.0


BAD = (
    ({"durations_s": 5}, "unknown option 'durations_s': did you mean 'duration_s'"),
    ({"duration_s": float("nan")}, "duration_s = nan must be a finite number"),
    ({"duration_s": 0.0}, "must be above 0"),
    ({"load": -1.0}, "must be above 0"),
    ({"image_share": 2.0}, "between 0 and 1"),
    ({"start_s": 1e6}, "no request in the window"),
    ({"duration_s": 1e6, "start_s": None}, "longer than the trace"),
    ({"trace": "nothing.csv"}, "nothing.csv"),
    ({"trace": 5}, "must be a Trace"),
    ({"faults": "many"}, "'many' is not understood"),
    ({"faults": "mtbf=60"}, "did you mean 'mtbf_s'"),
    ({"faults": 3}, "faults must be Faults or text"),
)


@pytest.mark.parametrize(("options", "words"), BAD)
def test_a_bad_option_is_named(options: dict[str, Any], words: str) -> None:
    env = made()
    env.reset(seed=0)
    with pytest.raises(InputError, match=words):
        env.reset(seed=0, options=options)
    env.step(HOLD)  # the episode that was goes on


@pytest.mark.parametrize("action", [[2, 2], [2, 2, 9], [-1, 2, 0], [float("nan"), 2, 0], "up"])
def test_a_bad_action_is_refused_and_changes_nothing(action: Any) -> None:
    env = made()
    env.reset(seed=0)
    with pytest.raises(InputError, match="action"):
        env.step(action)
    assert env.lanes.now_s[0] == 0.0


@pytest.mark.parametrize("action", [np.full(11, np.nan), np.full(11, 1.5), np.zeros(4)])
def test_a_bad_knob_action_is_refused(action: Any) -> None:
    env = made(KNOBS)
    env.reset(seed=0)
    with pytest.raises(InputError, match="action"):
        env.step(action)


def test_a_step_before_the_first_or_after_the_last_is_refused() -> None:
    env = made(PROVISION, duration_s=60.0)
    with pytest.raises(InputError, match="call reset first"):
        env.step(HOLD)
    env.reset(seed=0)
    env.step(HOLD)
    with pytest.raises(InputError, match="call reset first"):
        env.step(HOLD)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"interval_s": 0.0}, "interval_s"),
        ({"gpu_price": -1.0}, "gpu_price"),
        ({"most_change": 0}, "most_change"),
        ({"least": 0}, "least"),
        ({"render_mode": "humn"}, "render mode"),
        ({"configuration": "vlm"}, "did you mean 'vllm'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], words: str) -> None:
    from slackwise.env.provision import ProvisionEnv

    with pytest.raises(InputError, match=words):
        ProvisionEnv(trace=hour(), **arguments)
