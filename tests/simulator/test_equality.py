"""The kernel, which leaps, and the reference, which takes every step, agree on every request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.policies.registry import policies
from slackwise.simulator import Cluster, Pool, Simulation
from slackwise.simulator.state import ROLES
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    ENGINES,
    FAMILY,
    GPU,
    OBJECTIVES,
    TOPOLOGIES,
    Shape,
    configuration,
    monolith,
    random_simulation,
    shrink_memory,
    trace_of,
)
from tests.simulator.plain import SHAPES
from tests.simulator.watched import CORNERS, Watched, differences

ROOT = Path(__file__).parents[2]
EVERY_POLICY = [(role, policy.name) for role in ROLES for policy in policies(FAMILY[role])]

CROWDED = list(product(TOPOLOGIES, [CROSS_ATTENTION, DECODER_ONLY], ENGINES, [True, False]))

COMMON = {
    "encode_routing": ["least_requests", "predicted_completion"],
    "encode_batching": ["fcfs", "least_slack", "hrrn"],
    "chunking": ["none", "per_image", "k_images", "encoder_budget", "tile_budget"],
    "routing": ["least_requests", "predicted_completion", "power_of_two"],
    "batching": ["fcfs", "least_slack", "hrrn", "modality_size_priority", "modality_class_aging", "sjf", "edf"],
    "decode_routing": ["least_requests", "random"],
}
"""Policies of the fixed cases, so that a new policy changes none of them."""

shapes = st.builds(
    Shape,
    topology=st.sampled_from(TOPOLOGIES),
    model=st.sampled_from([CROSS_ATTENTION, DECODER_ONLY]),
    engine=st.sampled_from(ENGINES),
    encoder=st.sampled_from(ENGINES),
    requests=st.integers(1, 40),
    chatty=st.booleans(),
    scarce=st.booleans(),
    changing=st.booleans(),
    repeats=st.booleans(),
    bursts=st.booleans(),
    odd_costs=st.booleans(),
    admission=st.sampled_from(["admit_all", "drop_late", "relegate_late", "bounded_queue"]),
)


def run_both(shape: Shape, seed: int) -> tuple[Simulation, Watched]:
    """The case under the kernel and under the reference."""
    simulation = random_simulation(shape, seed)
    reference = Watched(simulation)
    simulation.run_until()
    reference.run(given_orders(simulation))
    return simulation, reference


def given_orders(simulation: Simulation) -> Any:
    """The orders that a run was given, each with the time when: what the reference is given too."""
    orders = simulation.state.orders[: simulation.state.clock[0].orders]
    return orders[orders.given == 1]


def test_kernel_and_reference_agree_in_every_corner_of_the_rules() -> None:
    met: Counter[str] = Counter()
    for seed, (topology, model, engine, chatty) in enumerate(CROWDED):
        names = {role: each[seed // 2 % len(each)] for role, each in COMMON.items()}
        shape = Shape(topology, model, engine, ENGINES[seed % 3], 34, chatty, True, seed % 2 == 0, names=names)
        for changing in (False, True)[: 1 + (seed % 3 < 2)]:
            simulation, reference = run_both(replace(shape, changing=changing), seed)
            assert differences(simulation, reference) == []
            met.update(reference.met)
    for seed, topology in enumerate(TOPOLOGIES * 4):
        simulation, reference = run_both(
            Shape(topology, DECODER_ONLY, requests=40, scarce=seed % 2 == 0, repeats=True), seed
        )
        assert differences(simulation, reference) == []
        met.update(reference.met)
    assert {corner: met[corner] for corner in CORNERS if met[corner] < 3} == {}


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_kernel_and_reference_agree_on_random_cases(shape: Shape, seed: int) -> None:
    assert differences(*run_both(shape, seed)) == []


@pytest.mark.parametrize(("role", "name"), EVERY_POLICY)
def test_kernel_and_reference_agree_under_every_policy(role: str, name: str) -> None:
    for seed, scarce in enumerate([False, True]):
        topology = {"decode": "E+P+D", "encode": "E+PD"}.get(role.split("_")[0], TOPOLOGIES[seed])
        shape = Shape(topology, requests=30, scarce=scarce, repeats=scarce, names={role: name})
        simulation, reference = run_both(shape, seed)
        assert differences(simulation, reference) == []


def agree_by_hand(
    rows: list[tuple[float, int, int, int]],
    cluster: Cluster,
    chunk_tokens: int = 1 << 30,
    step_tokens: int = 1 << 17,
    batching: str = "fcfs",
) -> Counter[str]:
    """The rows under both, with just enough KV cache for the largest; what the reference met."""
    chosen = configuration(cluster, chunking="k_images", batching=batching)
    simulation = Simulation(trace_of(rows), chosen, OBJECTIVES, image_context="keep")
    shrink_memory(simulation, spare_tokens=0)
    simulation.state.pools.max_chunk_tokens = chunk_tokens
    simulation.state.pools.max_step_tokens = simulation.state.instances.token_budget_left = step_tokens
    reference = Watched(simulation)
    simulation.run_until(check=True)
    reference.run()
    assert differences(simulation, reference) == []
    return reference.met


def test_kernel_and_reference_agree_when_a_preemption_makes_room_for_whoever_waits() -> None:
    rows = [(0.0, 0, 500, 100), (0.0, 0, 400, 100), (0.3, 0, 60, 5), (0.32, 0, 50, 5), (5.0, 0, 999, 1)]
    met = agree_by_hand(rows, monolith(), batching="sjf")
    assert met["decode preempted"] > 0
    assert met["waits for KV"] > 0


@pytest.mark.parametrize("batching", ["fcfs", "edf", "hrrn"])
def test_kernel_and_reference_agree_on_unfinished_prefills_of_equal_rank(batching: str) -> None:
    rows = [(0.0, 0, 200, 5)] * 4 + [(5.0, 0, 5000, 1)]  # the last makes the KV cache large
    met = agree_by_hand(rows, monolith(), chunk_tokens=60, step_tokens=100, batching=batching)
    assert met["several unfinished prefills"] > 0


@pytest.mark.parametrize("batching", ["sjf", "least_slack", "reverse_slack"])
def test_kernel_and_reference_agree_on_jobs_whose_rank_changes_as_their_siblings_end(batching: str) -> None:
    names, several = {"encode_batching": batching, "chunking": "k_images"}, 0
    for seed in range(10):
        simulation, reference = run_both(Shape(requests=40, names=names), seed)
        assert differences(simulation, reference) == []
        several += reference.met["several jobs"]
    assert several > 0


def test_kernel_and_reference_agree_when_a_decode_gives_way_to_an_older_prefill() -> None:
    met = agree_by_hand([(0.0, 0, 1000, 5), (0.001, 0, 20, 200)], monolith(), chunk_tokens=20)
    assert met["decode preempted beside an unfinished prefill"] > 0


def test_kernel_and_reference_agree_when_an_unfinished_prefill_gives_way_to_decodes() -> None:
    rows = [(0.0, 0, 60, 300), (0.001, 0, 900, 30), (5.0, 0, 990, 1)]  # the last: its memory
    assert agree_by_hand(rows, monolith(), chunk_tokens=20)["prefill preempted"] > 0


def test_kernel_and_reference_agree_when_a_decode_is_preempted_before_its_first_step() -> None:
    for tokens in range(60, 100, 2):  # one of them just fills the KV cache
        met = agree_by_hand([(0.0, 0, 500, 100), (0.1, 0, tokens, 9)], monolith(engine="vllm-0.7"))
        if met["decode preempted before its first step"] > 0:
            return
    pytest.fail("no decode was preempted before its first step")


def test_kernel_and_reference_agree_on_a_fixed_order_of_requests_that_change_while_they_wait() -> None:
    names = {"encode_batching": "tests.simulator.odd_policies:fewest_images_left", "chunking": "per_image"}
    for seed in range(10):
        assert differences(*run_both(Shape(requests=40, names=names), seed)) == []


def test_plain_python_runs_the_same_and_shows_policies_what_the_reference_shows_them() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-m", "tests.simulator.plain"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["compiled"] is False
    assert answer["unlike"] == []
    for seed, shape in enumerate(SHAPES):
        simulation = random_simulation(shape, seed)
        simulation.run_until()
        np.testing.assert_allclose(answer["finish_s"][seed], simulation.state.progress.finish_s, rtol=1e-12)


def test_kernel_and_reference_agree_when_the_fleet_is_changed_between_two_runs() -> None:
    cluster = Cluster(DECODER_ONLY, GPU, (Pool("E", 2, 1, "vllm", most=6), Pool("PD", 2, 2, most=4)))
    simulation = Simulation(
        trace_of([(0.1 * at, at % 3, 900, 30) for at in range(60)]), configuration(cluster), OBJECTIVES
    )
    reference = Watched(simulation)
    assert simulation.start(1, 5, seconds=0.7) == [8, 9]
    simulation.run_until(1.0)
    leaving, coming = simulation.move(1, 0, seconds=0.2)
    assert (len(leaving), len(coming)) == (1, 2)
    simulation.run_until(2.0)
    assert len(simulation.drain(1, 2)) == 2
    simulation.run_until(2.05)
    assert len(simulation.start(1, 1)) == 1  # called back
    assert simulation.move(0, 1, seconds=0.3, lots=3)[0] != []
    simulation.run_until(check=True)
    reference.run(given_orders(simulation))
    assert differences(simulation, reference) == []
    assert reference.met["called back"] == 1
    assert reference.met["role switch"] == 2
