"""When a request has to have its first token: what the client said, else the objective of its class.

In order: `vllm_xargs` (`SamplingParams.extra_args` in Python) with `slo_ms`, milliseconds after arrival, or
`deadline_s`, seconds since 1970; the `priority` field as milliseconds after arrival, if it is above 0; the objective of
the request's class. What cannot be understood is counted, and the next in order counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackwise.errors import InputError

SLO_MS, DEADLINE_S = "slo_ms", "deadline_s"
"""Keys of `vllm_xargs`."""

LONGEST_S = 1e7
"""A longer objective (four months) is taken for a mistake."""

REQUEST, PRIORITY, CLASS = "request", "priority", "class"
"""Where an objective came from."""


@dataclass(frozen=True)
class ClassObjectives:
    """TTFT objectives in seconds by class; `models` those of single LoRA adapters by name."""

    text_ttft_s: float
    image_ttft_s: float
    models: Mapping[str, tuple[float, float]]
    factor: float = 0.0  # a request gets at least so many times its own work; 0: all of a class get the same

    def ttft_s(self, images: int, model: str | None, work_s: float) -> float:
        """The objective of a request with so many images and so many predicted seconds of work."""
        text_s, image_s = self.models.get(model or "", (self.text_ttft_s, self.image_ttft_s))
        return max(image_s if images > 0 else text_s, self.factor * work_s)

    @property
    def tightest_s(self) -> float:
        """The tightest of all."""
        return min(self.text_ttft_s, self.image_ttft_s, *(min(each) for each in self.models.values()), math.inf)


@dataclass(frozen=True)
class Objective:
    """Seconds from arrival to the deadline, where they came from, and what the request said that makes no sense."""

    seconds: float
    source: str  # REQUEST, PRIORITY or CLASS
    complaint: str = ""


def class_objectives(bundle: Mapping[str, Any], overrides: Mapping[str, Any]) -> ClassObjectives:
    """The objectives of a bundle, with those of the settings over them. Raises InputError if neither has them."""
    both = {**bundle, **{key: value for key, value in overrides.items() if key != "models"}}
    text_s, image_s = (_given(both, name) for name in ("text_ttft_s", "image_ttft_s"))
    models = {
        name: (float(each.get("text_ttft_s", text_s)), float(each.get("image_ttft_s", image_s)))
        for name, each in overrides.get("models", {}).items()
    }
    return ClassObjectives(text_s, image_s, models, float(both["factor"]) if both.get("scale") == "work" else 0.0)


def objective(
    arrival_s: float,
    extra: Mapping[str, Any] | None,
    priority: int,
    images: int,
    work_s: float,
    model: str | None,
    of: ClassObjectives,
) -> Objective:
    """The objective of a request that came at `arrival_s` (seconds since 1970), with `work_s` seconds of work to do."""
    complaint = ""
    if extra and (SLO_MS in extra or DEADLINE_S in extra):
        seconds, complaint = _said(arrival_s, extra)
        if not complaint:
            return Objective(seconds, REQUEST)
    if priority > 0:
        return Objective(priority / 1e3, PRIORITY, complaint)
    return Objective(of.ttft_s(images, model, work_s), CLASS, complaint)


def _said(arrival_s: float, extra: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds after arrival that `vllm_xargs` allow, and what is wrong with them ("" if nothing is)."""
    key = SLO_MS if SLO_MS in extra else DEADLINE_S
    value = extra[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0, f"{key} = {value!r:.40} is no number"
    seconds = value / 1e3 if key == SLO_MS else value - arrival_s
    if not 0 < seconds <= LONGEST_S:
        what = "is not above 0" if key == SLO_MS and seconds <= 0 else "is in the past"
        return 0.0, f"{key} = {value!r:.40} {what if seconds <= 0 else 'is more than four months'}"
    return seconds, ""


def _given(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"the bundle has no objective {name}: give it in slackwise.objectives, in seconds")
    return float(value)
