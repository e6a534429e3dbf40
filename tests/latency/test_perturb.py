"""Moving one constant."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.perturb import CONSTANTS, perturbed
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of

COSTS = roofline(load_model("Llama-3.2-11B"), load_gpu("A100"), 2)


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_moved_up_lengthens_the_step_and_leaves_the_original(name: str) -> None:
    def step(costs: object) -> float:
        return seconds_of(costs, 9000, 5000, 1e6, 8)  # type: ignore[arg-type]

    before = step(COSTS)
    up, down = (step(perturbed(COSTS, name, factor)) for factor in (1.15, 1 / 1.15))
    assert down < before < up
    assert step(COSTS) == before


def test_all_constants_moved_together_scale_the_step() -> None:
    costs = COSTS
    for name in CONSTANTS:
        costs = perturbed(costs, name, 1.15)
    assert seconds_of(costs, 9000, 5000, 1e6, 8) == pytest.approx(1.15 * seconds_of(COSTS, 9000, 5000, 1e6, 8))
    assert np.allclose(costs.linear_s, 1.15 * COSTS.linear_s)


@pytest.mark.parametrize(("name", "factor"), [("kv_s", 1.1), ("step_s", 0.0), ("step_s", float("nan"))])
def test_an_unknown_constant_or_a_factor_not_positive_is_refused(name: str, factor: float) -> None:
    with pytest.raises(InputError):
        perturbed(COSTS, name, factor)
