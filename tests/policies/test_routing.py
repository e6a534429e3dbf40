"""Routing policies cost what the catalogue says."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.policies import find
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.hashing import among_drawn
from slackwise.policies.knobs import Value
from slackwise.streams import stream
from slackwise.testing.records import random_pool

Make = Callable[..., Any]
CHI_SQUARE_P = 1e-4
"""A fixed seed either passes for ever or fails for ever; a true generator fails one seed in ten thousand."""


def cost(name: str, request: Any, instance: Any, now: float = 0.0, **knobs: Value) -> float:
    policy = find("routing", name)
    return float(policy.compiled(request, instance, now, policy.params(**knobs)))


def costs(name: str, request: Any, pool: Any, **knobs: Value) -> list[float]:
    return [cost(name, request, instance, 0.0, **knobs) for instance in pool]


def test_round_robin_sends_decision_k_to_instance_k_mod_n(request_of: Make) -> None:
    pool = random_pool(5, stream(0, "pool"))
    chosen = [int(np.argmin(costs("round_robin", request_of(sequence=k), pool))) for k in range(12)]
    assert chosen == [k % 5 for k in range(12)]


def chi_square(counts: Any) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def chi_square_limit(degrees: int) -> float:
    """Wilson and Hilferty's approximation of the quantile 1 - CHI_SQUARE_P."""
    score = 3.719
    return degrees * (1 - 2 / (9 * degrees) + score * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("size", [2, 3, 7, 48])
def test_random_chooses_every_instance_equally_often(size: int, request_of: Make) -> None:
    generator = stream(1, "random")
    pool = random_pool(size, generator)
    counts = np.zeros(size)
    for draw in generator.random(40 * size):
        counts[np.argmin(costs("random", request_of(draw=draw), pool))] += 1
    assert chi_square(counts) < chi_square_limit(size - 1)


@pytest.mark.parametrize(("size", "count"), [(4, 2), (5, 3), (6, 4)])
def test_every_set_of_distinct_instances_is_drawn_equally_often(size: int, count: int) -> None:
    sets = dict.fromkeys(combinations(range(size), count), 0)
    draws = stream(2, "sets").random(400 * len(sets))
    for draw in draws.tolist():
        sets[tuple(index for index in range(size) if among_drawn(draw, index, size, count))] += 1
    assert chi_square(np.array(list(sets.values()))) < chi_square_limit(len(sets) - 1)


@given(draw=st.floats(0.0, 1.0, exclude_max=True), size=st.integers(1, 100), count=st.integers(2, 4))
def test_the_number_drawn_is_exact_for_every_pool(draw: float, size: int, count: int) -> None:
    assert sum(among_drawn(draw, index, size, count) for index in range(size)) == min(count, size)


def test_power_of_two_sends_to_the_less_loaded_of_the_two_drawn(request_of: Make) -> None:
    generator = stream(3, "pool")
    pool = random_pool(16, generator)
    for draw in generator.random(50):
        found = costs("power_of_two", request_of(draw=draw), pool)
        drawn = [index for index, each in enumerate(found) if each < math.inf]
        assert len(drawn) == 2
        assert [found[index] for index in drawn] == [float(pool.waiting[i] + pool.running[i]) for i in drawn]


@pytest.mark.parametrize(("metric", "value"), [("requests", 5.0), ("tokens", 300.0), ("seconds", 9.0)])
def test_power_of_two_counts_as_its_metric_says(metric: str, value: float, request_of: Make, instance_of: Make) -> None:
    load = {"waiting": 2, "running": 3, "pending_image_tokens": 100, "pending_text_tokens": 200}
    instance = instance_of(**load, backlog_s=7.0, busy_since_s=0.0, busy_until_s=3.0)
    assert cost("power_of_two", request_of(), instance, now=1.0, metric=metric) == value


def test_least_requests_counts_waiting_and_running(request_of: Make, instance_of: Make) -> None:
    assert cost("least_requests", request_of(), instance_of(waiting=3, running=4)) == 7.0


@pytest.mark.parametrize(("running", "expected"), [("whole", 1000.0), ("remaining", 850.0)])
def test_least_image_tokens_counts_the_running_step_whole_or_what_remains(
    running: str, expected: float, request_of: Make, instance_of: Make
) -> None:
    busy = {"busy_since_s": 10.0, "busy_until_s": 14.0}
    instance = instance_of(pending_image_tokens=1000, in_service_image_tokens=200, **busy)
    assert cost("least_image_tokens", request_of(), instance, now=13.0, running=running) == expected


def test_a_step_that_is_over_counts_nothing_of_what_was_in_service(request_of: Make, instance_of: Make) -> None:
    instance = instance_of(pending_image_tokens=1000, in_service_image_tokens=200, busy_since_s=1.0, busy_until_s=2.0)
    assert cost("least_image_tokens", request_of(), instance, now=5.0, running="remaining") == 800.0


def test_least_text_tokens_charges_an_896_image_as_set(request_of: Make, instance_of: Make) -> None:
    instance = instance_of(pending_text_tokens=500, pending_image_tokens=2 * 6404)
    assert cost("least_text_tokens", request_of(), instance) == 500.0
    assert cost("least_text_tokens", request_of(), instance, image_charge_tokens=49.6) == pytest.approx(599.2)


def test_least_total_tokens_adds_text_and_image(request_of: Make, instance_of: Make) -> None:
    load = {"pending_text_tokens": 500, "pending_image_tokens": 700, "pending_prompt_tokens": 900}
    in_service = {"in_service_prompt_tokens": 400, "in_service_image_tokens": 100}
    busy = {"busy_since_s": 0.0, "busy_until_s": 2.0}
    llm = instance_of(stages=PREFILL | DECODE, **load, **in_service, **busy)
    encoder = instance_of(stages=ENCODE, **load, **in_service, **busy)
    assert cost("least_total_tokens", request_of(), llm, now=1.0) == 1200.0
    assert cost("least_total_tokens", request_of(), llm, now=1.0, running="remaining") == 700.0
    assert cost("least_total_tokens", request_of(), encoder, now=1.0, running="remaining") == 650.0


@pytest.mark.parametrize("name", ["least_image_tokens", "least_text_tokens", "least_total_tokens"])
def test_as_many_tokens_leave_it_to_the_fewest_requests(name: str, request_of: Make, instance_of: Make) -> None:
    idle, busy = instance_of(), instance_of(waiting=3, running=40)
    least = instance_of(pending_image_tokens=1, pending_text_tokens=1)
    assert cost(name, request_of(), idle) < cost(name, request_of(), instance_of(running=1))
    assert cost(name, request_of(), instance_of(running=900)) < cost(name, request_of(), least)
    assert cost(name, request_of(), busy) == 43 / 44


def test_least_padded_tiles_counts_its_own_tiles_and_the_speed_of_the_instance(
    request_of: Make, instance_of: Make
) -> None:
    instance = instance_of(
        pending_tiles=10, in_service_tiles=4, encode_s_per_tile=0.5, busy_since_s=0.0, busy_until_s=4.0
    )
    job = request_of(job_images=1, job_tiles=5)
    assert cost("least_padded_tiles", job, instance, now=1.0) == (10 + 5 - 1) * 0.5
    assert cost("least_padded_tiles", job, instance, now=1.0, running="whole") == (10 + 5) * 0.5


def test_predicted_completion_of_an_encode_job_adds_its_tiles(request_of: Make, instance_of: Make) -> None:
    speeds = {"encode_s_per_tile": 0.1, "prefill_s_per_token": 0.001}
    instance = instance_of(stages=ENCODE, backlog_s=2.0, busy_since_s=0.0, busy_until_s=3.0, **speeds)
    job = request_of(job_images=2, job_tiles=10, images_left=5, tiles_per_image=5, prompt_tokens=1000)
    assert cost("predicted_completion", job, instance, now=1.0) == pytest.approx(2.0 + 2.0 + 1.0)


@pytest.mark.parametrize(
    ("stages", "own_s"),
    [(PREFILL | DECODE, 1.0), (ENCODE | PREFILL | DECODE, 1.0 + 2.5), (DECODE, 0.0)],
)
def test_predicted_completion_of_a_request_adds_what_the_instance_will_do(
    stages: int, own_s: float, request_of: Make, instance_of: Make
) -> None:
    instance = instance_of(stages=stages, backlog_s=2.0, encode_s_per_tile=0.1, prefill_s_per_token=0.001)
    whole = request_of(images_left=5, tiles_per_image=5, prompt_tokens=1000)
    assert cost("predicted_completion", whole, instance) == pytest.approx(2.0 + own_s)


def test_cache_affinity_leaves_out_what_the_instance_has_kept(request_of: Make, instance_of: Make) -> None:
    speeds = {"encode_s_per_tile": 0.1, "prefill_s_per_token": 0.001}
    job = request_of(job_images=2, job_tiles=10, job_image_tokens=512)
    encoder = instance_of(stages=ENCODE, backlog_s=2.0, cached_image_tokens=512, **speeds)
    assert cost("cache_affinity", job, encoder) == pytest.approx(2.0)
    assert cost("cache_affinity", job, encoder, weight=0.0) == pytest.approx(cost("predicted_completion", job, encoder))
    whole = request_of(images_left=5, tiles_per_image=5, prompt_tokens=1000)
    llm = instance_of(stages=PREFILL, backlog_s=2.0, cached_prefix_tokens=800, **speeds)
    assert cost("cache_affinity", whole, llm) == pytest.approx(2.0 + 1.0 - 0.8)
    assert cost("cache_affinity", whole, llm, weight=2.0) == pytest.approx(2.0 + 1.0 - 1.6)
    monolith = instance_of(stages=ENCODE | PREFILL | DECODE, backlog_s=2.0, cached_prefix_tokens=800, **speeds)
    assert cost("cache_affinity", whole, monolith) == pytest.approx(2.0 + 3.5 - 0.8 * 3.5)


def test_busiest_instance_is_the_opposite_of_the_least_backlog(request_of: Make, instance_of: Make) -> None:
    assert cost("busiest_instance", request_of(), instance_of(backlog_s=2.0, busy_until_s=3.0), now=1.0) == -4.0


def test_weighted_score_is_least_requests_unless_it_is_told_more(request_of: Make, instance_of: Make) -> None:
    loads = {"waiting": 3, "running": 2, "backlog_s": 1.5, "pending_image_tokens": 4000, "pending_prompt_tokens": 2000}
    instance = instance_of(**loads, kv_used_tokens=250, kv_capacity_tokens=1000)
    assert cost("weighted_score", request_of(), instance) == 5.0
    weights = {"requests": 0.5, "backlog": 2.0, "image_tokens": 0.25, "prompt_tokens": 3.0, "kv": 4.0}
    assert cost("weighted_score", request_of(), instance, **weights) == 2.5 + 3.0 + 1.0 + 6.0 + 10.0
