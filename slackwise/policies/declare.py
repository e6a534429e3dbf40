"""Declare a policy: one decorator over one small pure function; the declaration is the only wiring.

    @batching_policy(source="after least laxity, Mok 1983", order="fixed", aging=Range(0.0, 2.0, default=0.0))
    def least_slack(request, instance, now, params):
        '''What it does, in one sentence. ...'''
        return request.deadline_s - request.prefill_estimate_s + params[0] * request.arrival_s

A policy reads REQUEST and INSTANCE records and `params` (its knobs, in the order declared), returns a float64 and
touches nothing else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.policies.compilation import compile_policy, features_read
from slackwise.policies.knobs import Knob, Value, decode_knobs, encode_knobs
from slackwise.policies.lookup import ASK_ALL, Lookup
from slackwise.policies.symbols import symbols_in

if TYPE_CHECKING:
    from slackwise.policies.provisioning.pool import Plan

ROUTING, BATCHING, CHUNKING, ADMISSION, PROVISIONING = "routing", "batching", "chunking", "admission", "provisioning"
FAMILIES = (ROUTING, BATCHING, CHUNKING, ADMISSION, PROVISIONING)
"""What is decided: which instance, what runs next, how much of it at once, who is served at all, how many instances."""

ARGUMENTS = dict.fromkeys(FAMILIES[:4], ("request", "instance", "now", "params")) | {
    PROVISIONING: ("pools", "now", "params", "memory")
}
"""Arguments of a policy of each family, in order."""

EVERY_S = 60.0
"""How often a provisioning policy is asked that says nothing else."""

Request: TypeAlias = Any
"""A record of dtype REQUEST, read by attribute."""

Instance: TypeAlias = Any
"""A record of dtype INSTANCE, read by attribute."""

Params: TypeAlias = NDArray[np.float64]
"""The knobs of a policy, float64, shape (number of knobs,), in the order declared."""

ADMIT, DEMOTE, DROP = 0.0, 1.0, 2.0
"""What an admission policy may say."""

Order: TypeAlias = Literal["fixed", "changing"] | Callable[[Mapping[str, Value]], bool]
"""Whether two unchanged waiting requests keep their order whatever the time and the instance; may hang on the knobs."""


@dataclass(frozen=True, eq=False)
class Policy:
    """A declared policy: its function, its knobs with ranges and defaults, and where it is from."""

    name: str
    family: str  # one of FAMILIES
    knobs: Mapping[str, Knob]  # in the order of `params`
    source: str  # the paper or system it follows, with the year
    function: Callable[..., Any]  # plain Python
    order: Order = "changing"  # batching only
    lookup: Lookup = ASK_ALL  # routing only
    every_s: float | str = EVERY_S  # provisioning only: seconds between two questions, or the knob that says so
    fleet: bool = True  # provisioning only: whether it may change the number of instances

    def params(self, **knobs: Value) -> Params:
        """float64, shape (number of knobs,), for the compiled function; knobs not named take their default.

        Raises InputError for an unknown knob or a value out of its range.
        """
        return encode_knobs(self.name, self.knobs, knobs)

    def values(self, params: Params) -> dict[str, Value]:
        """The knobs that `params` holds, by name."""
        return decode_knobs(self.name, self.knobs, params)

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """Machine code of the function under `compilation.SIGNATURE`, compiled at first use and cached on disk.

        The plain function for provisioning (off the hot path) and with NUMBA_DISABLE_JIT=1. Raises InputError with
        the offending line if it does not compile.
        """
        return self.function if self.family == PROVISIONING else compile_policy(self.function)

    def interval_s(self, params: Params) -> float:
        """Seconds between two questions to a provisioning policy with these knobs."""
        return float(self.values(params)[self.every_s] if isinstance(self.every_s, str) else self.every_s)  # type: ignore[arg-type]

    def fixed_order(self, params: Params) -> bool:
        """Whether a queue may rank a waiting request once, at now = 0.0, and never again until the request changes."""
        if callable(self.order):
            return bool(self.order(self.values(params)))
        return self.order == "fixed"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features that the policy reads, "request.arrival_s" and the like; none for provisioning."""
        return () if self.family == PROVISIONING else features_read(self.function)

    @property
    def summary(self) -> str:
        """The first sentence of the docstring: what the policy does."""
        return self._paragraph(0)

    @property
    def formula(self) -> str:
        """What is computed, with units: the docstring's paragraph that begins with `Formula:`."""
        return self._labelled("Formula:")

    @property
    def trade_offs(self) -> str:
        """Starvation, cost, what it does not see: the docstring's paragraph that begins with `Trade-offs:`."""
        return self._labelled("Trade-offs:")

    def describe(self) -> dict[str, Any]:
        """The declaration as JSON: name, family, summary, formula and its symbols, trade-offs, source, knobs."""
        knobs = [{"name": name} | knob.describe() for name, knob in self.knobs.items()]
        words: dict[str, Any] = {"summary": self.summary, "formula": self.formula}
        words |= {"symbols": symbols_in(self.formula), "trade_offs": self.trade_offs}
        words |= {"inputs": list(self.inputs), "source": self.source, "knobs": knobs}
        return {"name": self.name, "family": self.family} | words

    def _paragraphs(self) -> list[str]:
        text = inspect.cleandoc(self.function.__doc__ or "")
        return [" ".join(each.split()) for each in re.split(r"\n\s*\n", text)]

    def _paragraph(self, position: int) -> str:
        return self._paragraphs()[position]

    def _labelled(self, label: str) -> str:
        found = [each for each in self._paragraphs() if each.startswith(label)]
        return found[0].removeprefix(label).strip() if found else ""


def routing_policy(*, source: str, lookup: Lookup = ASK_ALL, **knobs: Knob) -> Callable[[Callable[..., float]], Policy]:
    """Declare a routing policy: the cost of sending this work to this instance; the lowest wins, then the lowest index.

    +inf means "not this one"; never for every instance of a pool. `lookup` says how a router may find the lowest
    without asking about every instance.
    """
    return _declare(ROUTING, source, knobs, lookup=lookup)


def batching_policy(
    *, source: str, order: Order = "changing", **knobs: Knob
) -> Callable[[Callable[..., float]], Policy]:
    """Declare a batching policy: the rank of this request in the instance's queue; lowest first, then (arrival, id).

    `order` "fixed" promises that the order of two unchanged waiting requests hangs neither on `now` nor on the
    instance, so that a queue may keep a heap under the rank at now = 0.0; a function of the knobs says when.
    """
    return _declare(BATCHING, source, knobs, order)


def chunking_policy(*, source: str, **knobs: Knob) -> Callable[[Callable[..., float]], Policy]:
    """Declare a chunking policy: how many of the request's `images_left` (1 or more) the next encode job takes."""
    return _declare(CHUNKING, source, knobs)


def admission_policy(*, source: str, **knobs: Knob) -> Callable[[Callable[..., float]], Policy]:
    """Declare an admission policy: ADMIT (0) serves this request, DEMOTE (1) puts it behind all others, DROP (2)
    gives it up.

    Asked before the first token only: when the request is routed, and when it would leave a queue to be begun.
    """
    return _declare(ADMISSION, source, knobs)


def provisioning_policy(
    *, source: str, every_s: float | str = EVERY_S, **knobs: Knob
) -> Callable[[Callable[..., Plan]], Policy]:
    """Declare a provisioning policy: a Plan of target instances of each pool, in plain Python.

    It is asked every `every_s` seconds, or as the knob of that name says, unless the configuration says otherwise. What
    it has to remember it puts into the Plan's memory, which it is handed the next time.
    """
    return _declare(PROVISIONING, source, knobs, every_s=every_s)


def _declare(
    family: str,
    source: str,
    knobs: dict[str, Knob],
    order: Order = "changing",
    lookup: Lookup = ASK_ALL,
    every_s: float | str = EVERY_S,
) -> Callable[[Callable[..., Any]], Policy]:
    def declare(function: Callable[..., Any]) -> Policy:
        expected, given = ARGUMENTS[family], tuple(inspect.signature(function).parameters)
        if given != expected:
            raise InputError(f"{family} policy '{function.__name__}' takes ({', '.join(expected)}), not {given}")
        return Policy(function.__name__, family, dict(knobs), source, function, order, lookup, every_s)

    return declare
