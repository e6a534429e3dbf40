"""Plans that roll: forecasts, the policy by itself and in the simulator, and what no autoscaler can go below."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.policies.bundle import PolicyChoice
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.provisioning.pool import PoolView, Rates
from slackwise.policies.registry import find, policies
from slackwise.simulator import Configuration, Result, Simulation, isolated, preset, result_of
from slackwise.simulator.faults import Faults
from slackwise.solver import rolling
from slackwise.solver.fluid import fluid_bound
from slackwise.solver.forecast import forecast
from slackwise.solver.schedule.problem import relaxation
from slackwise.traces import fold, synthesize

MODEL = "Llama-3.2-11B-Vision"
TRACE = fold(synthesize(3, start_h=26, duration_h=5), 5)
POLICY = find("provisioning", "forecast_ilp")


def test_a_season_is_repeated_and_a_quantile_lies_above_the_mean() -> None:
    wave = 10 + 5 * np.sin(np.arange(72) * 2 * np.pi / 24)
    noisy = wave + np.random.default_rng(0).normal(0, 0.1, 72)
    ahead = forecast(noisy, 24, season=24, quantile=0.5)
    assert np.abs(ahead - wave[:24]).max() < 1.0
    assert (forecast(noisy, 24, season=24, quantile=0.99) > ahead).all()
    assert forecast(np.array([2.0, 3.0]), 2).tolist() == [3.0, 3.0]
    with pytest.raises(InputError, match="at least 1 step"):
        forecast(np.zeros(0), 1)


def views(load: float, cap: int = 32, working: int = 1) -> list[PoolView]:
    """Encoders and text instances that see `load` tokens a second of each modality."""
    rates = (Rates(300.0, text_tokens_per_s=load, image_tokens_per_s=load, output_tokens_per_s=load),)
    common: dict[str, Any] = {"rates": rates, "ready": working, "gpu_cap": cap, "start_s": 40.0}
    return [
        PoolView("E", ENCODE, 1, 1, capacity_tokens_per_s=100.0, **common),
        PoolView("PD", PREFILL | DECODE, 4, 1, capacity_tokens_per_s=200.0, images_in_prompt=False, **common),
    ]


@pytest.mark.parametrize(("load", "targets"), [(90.0, (1, 1)), (100.1, (2, 1)), (399.0, (4, 2)), (401.0, (5, 3))])
def test_targets_are_the_fewest_that_serve_the_forecast(load: float, targets: tuple[int, int]) -> None:
    plan = POLICY.function(views(load), 0.0, POLICY.params(), ())
    assert plan.targets == targets
    assert plan.memory[0] == ((load, load, load),)


def test_a_load_beyond_all_gpus_leaves_the_least_unserved() -> None:
    plan = POLICY.function(views(900.0, cap=16), 0.0, POLICY.params(), ())
    assert plan.targets[0] + 4 * plan.targets[1] <= 16
    assert sum(plan.targets) > 2


def test_without_a_plan_the_last_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    first = POLICY.function(views(150.0), 0.0, POLICY.params(), ())
    monkeypatch.setattr(rolling, "solved_counts", lambda data, nodes: None)
    second = POLICY.function(views(900.0), 300.0, POLICY.params(), first.memory)
    assert second.targets == first.memory[1][0]
    assert second.memory[1] == first.memory[1][1:]
    assert POLICY.function(views(900.0, working=3), 0.0, POLICY.params(), ()).targets == (3, 3)


def configured(provisioning: str) -> Configuration:
    chosen = preset("modserve", MODEL, gpus=16)
    return replace(
        chosen,
        policies=replace(chosen.policies, provisioning=PolicyChoice(provisioning)),
        provisioning=replace(chosen.provisioning, gpu_cap=64),
    )


def served(provisioning: str) -> tuple[Simulation, Result]:
    configuration = configured(provisioning)
    made = Simulation(TRACE, configuration, isolated(configuration.cluster, scale="work"), 0)
    made.run_until()
    return made, result_of(made)


def test_the_policy_changes_the_fleet_in_the_simulator_the_same_way_each_time() -> None:
    first, second = served("forecast_ilp")[1], served("forecast_ilp")[1]
    assert len({tick.targets for tick in first.fleet}) > 1
    assert [tick.targets for tick in first.fleet] == [tick.targets for tick in second.fleet]
    assert first.gpu_s == second.gpu_s


@pytest.mark.parametrize("provisioning", [*(each.name for each in policies("provisioning")), "forecast_ilp"])
def test_no_autoscaler_goes_below_the_fluid_bound(provisioning: str) -> None:
    configuration = configured(provisioning)
    fresh = Simulation(TRACE, configuration, isolated(configuration.cluster, scale="work"), 0)
    result = served(provisioning)[1]
    attained = float((result.ttft_s <= result.ttft_objective_s).mean())
    bound = fluid_bound([fresh], attained)
    assert 0 < bound.work_gpu_s <= bound.gpu_s <= result.gpu_s
    assert fluid_bound([fresh], 1.0).gpu_s >= bound.gpu_s * (1 - 1e-6)


@settings(max_examples=8, deadline=None)
@given(
    provisioning=st.sampled_from([*(each.name for each in policies("provisioning")), "forecast_ilp"]),
    start_h=st.integers(0, 160),
    folds=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_the_fluid_bound_is_below_every_autoscaler_on_random_traffic(
    provisioning: str, start_h: int, folds: int, seed: int
) -> None:
    trace, configuration = fold(synthesize(seed, start_h=start_h, duration_h=folds), folds), configured(provisioning)
    fresh, made = (Simulation(trace, configuration, isolated(configuration.cluster), seed) for _ in range(2))
    made.run_until()
    result = result_of(made)
    served = result.failure == 0
    assert served.all()
    assert fluid_bound([fresh], float((result.ttft_s <= result.ttft_objective_s).mean())).gpu_s <= result.gpu_s


def test_compare_shows_each_run_as_a_multiple_of_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "compare",
        "synthetic",
        "--hours",
        "0.2",
        "--from",
        "30h",
        "--fluid",
        "--configs",
        "vllm,modserve",
        "--json",
    ]
    assert run([*words]) == 0
    found = json.loads(capsys.readouterr().out)["fluid"]
    assert set(found) == {"vllm", "modserve"}
    assert all(each["times"] >= 1.0 and each["bound_gpu_s"] > 0 for each in found.values())
    assert run(words[:-1]) == 0
    assert "times the fluid bound" in capsys.readouterr().out


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        fluid_bound([Simulation(TRACE, configured("fixed_ratio"), isolated(configured("fixed_ratio").cluster), 0)], 1.5)


def test_faults_are_refused() -> None:
    chosen = replace(configured("fixed_ratio"), faults=Faults(mtbf_s=600.0))
    made = Simulation(TRACE, chosen, isolated(chosen.cluster, scale="work"), 0)
    for bound in (relaxation, lambda each: fluid_bound([each])):
        with pytest.raises(InputError, match="without faults only"):
            bound(made)


def test_reuse_of_earlier_work_is_refused() -> None:
    chosen = configured("fixed_ratio")
    chosen = replace(chosen, cluster=replace(chosen.cluster, repeat_window_s=600.0, embedding_cache_tokens=100_000))
    made = Simulation(TRACE, chosen, isolated(chosen.cluster, scale="work"), 0)
    for bound in (relaxation, lambda each: fluid_bound([each])):
        with pytest.raises(InputError, match="without reuse only"):
            bound(made)


def test_listing_the_policies_loads_no_solver() -> None:
    code = "import sys; from slackwise.policies.registry import policies; policies(); print('ortools' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
