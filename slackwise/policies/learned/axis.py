"""Knobs on an axis from 0 to 1, which is what a learner turns."""

from __future__ import annotations

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.knobs import Choice, IntRange, Knob, Range, Value

NONE_FROM = 0.9
"""Of a knob that may be off, the axis beyond this place is off."""


def value_of(knob: Knob, place: float) -> Value:
    """The value of a knob at `place` in [0, 1] of its axis.

    Ranges are linear or, where the knob says so, logarithmic; whole numbers are rounded; choices have equal parts. Of a
    knob that may be off the last tenth is off, and the rest is the range.
    """
    if isinstance(knob, Choice):
        return knob.names[min(int(place * len(knob.names)), len(knob.names) - 1)]
    if not isinstance(knob, Range):
        raise InputError(f"a knob of {type(knob).__name__} has no axis")
    if knob.none:
        if place > NONE_FROM:
            return None
        place = place / NONE_FROM
    if knob.log:
        value = float(knob.low * (knob.high / knob.low) ** place)
    else:
        value = float(knob.low + (knob.high - knob.low) * place)
    value = min(max(value, knob.low), knob.high)
    return round(value) if isinstance(knob, IntRange) else value


def place_of(knob: Knob, value: Value) -> float:
    """A place of the axis that `value_of` gives `value` at."""
    if isinstance(knob, Choice):
        return (knob.names.index(str(value)) + 0.5) / len(knob.names)
    if not isinstance(knob, Range):
        raise InputError(f"a knob of {type(knob).__name__} has no axis")
    if value is None:
        return (1.0 + NONE_FROM) / 2.0
    number = float(value)
    if knob.log:
        place = float(np.log(number / knob.low) / np.log(knob.high / knob.low))
    else:
        place = (number - knob.low) / (knob.high - knob.low)
    return place * NONE_FROM if knob.none else place
