"""The mind asks the bundle's own compiled functions, on the features that the simulator would show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slackwise.adapters.vllm.estimates import Correction, StepWork, modelled
from slackwise.adapters.vllm.mind import Mind
from slackwise.adapters.vllm.settings import Settings
from slackwise.adapters.vllm.setup import Engine, set_up
from slackwise.errors import CheckError
from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.simulator import Simulation, isolated, preset
from slackwise.simulator.configuration import Configuration
from slackwise.traces import synthesize
from tests.adapters.bundles import GPU, MODEL, bundle

ENGINE = Engine(MODEL, GPU, 4)


@batching_policy(source="a test")
def not_a_number(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Nonsense. Formula: 0 / 0. Trade-offs: all."""
    return (float(request.arrival_s) - float(request.arrival_s)) / 0.0


def constantly(seconds: float) -> Callable[[float], float]:
    """An objective that hangs on nothing."""
    return lambda work_s: seconds


def mind_of(tmp_path: Path, *settings: str, modules: bool = False) -> Mind:
    path = bundle(tmp_path / "w.json", *settings)
    return set_up(Settings(str(path), allow_modules=modules), ENGINE).mind


def test_a_request_shows_what_the_simulator_shows(tmp_path: Path) -> None:
    start = preset("vllm", MODEL, GPU, 4)
    trace = synthesize(seed=1, start_h=5, duration_h=0.02)
    simulation = Simulation(trace, Configuration("v", start.cluster, start.policies), isolated(start.cluster))
    mind = mind_of(tmp_path)
    for each in simulation.workload.requests[:200]:
        row = mind.book.add(
            str(each.id),
            float(each.arrival_s),
            [int(each.tokens_per_image)] * int(each.images),
            int(each.prompt_tokens),
            mind.estimator,
            constantly(float(each.deadline_s - each.arrival_s)),
        )
        shown = mind.book.rows[row]
        for name in shown.dtype.names or ():
            if name not in ("draw", "sequence"):
                assert shown[name] == pytest.approx(each[name], rel=1e-12), name


@pytest.mark.parametrize("policy", ["fcfs", "least_slack", "hrrn", "modality_class_aging"])
def test_ranks_are_those_of_the_policy_itself(tmp_path: Path, policy: str) -> None:
    mind = mind_of(tmp_path, f"batching={policy}")
    for at in range(300):  # more than the table begins with
        mind.book.add(f"r{at}", 0.1 * at, [100] * (at % 3), 500 + at, mind.estimator, lambda _: 2.0)
    names = [f"r{at}" for at in range(299, -1, -7)]
    asked_s = 0.0 if mind.fixed_order else 40.0
    direct = [
        mind.rank_policy(mind.book.rows[mind.book.row(name)], mind.instance, asked_s, mind.batching_params)
        for name in names
    ]
    np.testing.assert_array_equal(mind.ranks(names, 40.0), direct)


def test_the_chunking_policy_says_how_many_images_a_chunk_takes(tmp_path: Path) -> None:
    mind = mind_of(tmp_path, "chunking=k_images", "chunking.images=3")
    mind.book.add("r", 0.0, [100] * 5, 700, mind.estimator, lambda _: 2.0)
    assert [mind.images_allowed("r", left, 10_000, 0.0) for left in (5, 2)] == [3, 2]
    assert mind.book.rows[mind.book.row("r")].images_left == 2


def test_a_rank_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    mind = mind_of(tmp_path, "batching=tests.adapters.test_mind:not_a_number", modules=True)
    mind.book.add("r", 0.0, [], 700, mind.estimator, lambda _: 2.0)
    with pytest.raises(CheckError, match="not_a_number gives a rank that is not a number"):
        mind.ranks(["r"], 0.0)


def test_corrections_come_to_the_engines_own_speed(tmp_path: Path) -> None:
    mind = mind_of(tmp_path)
    costs, correction = mind.estimator.costs, Correction()
    for step in range(400):
        work = StepWork(prompt_tokens=500, pairs=500.0**2 / 2, tiles=5 * (step % 2))
        language_s, encode_s = modelled(costs, work)
        correction.learn(costs, work, 2.0 * language_s + 3.0 * encode_s)
        correction.learn(costs, StepWork(decodes=5), 9.0)  # tells nothing
    assert (correction.prefill, correction.encode) == pytest.approx((2.0, 3.0), rel=0.01)
    before = mind.estimator.prefill_s(100, 100)
    mind.estimator.correction = correction
    assert mind.relearn()
    assert not mind.relearn()
    assert mind.estimator.prefill_s(100, 100) == pytest.approx(2.0 * before, rel=0.01)


def test_rows_are_used_again(tmp_path: Path) -> None:
    mind = mind_of(tmp_path)
    for at in range(2000):
        mind.book.add(f"r{at}", 0.0, [], 10, mind.estimator, lambda _: 1.0)
        mind.book.forget(f"r{at}")
        mind.book.forget("nobody")
    assert len(mind.book) == 0
    assert len(mind.book.rows) == 256
