"""An axis of Knobs-v0 covers its knob, and turned knobs decide from then on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.policies.knobs import Choice, IntRange, Knob, Quantile, Range
from slackwise.policies.learned.axis import place_of, value_of
from slackwise.simulator import Simulation, preset
from tests.env.cases import KNOBS, made, played
from tests.simulator.cases import Shape, random_simulation

AXES: tuple[Knob, ...] = (
    Range(0.0, 2.0, default=0.5),
    Range(0.1, 10.0, default=1.0, log=True),
    Range(1.0, 3.0, default=None, none="off"),
    IntRange(1, 64, default=16, log=True),
    IntRange(1, 1024, default=None, log=True, none="as configured"),
    Quantile(0.1, 0.9, default=0.5),
    Choice(("a", "b", "c"), default="b"),
)


@pytest.mark.parametrize("knob", AXES)
def test_the_axis_reaches_both_ends_and_every_choice(knob: Knob) -> None:
    assert [value_of(knob, place_of(knob, end)) for end in knob.ends()] == list(knob.ends())
    values = {value_of(knob, float(place)) for place in (0.0, 0.9, 1.0)}
    assert isinstance(knob, Choice) or set(knob.ends()) <= values


@pytest.mark.parametrize("knob", AXES)
def test_the_default_has_a_place_on_the_axis(knob: Knob) -> None:
    found = value_of(knob, place_of(knob, knob.default))
    assert found == (pytest.approx(knob.default) if isinstance(knob.default, float) else knob.default)


@given(st.sampled_from(AXES), st.floats(0.0, 1.0))
def test_every_place_is_a_value_that_is_allowed(knob: Knob, place: float) -> None:
    knob.encode("knob", value_of(knob, place))


def test_turned_knobs_change_the_run() -> None:
    env = made(KNOBS, load=2.0)
    low, high = (played(env, lambda observation, step, end=end: np.full(11, end)) for end in (-1.0, 0.7))
    assert low != high


def test_the_axes_are_those_of_the_roles_chosen() -> None:
    assert made(KNOBS, roles=["batching"]).knob_names == ["batching.aging", "batching.quantile", "batching.late"]


def test_a_service_without_knobs_is_refused() -> None:
    with pytest.raises(InputError, match="there is no knob to turn: batching=fcfs"):
        made(KNOBS, configuration="vllm", roles=["batching"])


def test_an_unknown_role_is_refused_with_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'batching'"):
        made(KNOBS, roles=["batchin"])


@pytest.mark.parametrize("seed", range(3))
def test_turning_to_the_same_values_changes_nothing(seed: int) -> None:
    runs = [random_simulation(Shape(requests=60), seed) for _ in range(2)]
    for step in range(1, 6):
        for role in ("batching", "encode_batching", "routing", "chunking"):
            runs[0].turn(role)
        for each in runs:
            each.run_until(_time(each, step))
    for each in runs:
        each.run_until()
    assert np.array_equal(runs[0].state.progress.finish_s, runs[1].state.progress.finish_s)


def _time(simulation: Simulation, step: int) -> float:
    return float(simulation.state.requests.arrival_s[10 * step])


def test_the_weights_of_weighted_score_are_turned() -> None:
    plain = preset("modserve", "InternVL2.5-26B")
    configuration = replace(plain, policies=plain.policies.changed(["routing=weighted_score"]))
    env = made(KNOBS, configuration=configuration, roles=["routing"])
    names = ["requests", "backlog", "image_tokens", "prompt_tokens", "kv"]
    assert env.knob_names == [f"routing.{name}" for name in names]
    at_first = env.values(env.default_action)["routing"]
    assert at_first == pytest.approx({"requests": 1.0} | dict.fromkeys(names[1:], 0.0), abs=1e-6)
    played(env, lambda observation, step: np.array([-1.0, 1.0, 0.0, 0.0, 0.5], np.float32))
    _, params = env.simulation.decisions[3]
    assert params.tolist() == [0.0, 10.0, 5.0, 5.0, 7.5]
