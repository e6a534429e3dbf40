"""Moves one constant of a StepCosts, to ask whether a result survives an error in it."""

from __future__ import annotations

from dataclasses import replace

from slackwise.errors import InputError, unknown
from slackwise.latency.costs import StepCosts

CONSTANTS = ("step_s", "linear_s", "kv_s_per_token", "attention_s_per_pair", "encode_step_s", "encode_s_per_tile")
"""What can be moved: fields of a COSTS record, and `linear_s` for the whole table with its slope."""


def perturbed(costs: StepCosts, name: str, factor: float) -> StepCosts:
    """`costs` with the constant `name` times `factor`; the source says so.

    Raises InputError for an unknown constant or a factor that is not positive.
    """
    if name not in CONSTANTS:
        raise unknown("latency constant", name, CONSTANTS)
    if not 0 < factor < float("inf"):
        raise InputError(f"factor of {name} must be positive, not {factor:g}")
    record = costs.record.copy()
    table = costs.linear_s
    if name == "linear_s":
        table = table * factor
        record["linear_slope_s"] *= factor
    else:
        record[name] *= factor
    return replace(costs, record=record, linear_s=table, source=f"{costs.source}; {name} x {factor:g}")
