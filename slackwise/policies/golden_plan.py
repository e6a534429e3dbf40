"""Golden plans: recorded answers of the provisioning policy, with what it was shown and what it remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from slackwise.errors import CheckError, InputError
from slackwise.policies.bundle import Policies
from slackwise.policies.declare import PROVISIONING
from slackwise.policies.keys import checked_keys
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, Rates

KEYS = ("role", "pools", "now_s", "memory", "plan")


@dataclass(frozen=True)
class GoldenPlan:
    """One answer of the provisioning policy."""

    pools: tuple[PoolView, ...]
    now_s: float
    memory: Memory
    plan: Plan

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        written: dict[str, Any] = _lists({"role": PROVISIONING} | asdict(self))
        return written

    @classmethod
    def from_dict(cls, document: Any) -> GoldenPlan:
        """From the JSON form. Raises InputError for an unknown or missing key, or for a value of another kind."""
        checked_keys("golden plan", document, KEYS, required=KEYS)
        if not isinstance(document["pools"], list) or not isinstance(document["now_s"], int | float):
            raise InputError("a golden plan has a list of pools and a number now_s")
        checked_keys("plan", document["plan"], _names(Plan), required=_required(Plan))
        plan = Plan(**{key: tuples(value) for key, value in document["plan"].items()})
        views = tuple(_view(each) for each in document["pools"])
        return cls(views, float(document["now_s"]), tuples(document["memory"]), plan)


def record_plans(
    policies: Policies, questions: Iterable[tuple[Sequence[PoolView], float, Memory]]
) -> tuple[GoldenPlan, ...]:
    """The answers of the provisioning policy to (pools, now in seconds, memory)."""
    return tuple(
        GoldenPlan(tuple(pools), now, memory, planned(policies, pools, now, memory)) for pools, now, memory in questions
    )


def planned(policies: Policies, pools: Sequence[PoolView], now: float, memory: Memory) -> Plan:
    """What the provisioning policy says."""
    plan: Plan = policies.policy(PROVISIONING).function(pools, now, policies.params(PROVISIONING), memory)
    return plan


def replay_plan(policies: Policies, number: int, golden: GoldenPlan) -> None:
    """Raise CheckError if golden decision `number` comes out differently from the plan recorded."""
    plan = planned(policies, golden.pools, golden.now_s, golden.memory)
    if plan != golden.plan:
        name = policies.policy(PROVISIONING).name
        what = f"golden decision {number}: provisioning policy '{name}' gives {plan}, recorded {golden.plan}"
        raise CheckError(f"{what}; the policies here are not those that were tuned")


def tuples(value: Any) -> Any:
    """JSON with its lists as tuples: what was a memory before it was written."""
    return tuple(tuples(each) for each in value) if isinstance(value, list) else value


def _lists(value: Any) -> Any:
    """Tuples as the lists that JSON has."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, tuple) else value


def _view(document: Any) -> PoolView:
    checked_keys("pool of a golden plan", document, _names(PoolView), required=_required(PoolView))
    for each in document.get("rates", ()):
        checked_keys("rates of a golden plan", each, _names(Rates), required=_required(Rates))
    rates = tuple(Rates(**each) for each in document.get("rates", ()))
    return PoolView(**{name: tuples(value) for name, value in document.items()} | {"rates": rates})


def _names(record: type[Plan] | type[PoolView] | type[Rates]) -> list[str]:
    return [each.name for each in fields(record)]


def _required(record: type[Plan] | type[PoolView] | type[Rates]) -> list[str]:
    """Fields without a default: a plan recorded before the others were known is read at their defaults."""
    return [each.name for each in fields(record) if each.default is MISSING and each.default_factory is MISSING]
