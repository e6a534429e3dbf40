"""Objectives come from the request, else its priority, else its class; nonsense is named and passed over."""

from __future__ import annotations

import math
from typing import Any

import pytest

from slackwise.adapters.vllm.deadlines import ClassObjectives, class_objectives, objective
from slackwise.errors import InputError

OF = ClassObjectives(1.0, 4.0, {"fast": (0.1, 0.2)})


def said(extra: dict[str, Any] | None, priority: int = 0, images: int = 0, model: str | None = None) -> tuple[Any, ...]:
    found = objective(1000.0, extra, priority, images, 0.5, model, OF)
    return found.seconds, found.source, bool(found.complaint)


def test_what_the_request_says_counts_first_then_its_priority_then_its_class() -> None:
    assert said({"slo_ms": 250}, priority=70) == (0.25, "request", False)
    assert said({"deadline_s": 1003.0}) == (3.0, "request", False)
    assert said({"other": 1}, priority=70) == (0.07, "priority", False)
    assert said(None) == (1.0, "class", False)
    assert said(None, images=2) == (4.0, "class", False)
    assert said(None, images=2, model="fast") == (0.2, "class", False)


@pytest.mark.parametrize(
    "extra",
    [
        {"slo_ms": math.nan},
        {"slo_ms": math.inf},
        {"slo_ms": -5},
        {"slo_ms": 0},
        {"slo_ms": "soon"},
        {"slo_ms": True},
        {"slo_ms": [1]},
        {"deadline_s": 999.0},
        {"deadline_s": "tomorrow"},
        {"slo_ms": 1e300},
    ],
)
def test_nonsense_is_named_and_passed_over(extra: dict[str, Any]) -> None:
    assert said(extra) == (1.0, "class", True)
    assert said(extra, priority=70) == (0.07, "priority", True)
    found = objective(1000.0, extra, 0, 0, 0.5, None, OF).complaint
    assert "\n" not in found
    assert len(found) < 100


def test_objectives_of_the_settings_go_over_those_of_the_bundle() -> None:
    found = class_objectives({"text_ttft_s": 1.0, "image_ttft_s": 2.0}, {"text_ttft_s": 0.5, "models": {"a": {}}})
    assert (found.text_ttft_s, found.image_ttft_s, found.models, found.tightest_s) == (0.5, 2.0, {"a": (0.5, 2.0)}, 0.5)


def test_objectives_that_grow_with_the_work_do() -> None:
    found = class_objectives({"text_ttft_s": 1.0, "image_ttft_s": 2.0, "scale": "work", "factor": 5.0}, {})
    assert [found.ttft_s(0, None, work_s) for work_s in (0.1, 0.4)] == [1.0, 2.0]


def test_a_bundle_without_objectives_is_refused() -> None:
    with pytest.raises(InputError, match="no objective text_ttft_s"):
        class_objectives({}, {})
