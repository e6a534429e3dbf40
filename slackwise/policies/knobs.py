"""Knobs: what may be turned in a policy, within which range, and how a value becomes one float64 of `params`.

The default of a knob is the published or shipped behaviour, so that trial 0 of a search is what users run today.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown

Value: TypeAlias = float | int | str | None
"""What a user sets a knob to: a number, the name of a choice, or None where the knob may be off."""


class Knob(Protocol):
    """What is asked of a knob: its default, its extremes, and the way to and from the float64 that a policy sees."""

    @property
    def default(self) -> Value:
        """The value of trial 0."""

    def encode(self, name: str, value: Any) -> float:
        """The float64 for `value`; InputError naming the knob and what it allows if `value` is not allowed."""

    def decode(self, code: float) -> Value:
        """The value that `encode` made `code` of."""

    def ends(self) -> tuple[Value, ...]:
        """The extreme values: both ends of a range, every choice, None where the knob may be off."""

    def describe(self) -> dict[str, Any]:
        """The knob as JSON: type, range or choices, default, and what None means."""


@dataclass(frozen=True)
class Range:
    """A real number in [low, high]; searched on a log scale if `log`.

    With `none` (the words for it, such as "off") the value None is allowed too; a policy sees it as +inf.
    """

    low: float
    high: float
    default: float | None
    log: bool = False
    none: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"a range needs finite low < high, not {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise InputError(f"a log range starts above 0, not at {self.low}")
        self.encode("default", self.default)

    def encode(self, name: str, value: Any) -> float:
        if value is None and self.none:
            return math.inf
        if not _is_number(value) or not self.low <= value <= self.high:
            raise InputError(f"{name} = {value!r} is not allowed: {self._allowed()}")
        return float(value)

    def decode(self, code: float) -> Value:
        return None if math.isinf(code) else float(code)

    def ends(self) -> tuple[Value, ...]:
        return (self.low, self.high, None) if self.none else (self.low, self.high)

    def describe(self) -> dict[str, Any]:
        return _described("real", self.low, self.high, self.default, self.log, self.none)

    def _allowed(self) -> str:
        return f"{self.low} to {self.high}" + (f", or none ({self.none})" if self.none else "")


@dataclass(frozen=True)
class IntRange(Range):
    """A whole number in [low, high]; otherwise as Range."""

    low: int
    high: int
    default: int | None

    def encode(self, name: str, value: Any) -> float:
        if value is not None and not _is_whole(value):
            raise InputError(f"{name} = {value!r} is not allowed: whole numbers {self._allowed()}")
        return super().encode(name, value)

    def decode(self, code: float) -> Value:
        return None if math.isinf(code) else int(code)

    def describe(self) -> dict[str, Any]:
        return _described("integer", self.low, self.high, self.default, self.log, self.none)


@dataclass(frozen=True)
class Quantile(Range):
    """A quantile in [low, high], within (0, 1); a policy sees it as the normal score z, 0 for the median.

    With log-normal predictions of median m and spread sigma the quantile is m * exp(z * sigma); the score is taken
    here, once, so that a policy call needs no inverse normal distribution.
    """

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < 1:
            raise InputError(f"a quantile lies strictly between 0 and 1, not {self.low} to {self.high}")
        super().__post_init__()

    def encode(self, name: str, value: Any) -> float:
        quantile = super().encode(name, value)
        return NormalDist().inv_cdf(quantile)

    def decode(self, code: float) -> Value:
        return round(NormalDist().cdf(code), 12)

    def describe(self) -> dict[str, Any]:
        return _described("quantile", self.low, self.high, self.default, self.log, self.none)


@dataclass(frozen=True)
class Choice:
    """One of a few names; a policy sees its index as float64."""

    names: tuple[str, ...]
    default: str

    def __post_init__(self) -> None:
        if self.default not in self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"a choice needs distinct names, the default among them, not {self.names}")

    def encode(self, name: str, value: Any) -> float:
        if value not in self.names:
            raise unknown(f"value of {name}", str(value), self.names)
        return float(self.names.index(value))

    def decode(self, code: float) -> Value:
        return self.names[int(code)]

    def ends(self) -> tuple[Value, ...]:
        return self.names

    def describe(self) -> dict[str, Any]:
        return {"type": "choice", "choices": list(self.names), "default": self.default}


def encode_knobs(owner: str, knobs: Mapping[str, Knob], values: Mapping[str, Any]) -> NDArray[np.float64]:
    """float64, shape (number of knobs,), in the order of `knobs`; knobs not in `values` take their default.

    Raises InputError for an unknown knob (naming the closest) and for a value that is not allowed.
    """
    for name in values:
        if name not in knobs:
            raise unknown(f"knob of {owner}", name, knobs)
    codes = [knob.encode(f"{owner}.{name}", values.get(name, knob.default)) for name, knob in knobs.items()]
    return np.array(codes, dtype=np.float64)


def decode_knobs(owner: str, knobs: Mapping[str, Knob], params: NDArray[np.float64]) -> dict[str, Value]:
    """The values that `encode_knobs` made `params` of; InputError if there are more or fewer than `knobs`."""
    if len(params) != len(knobs):
        raise InputError(f"{owner} has {len(knobs)} knobs, not {len(params)}")
    return {name: knob.decode(float(code)) for (name, knob), code in zip(knobs.items(), params, strict=True)}


def parse_value(knob: Knob, text: str) -> Value:
    """What a user means by `text` for this knob, "none" being None; whether it is allowed `encode` says."""
    if isinstance(knob, Choice):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None if text == "none" else text


def knob_words(knob: Knob) -> str:
    """A knob in words: "real 0.0 to 2.0, default 0.0", "one of keep, demote, default keep"."""
    facts = knob.describe()
    if facts["type"] == "choice":
        return f"one of {', '.join(facts['choices'])}; default {facts['default']}"
    default = facts.get("none", "none") if facts["default"] is None else facts["default"]
    none = f", or none = {facts['none']}" if "none" in facts else ""
    return f"{facts['type']} {facts['low']} to {facts['high']}{none}; default {default}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer()


def _described(kind: str, low: float, high: float, default: Value, log: bool, none: str) -> dict[str, Any]:
    described: dict[str, Any] = {"type": kind, "low": low, "high": high, "default": default, "log": log}
    return described | {"none": none} if none else described
