"""Golden decisions: a few recorded calls that a loader replays: what was tuned is what is deployed, bit for bit."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from slackwise.errors import CheckError, InputError, unknown
from slackwise.policies.bundle import ROLES, Policies
from slackwise.policies.declare import PROVISIONING
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.policies.golden_plan import GoldenPlan, replay_plan
from slackwise.policies.keys import checked_keys

KEYS = ("role", "request", "instance", "now_s", "value")
DECIDED = tuple(role for role, family in ROLES.items() if family != PROVISIONING)


@dataclass(frozen=True)
class Golden:
    """One decision: features by name (those at 0 left out), the time, and the value that the policy gave."""

    role: str
    request: dict[str, float]
    instance: dict[str, float]
    now_s: float
    value: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; JSON has no infinity, so +inf is written "inf"."""
        return asdict(self) | {"value": self.value if math.isfinite(self.value) else str(self.value)}

    @classmethod
    def from_dict(cls, document: Any) -> Golden:
        """From the JSON form. Raises InputError for an unknown key, role or feature, or what is no number."""
        checked_keys("golden decision", document, KEYS, required=KEYS)
        role = document["role"]
        if role not in DECIDED:
            raise unknown("role of a golden decision", str(role), DECIDED)
        request = _features("request", document["request"], REQUEST)
        instance = _features("instance", document["instance"], INSTANCE)
        return cls(role, request, instance, _number("now_s", document["now_s"]), _number("value", document["value"]))


def record_golden(policies: Policies, calls: Iterable[tuple[Any, Any, float]]) -> tuple[Golden, ...]:
    """The decision of every role on each of `calls`: (REQUEST record, INSTANCE record, now in seconds).

    Chunking is asked only about requests with images left.
    """
    recorded = []
    for request, instance, now in calls:
        asked = [role for role in DECIDED if role != "chunking" or request.images_left > 0]
        for role in asked:
            call = Golden(role, _written(request), _written(instance), float(now), math.nan)
            recorded.append(replace(call, value=decide(policies, call)))
    return tuple(recorded)


def decide(policies: Policies, golden: Golden) -> float:
    """What the policy of `golden.role` says to the features of `golden`."""
    request, instance = _record(golden.request, REQUEST), _record(golden.instance, INSTANCE)
    return float(policies.policy(golden.role).compiled(request, instance, golden.now_s, policies.params(golden.role)))


def golden_from(document: Any) -> Golden | GoldenPlan:
    """A golden decision of any role from its JSON form. Raises InputError as `Golden.from_dict` does."""
    plan = isinstance(document, dict) and document.get("role") == PROVISIONING
    return GoldenPlan.from_dict(document) if plan else Golden.from_dict(document)


def replay_golden(policies: Policies, decisions: Iterable[Golden | GoldenPlan]) -> None:
    """Raise CheckError if any decision comes out differently, in any bit, from the one recorded."""
    for number, golden in enumerate(decisions):
        if isinstance(golden, GoldenPlan):
            replay_plan(policies, number, golden)
            continue
        value = decide(policies, golden)
        if value.hex() != golden.value.hex():
            name = policies.policy(golden.role).name
            what = f"golden decision {number}: {golden.role} policy '{name}' gives {value!r}, recorded {golden.value!r}"
            raise CheckError(f"{what}; the policies here are not those that were tuned")


def _record(values: dict[str, float], dtype: np.dtype[np.void]) -> Any:
    record = np.zeros(1, dtype).view(np.recarray)[0]
    for name, value in values.items():
        record[name] = value
    return record


def _written(record: Any) -> dict[str, float]:
    values = {name: record[name].item() for name in record.dtype.names}
    return {name: value for name, value in values.items() if value != 0}


def _features(what: str, document: Any, dtype: np.dtype[np.void]) -> dict[str, float]:
    checked_keys(f"{what} of a golden decision", document, dtype.names or (), required=())
    values = {name: _number(name, value) for name, value in document.items()}
    for name, value in values.items():
        if dtype[name].kind == "i" and not _fits(value, dtype[name]):
            raise InputError(f"golden decision: {name} must be a whole number of type {dtype[name]}, not {value}")
    return values


def _fits(value: float, kind: np.dtype[Any]) -> bool:
    limits = np.iinfo(kind)
    return isinstance(value, int) and limits.min <= value <= limits.max


def _number(name: str, value: Any) -> float:
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        raise InputError(f"golden decision: {name} must be a number, not {value!r}")
    return value
