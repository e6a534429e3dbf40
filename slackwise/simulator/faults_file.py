"""Faults as text: the [faults] table of a configuration, and `mtbf_s=3600,loss=0.001`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.policies.keys import checked_keys
from slackwise.simulator.faults import Fault, Faults

NAMES = tuple(each.name for each in fields(Faults))
KINDS: dict[str, tuple[tuple[type, ...], str]] = {"kind": ((str,), "text"), "instance": ((int,), "a whole number")}
"""Types of what is no number with a point, of a fault written by hand."""


def faults_from_text(text: str) -> Faults:
    """Faults written as `mtbf_s=3600,loss=0.001`. Raises InputError for what is not understood or not allowed."""
    parts = [each.partition("=") for each in text.split(",") if each.strip()]
    values = {key.strip(): _numeric(value) for key, _, value in parts}
    if not values or None in values.values():
        raise InputError(f"'{text}' is not understood: write --faults mtbf_s=3600,loss=0.001, or a .toml file")
    return faults_from(values)


def faults_from(table: Any) -> Faults:
    """The faults of a parsed [faults] table. Raises InputError for an unknown key or a value that is not allowed."""
    checked_keys("faults", table, NAMES, required=())
    given = dict(table)
    if "listed" in given:
        rows = given["listed"]
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            raise InputError("faults.listed is a list of tables: write [[faults.listed]] above each")
        given["listed"] = listed_faults(rows)
    return Faults(**given)


def listed_faults(rows: Sequence[Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Faults written by hand, from tables of a configuration. Raises InputError for an unknown key or a bad value."""
    known = [each.name for each in fields(Fault)]
    found = []
    for row in rows:
        for key, value in row.items():
            if key not in known:
                raise unknown("key of faults.listed", str(key), known)
            kinds, words = KINDS.get(str(key), ((int, float), "a number"))
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise InputError(f"faults.listed.{key} = {value!r} must be {words}")
        missing = [key for key in ("time_s", "instance", "kind", "seconds") if key not in row]
        if missing:
            raise InputError(f"faults.listed lacks {', '.join(missing)}")
        found.append(Fault(**row))
    return tuple(found)


def fault_lines(faults: Faults) -> list[str]:
    """[faults] and [[faults.listed]] as TOML; nothing if nothing goes wrong."""
    if not faults.any:
        return []
    lines = ["", "[faults]", *(f"{name} = {getattr(faults, name)}" for name in NAMES if name != "listed")]
    for fault in faults.listed:
        lines += ["", "[[faults.listed]]"]
        lines += [f"{each.name} = {json.dumps(getattr(fault, each.name))}" for each in fields(fault)]
    return lines


def _numeric(text: str) -> int | float | None:
    """A number as it is written, whole or not; None if it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
