"""How the cheapest of many instances is found without asking about each of them.

A routing policy that says nothing is asked about every instance: the time of a decision grows with the pool. One that
declares how its cost hangs on the instance's features lets the router skip whole groups of instances, and one that
looks only at instances drawn or dealt names them. What is declared changes no decision, only its price; the
conformance kit (testing.policies) holds a policy to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slackwise.errors import InputError
from slackwise.policies.features import INSTANCE
from slackwise.policies.knobs import Value

SCAN, STATIC, MONOTONE, TURN, DRAWN = 0, 1, 2, 3, 4
"""Ways to find the instance of lowest cost."""

MOST_FEATURES = 8
"""Features that a monotone policy may read of an instance."""


def _always(_: Mapping[str, Value]) -> bool:
    return True


@dataclass(frozen=True)
class Lookup:
    """One way, and the knobs for which it holds.

    STATIC: the cost reads nothing but the instance: neither the request nor the time.
    MONOTONE: the cost never falls while a feature in `rises` rises, nor while one in `falls` falls; those in `same`
    are alike in the whole pool (else every instance is asked), and no other feature of the instance is read.
    TURN: the cheapest is instance `sequence` mod `pool_size`. DRAWN: the cheapest is among `drawn` instances that
    hashing.drawn_at names, `drawn` being a number or the place of a knob in `params`.
    """

    way: int = SCAN
    rises: tuple[str, ...] = ()
    falls: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    drawn: int | str = 1
    when: Callable[[Mapping[str, Value]], bool] = _always

    def __post_init__(self) -> None:
        features = (*self.rises, *self.falls, *self.same)
        for name in features:
            if name not in (INSTANCE.names or ()):
                raise InputError(f"an instance has no feature '{name}' to declare")
        if len(features) > MOST_FEATURES or len(set(features)) < len(features):
            raise InputError(f"a lookup declares {MOST_FEATURES} different features at most, not {features}")

    def holds(self, knobs: Mapping[str, Value]) -> bool:
        """Whether it may be used under these knobs."""
        return self.way != SCAN and self.when(knobs)

    def draws(self, knobs: Mapping[str, Value]) -> int:
        """Instances drawn under these knobs."""
        return int(knobs[self.drawn]) if isinstance(self.drawn, str) else self.drawn  # type: ignore[arg-type]


def monotone(
    rises: tuple[str, ...] = (),
    falls: tuple[str, ...] = (),
    same: tuple[str, ...] = (),
    when: Callable[[Mapping[str, Value]], bool] = _always,
) -> Lookup:
    """The lookup of a policy whose cost moves one way with each feature that it reads."""
    return Lookup(MONOTONE, rises, falls, same, when=when)


ASK_ALL = Lookup()
"""Every instance is asked about."""
