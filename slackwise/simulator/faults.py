"""What goes wrong: a description of faults, and the list of those that a run meets.

Crashes, stragglers and slow links come and go on their own, drawn before the run from one stream an instance and kind
("faults/crash/3"): whoever is compared on the same cluster and seed faces the same faults. They begin while requests
arrive; what is drawn for an instance that is not there has no effect. The other faults are properties of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown
from slackwise.simulator.state import CRASH as CRASH_ORDER
from slackwise.simulator.state import LINK as LINK_ORDER
from slackwise.simulator.state import SLOW as SLOW_ORDER
from slackwise.streams import stream

CRASH, SLOW, LINK = "crash", "slow", "link"
FAULTS = {
    CRASH: "the instance loses all it holds and takes work again after `seconds`",
    SLOW: "its steps take `factor` times as long for `seconds`",
    LINK: "transfers to and from it take `factor` times as long for `seconds`",
}
"""Kinds of faults that an instance has at a time."""


@dataclass(frozen=True)
class Fault:
    """One fault of one instance."""

    time_s: float  # seconds of the trace
    instance: int  # its number in the cluster, pool after pool
    kind: str  # a key of FAULTS
    seconds: float  # how long it lasts
    factor: float = 1.0  # how much slower it makes; a crash has none

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise unknown("fault", self.kind, FAULTS)
        if not (math.isfinite(self.time_s) and self.instance >= 0 and 0 < self.seconds < math.inf):
            raise InputError(f"a fault needs a time, an instance and seconds above 0: {self}")
        if not 0 < self.factor < math.inf:
            raise InputError(f"a fault's factor is above 0, not {self.factor:g}")


LIMITS = {
    "mtbf_s": (0, math.inf, False),
    "repair_s": (0, math.inf, False),
    "retries": (0, 1000, True),
    "straggler_every_s": (0, math.inf, False),
    "straggler_s": (0, math.inf, False),
    "straggler_factor": (0, 1000, False),
    "link_every_s": (0, math.inf, False),
    "link_s": (0, math.inf, False),
    "link_factor": (0, 1000, False),
    "loss": (0, 1, True),
    "timeout_s": (0, math.inf, False),
    "tries": (1, 1000, True),
    "metrics_every_s": (0, 3600, True),
    "metrics_delay_s": (0, 3600, True),
    "estimate_sigma": (0, 3, True),
    "estimate_bias": (-3, 3, True),
}
"""Least and most of each, and whether the least itself is allowed."""

WHOLE = ("retries", "tries")
ENDLESS = ("mtbf_s", "straggler_every_s", "link_every_s")
"""Those that may be infinite: never."""


def _check(name: str, value: object) -> None:
    low, high, least = LIMITS[name]
    words = f"faults.{name} = {value!r} is not allowed: {low:g} to {high:g}" + ("" if least else f", above {low:g}")
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise InputError(words)
    if name in WHOLE and not isinstance(value, int):
        raise InputError(f"faults.{name} = {value!r} must be a whole number")
    inside = low <= value <= high if least else low < value <= high
    if not inside or (math.isinf(value) and name not in ENDLESS):
        raise InputError(words)


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a run. Times between faults of an instance are exponential; everything is off by default."""

    mtbf_s: float = math.inf  # mean time from the repair of an instance to its next crash
    repair_s: float = 120.0  # from a crash until the instance takes work again, model loaded
    retries: int = 3  # crashes that a request survives; the next one fails it
    straggler_every_s: float = math.inf  # mean time between the slow spells of an instance
    straggler_s: float = 60.0  # length of a spell
    straggler_factor: float = 2.0  # step seconds are multiplied by it
    link_every_s: float = math.inf  # mean time between the spells of an instance's slow link
    link_s: float = 30.0
    link_factor: float = 4.0
    loss: float = 0.0  # probability that a transfer is lost
    timeout_s: float = 1.0  # a lost transfer is sent again after it
    tries: int = 3  # transfers that may be lost in a row before the request fails
    metrics_every_s: float = 0.0  # routers see records sampled so often; 0: as they are
    metrics_delay_s: float = 0.0  # ... and so much later
    estimate_sigma: float = 0.0  # predictions are off by a log-normal factor: its spread
    estimate_bias: float = 0.0  # ... and the logarithm of its median
    listed: tuple[Fault, ...] = field(default=())  # written by hand, besides those drawn

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name != "listed":
                _check(each.name, getattr(self, each.name))
        if self.metrics_delay_s > 0 and self.metrics_every_s == 0:
            raise InputError("faults: metrics_delay_s needs metrics_every_s, the time between two samples")

    @property
    def any(self) -> bool:
        """Whether anything can go wrong."""
        return self != NO_FAULTS

    def describe(self) -> str:
        """What is not at its default, in one line."""
        defaults = NO_FAULTS
        named = [each.name for each in fields(self) if each.name != "listed"]
        parts = [f"{name}={getattr(self, name):g}" for name in named if getattr(self, name) != getattr(defaults, name)]
        parts += [f"{len(self.listed)} listed"] if self.listed else []
        return ", ".join(parts) or "none"


NO_FAULTS = Faults()
"""Nothing goes wrong."""


def fault_events(faults: Faults, instances: int, first_s: float, last_s: float, seed: int) -> list[Fault]:
    """The faults of a run whose requests arrive from `first_s` to `last_s`, in order of time.

    Raises nothing: whether those written by hand are possible is seen when they are injected.
    """
    found = list(faults.listed)
    spells = (
        (CRASH, faults.mtbf_s, faults.repair_s, 1.0),
        (SLOW, faults.straggler_every_s, faults.straggler_s, faults.straggler_factor),
        (LINK, faults.link_every_s, faults.link_s, faults.link_factor),
    )
    for kind, every_s, seconds, factor in spells:
        for instance in range(instances if math.isfinite(every_s) else 0):
            generator = stream(seed, f"faults/{kind}/{instance}")
            times = renewals(generator, every_s, seconds, first_s, last_s)
            found += [Fault(time_s, instance, kind, seconds, factor) for time_s in times]
    return sorted(found, key=lambda each: (each.time_s, each.instance, tuple(FAULTS).index(each.kind)))


def fault_orders(events: Sequence[Fault]) -> list[tuple[float, int, int, float]]:
    """(time, kind of order, instance, value) of faults, in order of time: crashes, and each change of a factor."""
    orders = [(each.time_s, CRASH_ORDER, each.instance, each.seconds) for each in events if each.kind == CRASH]
    for kind, order in ((SLOW, SLOW_ORDER), (LINK, LINK_ORDER)):
        for instance in sorted({each.instance for each in events if each.kind == kind}):
            spells = [each for each in events if (each.kind, each.instance) == (kind, instance)]
            orders += [(time_s, order, instance, factor) for time_s, factor in factors(spells)]
    return sorted(orders)


def factors(spells: Sequence[Fault]) -> list[tuple[float, float]]:
    """(time, factor from then on) of the spells of one instance: the largest that lasts, 1 while there is none."""
    changes = sorted({each.time_s for each in spells} | {each.time_s + each.seconds for each in spells})
    found: list[tuple[float, float]] = []
    for time_s in changes:
        lasting = [each.factor for each in spells if each.time_s <= time_s < each.time_s + each.seconds]
        factor = max(lasting, default=1.0)
        if not found or found[-1][1] != factor:
            found.append((time_s, factor))
    return found


def renewals(
    generator: np.random.Generator, every_s: float, seconds: float, first_s: float, last_s: float
) -> Iterator[float]:
    """When spells of `seconds` begin in [first_s, last_s], with exponential times of mean `every_s` between them."""
    time_s = first_s + generator.exponential(every_s)
    while time_s <= last_s:
        yield float(time_s)
        time_s += seconds + generator.exponential(every_s)


def estimate_factors(faults: Faults, count: int, seed: int) -> NDArray[np.float64]:
    """By how much the predicted service and the expected output of each request are off, float64, shape (2, n)."""
    scores = stream(seed, "estimates").standard_normal((2, count))
    return np.asarray(np.exp(faults.estimate_bias + faults.estimate_sigma * scores))
