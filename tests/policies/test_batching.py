"""Batching policies rank as the catalogue says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slackwise.policies import find
from slackwise.policies.features import IMAGE, TEXT, VIDEO
from slackwise.policies.knobs import Value
from slackwise.testing.records import random_cases

Make = Callable[..., Any]


def key(name: str, request: Any, instance: Any, now: float = 0.0, **knobs: Value) -> float:
    policy = find("batching", name)
    return float(policy.compiled(request, instance, now, policy.params(**knobs)))


@pytest.fixture
def typical(request_of: Make) -> Any:
    estimates = {"encode_estimate_s": 1.0, "transfer_estimate_s": 0.5, "prefill_estimate_s": 2.5, "estimate_sigma": 0.5}
    return request_of(arrival_s=100.0, deadline_s=110.0, modality=IMAGE, images=2, **estimates)


@pytest.mark.parametrize(
    ("name", "knobs", "expected"),
    [
        ("fcfs", {}, 100.0),
        ("edf", {}, 110.0),
        ("sjf", {}, 4.0),
        ("sjf", {"quantile": 0.95}, 4.0 * math.exp(1.6448536269514722 * 0.5)),
        ("least_slack", {}, 110.0 - 4.0),
        ("least_slack", {"aging": 0.5}, 110.0 - 4.0 + 50.0),
        ("least_slack", {"quantile": 0.95}, 110.0 - 4.0 * math.exp(1.6448536269514722 * 0.5)),
        ("reverse_slack", {}, -106.0),
        ("reverse_slack", {"aging": 0.5}, -156.0),
        ("niyama_hybrid", {}, 114.0),
        ("niyama_hybrid", {"alpha": 0.0}, 110.0),
        ("niyama_hybrid", {"alpha": 8.0, "relegate": "no"}, 142.0),
        ("hrrn", {}, -(3.0 + 4.0) / 4.0),
        ("modality_class_aging", {}, 1.0 - 0.3),
        ("modality_class_aging", {"alpha": 4.0}, 1.0 - 1.2),
    ],
)
def test_the_key_follows_the_formula(
    name: str, knobs: dict[str, Value], expected: float, typical: Any, instance_of: Make
) -> None:
    assert key(name, typical, instance_of(waiting=32), now=103.0, **knobs) == pytest.approx(expected, rel=1e-12)


def test_least_slack_orders_as_the_slack_with_aging_does() -> None:
    policy, cases, now, aging = find("batching", "least_slack"), random_cases(200, seed=1), 700_000.0, 0.7
    requests = cases.requests
    service_s = requests.encode_estimate_s + requests.transfer_estimate_s + requests.prefill_estimate_s
    slack_s = requests.deadline_s - now - service_s - aging * (now - requests.arrival_s)
    keys = [policy.compiled(each, cases.instances[0], now, policy.params(aging=aging)) for each in requests]
    assert np.argsort(keys).tolist() == np.argsort(slack_s).tolist()


@pytest.mark.parametrize(("name", "knobs"), [("least_slack", {"late": "demote"}), ("niyama_hybrid", {})])
def test_a_request_that_cannot_make_it_goes_behind_all_others(
    name: str, knobs: dict[str, Value], typical: Any, request_of: Make, instance_of: Make
) -> None:
    patient, instance = request_of(arrival_s=105.0, deadline_s=9999.0), instance_of()
    assert key(name, typical, instance, now=105.9, **knobs) < key(name, patient, instance, now=105.9, **knobs)
    assert key(name, typical, instance, now=106.1, **knobs) > key(name, patient, instance, now=106.1, **knobs)


def test_late_requests_keep_their_place_unless_told_otherwise(typical: Any, instance_of: Make) -> None:
    early, late = (key("least_slack", typical, instance_of(), now=now) for now in (101.0, 999.0))
    assert early == late


def test_hrrn_turns_to_arrival_order_in_a_long_queue(typical: Any, instance_of: Make) -> None:
    assert key("hrrn", typical, instance_of(waiting=128), now=103.0) < 0
    assert key("hrrn", typical, instance_of(waiting=129), now=103.0) == 100.0


def test_work_of_no_predicted_length_has_a_ratio_too(request_of: Make, instance_of: Make) -> None:
    assert math.isfinite(key("hrrn", request_of(), instance_of(), now=5.0))


def test_text_goes_before_images_and_small_before_large(request_of: Make, instance_of: Make) -> None:
    long_text = request_of(modality=TEXT, text_tokens=30_000)
    images = [
        request_of(modality=IMAGE, text_tokens=10, image_tokens=tokens, prompt_tokens=10) for tokens in (1601, 6404)
    ]
    keys = [key("modality_size_priority", each, instance_of()) for each in (long_text, *images)]
    assert keys == sorted(keys)
    assert len(set(keys)) == 3


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_images_come_first_in_their_share_of_the_steps(share: float, request_of: Make, instance_of: Make) -> None:
    text, image = request_of(modality=TEXT, text_tokens=5), request_of(modality=IMAGE, image_tokens=6404)

    def images_first(steps: int) -> bool:
        instance = instance_of(steps=steps)
        text_key, image_key = (
            key("modality_size_priority", each, instance, image_share=share) for each in (text, image)
        )
        return image_key < text_key

    assert sum(images_first(steps) for steps in range(1000)) == pytest.approx(1000 * share, abs=1)


@pytest.mark.parametrize(
    ("classes", "expected"), [(2, [0.0, 1.0, 1.0, 1.0]), (3, [0.0, 1.0, 1.0, 2.0]), (4, [0.0, 1.0, 2.0, 3.0])]
)
def test_classes_rise_with_predicted_cost(
    classes: int, expected: list[float], request_of: Make, instance_of: Make
) -> None:
    kinds = [(TEXT, 0), (IMAGE, 1), (IMAGE, 4), (VIDEO, 8)]
    requests = [request_of(modality=modality, images=images, deadline_s=1.0) for modality, images in kinds]
    knobs: dict[str, Value] = {"classes": classes, "alpha": 0.0}
    assert [key("modality_class_aging", each, instance_of(), 0.0, **knobs) for each in requests] == expected


def test_a_wait_beyond_the_longest_goes_before_every_class(request_of: Make, instance_of: Make) -> None:
    video = request_of(arrival_s=0.0, deadline_s=10.0, modality=VIDEO, images=8)
    text = request_of(arrival_s=20.0, deadline_s=21.0, modality=TEXT)
    knobs: dict[str, Value] = {"alpha": 0.0, "longest_wait": 2.0}
    keys_at = {
        now: [key("modality_class_aging", each, instance_of(), now=now, **knobs) for each in (video, text)]
        for now in (20.0, 20.1)
    }
    assert keys_at[20.0][0] > keys_at[20.0][1]
    assert keys_at[20.1][0] < keys_at[20.1][1]


@pytest.mark.parametrize(
    ("name", "knobs", "fixed"),
    [
        ("fcfs", {}, True),
        ("edf", {}, True),
        ("sjf", {"quantile": 0.9}, True),
        ("least_slack", {"aging": 2.0, "quantile": 0.9}, True),
        ("least_slack", {"late": "demote"}, False),
        ("reverse_slack", {}, True),
        ("reverse_slack", {"late": "demote"}, False),
        ("niyama_hybrid", {}, False),
        ("niyama_hybrid", {"relegate": "no"}, True),
        ("hrrn", {}, False),
        ("modality_size_priority", {}, True),
        ("modality_size_priority", {"image_share": 0.1}, False),
        ("modality_class_aging", {}, False),
        ("modality_class_aging", {"alpha": 0.0}, True),
        ("modality_class_aging", {"alpha": 0.0, "longest_wait": 1.0}, False),
    ],
)
def test_the_order_is_fixed_only_where_time_and_instance_cannot_change_it(
    name: str, knobs: dict[str, Value], fixed: bool
) -> None:
    policy = find("batching", name)
    assert policy.fixed_order(policy.params(**knobs)) is fixed
