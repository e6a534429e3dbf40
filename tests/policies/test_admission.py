"""Admission policies say what the catalogue says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slackwise.policies import find
from slackwise.policies.declare import ADMIT, DEMOTE, DROP
from slackwise.policies.knobs import Value

Make = Callable[..., Any]


def said(name: str, knobs: dict[str, Value], request: Any, instance: Any, now: float = 0.0) -> float:
    """The answer of a policy."""
    policy = find("admission", name)
    return float(policy.compiled(request, instance, now, policy.params(**knobs)))


def test_admit_all_serves_whoever_comes_however_late(request_of: Make, instance_of: Make) -> None:
    assert said("admit_all", {}, request_of(deadline_s=1.0), instance_of(waiting=9999), now=1e6) == ADMIT


@pytest.mark.parametrize(("name", "answer"), [("drop_late", DROP), ("relegate_late", DEMOTE)])
@pytest.mark.parametrize(
    ("knobs", "now", "late"),
    [
        ({}, 12.5, False),  # 12.5 s + 1.5 s of work = the deadline of 14 s
        ({}, 12.51, True),
        ({"grace": 0.5}, 14.5, False),  # half the objective of 4 s more
        ({"grace": 0.5}, 14.51, True),
        ({"grace": -0.5}, 10.5, False),
        ({"grace": -0.5}, 10.51, True),
        ({"quantile": 0.95}, 12.5, True),  # uncertain predictions, the long ones believed
    ],
)
def test_a_request_is_late_when_its_work_left_cannot_end_by_its_deadline(
    request_of: Make, instance_of: Make, name: str, answer: float, knobs: dict[str, Value], now: float, late: bool
) -> None:
    work = {"encode_estimate_s": 1.0, "transfer_estimate_s": 0.25, "prefill_estimate_s": 0.25, "estimate_sigma": 0.5}
    request = request_of(arrival_s=10.0, deadline_s=14.0, **work)
    assert said(name, knobs, request, instance_of(backlog_s=99.0), now) == (answer if late else ADMIT)


@pytest.mark.parametrize(
    ("knobs", "instance", "answer"),
    [
        ({"waiting": 8}, {"waiting": 7}, ADMIT),
        ({"waiting": 8}, {"waiting": 8}, DROP),
        ({}, {"waiting": 255, "backlog_s": 1e9}, ADMIT),
        ({"waiting": None}, {"waiting": 100_000}, ADMIT),
        ({"waiting": None, "backlog": 2.0}, {"waiting": 100_000, "backlog_s": 1.99}, ADMIT),
        ({"waiting": None, "backlog": 2.0}, {"backlog_s": 2.0}, DROP),
    ],
)
def test_a_bounded_queue_turns_away_at_its_limits_and_keeps_who_is_queued(
    request_of: Make, instance_of: Make, knobs: dict[str, Value], instance: dict[str, float], answer: float
) -> None:
    assert said("bounded_queue", knobs, request_of(queued_s=-1.0), instance_of(**instance)) == answer
    assert said("bounded_queue", knobs, request_of(queued_s=0.0), instance_of(**instance)) == ADMIT
