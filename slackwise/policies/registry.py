"""Find policies: built-ins, plug-ins under the entry-point group `slackwise.policies`, or `module:function`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.policies.declare import FAMILIES, Policy

GROUP = "slackwise.policies"
"""Entry-point group of third-party policies: the entry's name is the policy's, its value `module:function`."""

ELSEWHERE = {("provisioning", "forecast_ilp"): "slackwise.solver.rolling:forecast_ilp"}
"""Policies that need an extra: found by name, imported at first use, not listed."""


def policies(family: str | None = None) -> tuple[Policy, ...]:
    """All policies, or those of one family, by family and name: built-ins and plug-ins.

    Raises InputError for an unknown family, a plug-in that cannot be loaded, or two policies of one name.
    """
    _check_family(family)
    everything = dict(_built_in())
    for entry in entry_points(group=GROUP):
        policy = _loaded(entry)
        if (policy.family, policy.name) in everything:
            raise InputError(f"plug-in '{entry.value}' has the name of another {policy.family} policy: {policy.name}")
        everything[policy.family, policy.name] = policy
    ordered = sorted(everything.values(), key=lambda policy: (FAMILIES.index(policy.family), policy.name))
    return tuple(policy for policy in ordered if family in (None, policy.family))


def find(family: str | None, name: str) -> Policy:
    """The policy `name` of `family` (None: of any), by name or as `module:function`.

    Raises InputError for an unknown name (naming the closest), a module that cannot be imported, or a policy of
    another family.
    """
    _check_family(family)
    if ":" in name:
        return _of_family(family, _imported(name))
    for key, policy in _built_in().items():
        if name == key[1] and family in (None, key[0]):
            return policy
    for policy in policies(family):
        if policy.name == name:
            return policy
    for key, reference in ELSEWHERE.items():
        if name == key[1] and family in (None, key[0]):
            return _imported(reference)
    raise unknown(f"{family} policy" if family else "policy", name, [policy.name for policy in policies(family)])


@cache
def _built_in() -> dict[tuple[str, str], Policy]:
    found: dict[tuple[str, str], Policy] = {}
    for family in FAMILIES:
        package = import_module(f"slackwise.policies.{family}")
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            for each in vars(import_module(module.name)).values():
                if isinstance(each, Policy):
                    found[each.family, each.name] = each
    return found


def _imported(reference: str) -> Policy:
    module, _, attribute = reference.partition(":")
    try:
        each: Any = import_module(module)
    except Exception as error:
        raise InputError(f"cannot import '{module}' for policy '{reference}': {error}") from None
    if not hasattr(each, attribute):
        known = [name for name, value in vars(each).items() if isinstance(value, Policy)]
        raise unknown(f"policy in {module}", attribute, known)
    return _declared(getattr(each, attribute), reference)


def _loaded(entry: EntryPoint) -> Policy:
    try:
        return _declared(entry.load(), entry.value)
    except Exception as error:
        package = entry.dist.name if entry.dist else "a plug-in"
        raise InputError(f"policy '{entry.name}' of {package} cannot be loaded: {error}") from None


def _declared(each: Any, reference: str) -> Policy:
    if not isinstance(each, Policy):
        raise InputError(f"'{reference}' is no declared policy: put @routing_policy(...) or its like above it")
    return each


def _check_family(family: str | None) -> None:
    if family is not None and family not in FAMILIES:
        raise unknown("policy family", family, FAMILIES)


def _of_family(family: str | None, policy: Policy) -> Policy:
    if family not in (None, policy.family):
        raise InputError(f"'{policy.name}' is a {policy.family} policy, a {family} policy is needed")
    return policy
