"""Every registered policy conforms, and each check of the kit catches a policy that breaks it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numba
import numpy as np
import pytest

from slackwise.errors import CheckError
from slackwise.policies import (
    Policy,
    Range,
    batching_policy,
    chunking_policy,
    policies,
    provisioning_policy,
    routing_policy,
)
from slackwise.policies.declare import Instance, Params, Request
from slackwise.policies.lookup import DRAWN, STATIC, Lookup, monotone
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView
from slackwise.testing.policies import check_policy, settings
from slackwise.testing.records import random_cases

jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="plain and compiled are one with NUMBA_DISABLE_JIT=1")


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.name)
def test_every_registered_policy_conforms(policy: Policy) -> None:
    check_policy(policy)


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.name)
def test_the_settings_tried_hold_the_defaults_and_both_ends_of_every_knob(policy: Policy) -> None:
    tried = np.array(list(settings(policy)))
    assert tried[0].tolist() == policy.params().tolist()
    for column, knob in enumerate(policy.knobs.values()):
        assert {knob.encode("", end) for end in knob.ends()} <= set(tried[:, column])


@batching_policy(source="test")
def without_words(request: Request, instance: Instance, now: float, params: Params) -> float:
    return 0.0


@batching_policy(source="test")
def unknown_feature(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Reads what no server knows."""
    return float(request.output_tokens)


@batching_policy(source="test")
def not_a_number(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Divides nothing by nothing."""
    share: float = np.float64(request.images_left) / np.float64(request.images)
    return share


@batching_policy(source="test", weight=Range(0.0, 1.0, default=0.5))
def breaks_at_an_end(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Infinite at the lower end of its knob."""
    key: float = (request.arrival_s + 1.0) / np.float64(params[0])
    return key


@routing_policy(source="test")
def tosses_a_coin(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Draws from a hidden state."""
    return random.random()


@batching_policy(source="test")
def writes(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Changes the request it ranks."""
    request.tokens_per_image = 7
    return float(request.arrival_s)


@batching_policy(source="test")
def wraps_around(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Multiplies beyond 64 bits, where Python goes on and machine code wraps."""
    return float((int(request.text_tokens) + 1) * 0x7FFFFFFFFFFFFFF * 1024)


@batching_policy(source="test", order="fixed")
def slack_of_the_late(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Demotes the late, and claims that its order is fixed."""
    return float(request.deadline_s) + (1e9 if now > request.deadline_s else 0.0)


@batching_policy(source="test", order="fixed")
def asks_the_instance(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Turns its order with the load, and claims that it is fixed."""
    return float(request.arrival_s) if instance.waiting > 100 else -float(request.arrival_s)


@chunking_policy(source="test")
def takes_too_many(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Four images, whether there are or not."""
    return 4.0


@chunking_policy(source="test")
def takes_half_an_image(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Cuts an image."""
    return 0.5 + request.images_left / 2 if request.images_left > 1 else 1.0


@routing_policy(source="test")
def nowhere_to_go(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Refuses instance 0, the only one of a pool of one."""
    return math.inf if instance.index == 0 else 1.0


@routing_policy(source="test", lookup=Lookup(STATIC))
def static_in_name_only(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Reads the request."""
    return float(instance.waiting) + float(request.text_tokens)


@routing_policy(source="test", lookup=monotone(rises=("waiting",)))
def falls_with_what_rises(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Likes the longest queue."""
    return -float(instance.waiting)


@routing_policy(source="test", lookup=Lookup(DRAWN, drawn=2))
def looks_elsewhere(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Takes the first, drawn or not."""
    return float(instance.index)


@provisioning_policy(source="test")
def too_few_targets(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """One target, however many pools."""
    return Plan((1,))


@provisioning_policy(source="test")
def forgets_itself(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """Another answer each time."""
    CALLS.append(now)
    return Plan(tuple(len(CALLS) for _ in pools))


@provisioning_policy(source="test")
def remembers_objects(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """A memory that is no data."""
    return Plan(tuple(1 for _ in pools), (pools[0],))


@provisioning_policy(source="test")
def remembers_lists(pools: Sequence[PoolView], now: float, params: Params, memory: Memory) -> Plan:
    """A memory that can be changed behind one's back."""
    return Plan(tuple(1 for _ in pools), ([now],))


CALLS: list[float] = []


BREACHES = [
    (without_words, "needs a source and a docstring"),
    (breaks_at_an_end, r"with \{'weight': 0.0\}: the value of case 0 is inf"),
    (not_a_number, "is nan"),
    (tosses_a_coin, "another value the second time"),
    (writes, "writes to its input"),
    (slack_of_the_late, "declared fixed, yet requests"),
    (asks_the_instance, "declared fixed, yet requests"),
    (takes_too_many, r"takes 4.0 of [123] images"),
    (takes_half_an_image, "whole numbers from 1"),
    (nowhere_to_go, "all 1 instances of a pool cost"),
    (static_in_name_only, "declared static, yet"),
    (falls_with_what_rises, "declared monotone, yet"),
    (looks_elsewhere, "is the cheapest, not among"),
    (too_few_targets, r"answers Plan\(targets=\(1,\).* for pools \['E', 'PD'\]"),
    (forgets_itself, "the same question gets another answer the second time"),
    (remembers_objects, "its memory cannot be written as JSON"),
    (remembers_lists, "comes back from JSON as"),
    pytest.param(unknown_feature, "request has no feature 'output_tokens'", marks=jit),
    pytest.param(wraps_around, "plain Python gives", marks=jit),
]


@pytest.mark.parametrize(("policy", "words"), BREACHES)
def test_a_breach_is_caught_and_named(policy: Policy, words: str) -> None:
    with pytest.raises(CheckError, match=words):
        check_policy(policy)


def test_random_cases_are_valid_and_reproducible() -> None:
    cases, again = random_cases(500, seed=4), random_cases(500, seed=4)
    requests, instances = cases.requests, cases.instances
    assert requests.tobytes() == again.requests.tobytes()
    assert (cases.nows >= requests.arrival_s).all()
    assert (requests.deadline_s > requests.arrival_s).all()
    assert ((requests.images == 0) == (requests.modality == 0)).all()
    assert ((requests.images_left >= (requests.images > 0)) & (requests.images_left <= requests.images)).all()
    assert (requests.job_images <= requests.images_left).all()
    assert (requests.prompt_tokens_left <= requests.prompt_tokens).all()
    assert (instances.index < instances.pool_size).all()
    assert (instances.in_service_tiles <= instances.pending_tiles).all()
    assert set(requests.modality) == {0, 1, 2}
