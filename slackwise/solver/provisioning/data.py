"""What a fleet plan is made from: kinds of instances, windows with their loads, limits and prices.

Symbols: w window, k kind of instance, c class of kinds (the same stage letters), l level of the SLO split, o scenario.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import EmptyError, GapError, InputError, ZeroDemandError, unknown
from slackwise.policies.features import KINDS
from slackwise.simulator.cluster import TOPOLOGIES

GPUS_PER_SERVER = 8
WHOLE = 1.0
"""The share of the TTFT objective that a class has which does all the work before the first token."""


@dataclass(frozen=True)
class Kind:
    """A kind of instance: stage letters x tensor parallelism x batch x GPU type."""

    stages: str  # a key of KINDS
    tensor_parallel: int  # GPUs of an instance
    gpu: str
    batch: int = 256  # requests that run at a time
    start_s: float = 0.0  # seconds from the order to a ready instance
    price: float = 1.0  # of a GPU-second, in GPU-seconds of the cheapest type

    def __post_init__(self) -> None:
        if self.stages not in KINDS:
            raise unknown("kind of instance", str(self.stages), KINDS)
        if self.tensor_parallel < 1 or self.batch < 1:
            raise InputError(f"{self.name}: tensor parallelism and batch must be at least 1")
        if not (0.0 <= self.start_s < math.inf and math.isfinite(self.price)):
            raise InputError(f"{self.name}: start_s must be 0 or more and price finite")

    @property
    def name(self) -> str:
        """For people: "PD TP-4 batch 256 on A100-80GB"."""
        return f"{self.stages} TP-{self.tensor_parallel} batch {self.batch} on {self.gpu}"

    @property
    def cost(self) -> float:
        """Price of an instance-second."""
        return self.tensor_parallel * self.price


@dataclass(frozen=True)
class Option:
    """One way to split the TTFT objective: a topology, and the level of each of its classes (index into `levels`)."""

    topology: str
    levels: Mapping[str, int]

    def describe(self, data: PlanData) -> str:
        """For people: "E+PD, E 40 % and PD 60 % of the TTFT objective"."""
        shares = {name: data.levels[name][level] for name, level in self.levels.items()}
        parts = " and ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items() if share > 0)
        return f"{self.topology}, {parts} of the TTFT objective"


@dataclass(frozen=True)
class Terms:
    """Prices and rules of a plan."""

    headroom: float = 0.0  # capacity beyond the load, as a share of it
    switch_gpu_s: float = 60.0  # charged for every GPU that starts, besides its start-up time
    min_up_windows: int = 1  # an instance that has started stays at least this long
    least: int = 1  # instances of each class of the topology, whatever the load

    def __post_init__(self) -> None:
        for name in ("headroom", "switch_gpu_s"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name):g}: it must be 0 or more")
        if self.min_up_windows < 1 or self.least < 0:
            raise InputError("min_up_windows must be at least 1 and least at least 0")


DEFAULT_TERMS = Terms()


@dataclass(frozen=True)
class PlanData:
    """K kinds, W windows, O scenarios; `rate[k, l, o, w]` is what one instance serves of that window's mix.

    Loads and rates are in requests per second. `levels[c]` are the shares of the TTFT objective that class c may be
    given; 0 for a class that does no work before the first token. Raises the error of what is wrong with the data:
    empty horizon, no demand, gaps in the rates, unknown topology.
    """

    kinds: tuple[Kind, ...]
    window_s: float
    levels: Mapping[str, tuple[float, ...]]  # class -> shares, rising
    load: NDArray[np.float64]  # (O, W)
    rate: NDArray[np.float64]  # (K, L, O, W), L = the longest of `levels`
    servers: Mapping[str, int | None]  # GPU type -> servers, None: as many as it takes
    topologies: tuple[str, ...]
    terms: Terms = DEFAULT_TERMS
    initial: Mapping[int, int] | None = None  # kind -> instances ready before window 0; None: any fleet, free of charge
    lead_s: float = 0.0  # from now, when the first orders can be given, to the begin of window 0
    gpus_per_server: int = GPUS_PER_SERVER
    about: Mapping[str, Any] = field(default_factory=dict)  # where the numbers are from, for the report

    def __post_init__(self) -> None:
        if self.load.ndim != 2 or self.load.shape[1] == 0 or self.load.shape[0] == 0:
            raise EmptyError("the horizon has no window")
        if not 0.0 < self.window_s < math.inf:
            raise InputError(f"window_s is {self.window_s:g}: it must be positive")
        if not np.all(np.isfinite(self.load)) or np.any(self.load < 0):
            raise InputError("loads must be finite and 0 or more")
        if not self.load.any():
            raise ZeroDemandError("nothing is demanded in any window: there is nothing to plan")
        if self.rate.shape != (len(self.kinds), self.longest, *self.load.shape):
            raise GapError(f"rates have shape {self.rate.shape}, not (kinds, levels, scenarios, windows)")
        if not np.all(np.isfinite(self.rate)) or np.any(self.rate < 0):
            at = np.argwhere(~np.isfinite(self.rate) | (self.rate < 0))[0]
            raise GapError(f"the capacity of {self.kinds[at[0]].name} at level {at[1]} in window {at[3]} is missing")
        self._check_names()

    def _check_names(self) -> None:
        for topology in self.topologies:
            if topology not in TOPOLOGIES:
                raise unknown("topology", topology, TOPOLOGIES)
            for each in TOPOLOGIES[topology]:
                if each not in self.classes:
                    raise GapError(f"topology {topology} needs instances that do {each}: no kind has these stages")
                if not self.levels.get(each):
                    raise GapError(f"class {each} has no level")
        if not self.topologies:
            raise InputError("no topology is allowed")
        for kind in self.kinds:
            if kind.gpu not in self.servers:
                raise GapError(f"no number of servers is given for {kind.gpu}")

    @cached_property
    def longest(self) -> int:
        """Levels of the class that has most."""
        return max((len(each) for each in self.levels.values()), default=0)

    @property
    def windows(self) -> int:
        """W."""
        return int(self.load.shape[1])

    @property
    def scenarios(self) -> int:
        """O."""
        return int(self.load.shape[0])

    @cached_property
    def classes(self) -> Mapping[str, tuple[int, ...]]:
        """Stage letters -> kinds of that class, in order."""
        found: dict[str, list[int]] = {}
        for at, kind in enumerate(self.kinds):
            found.setdefault(kind.stages, []).append(at)
        return {name: tuple(members) for name, members in found.items()}

    def start_windows(self, kind: int) -> int:
        """Whole windows from the order of an instance until its capacity counts."""
        return math.ceil(self.kinds[kind].start_s / self.window_s - 1e-9)

    def first_window(self, kind: int) -> int:
        """The first window in which an instance that is ordered now counts."""
        return max(0, math.ceil((self.kinds[kind].start_s - self.lead_s) / self.window_s - 1e-9))

    def needed(self) -> NDArray[np.float64]:
        """Requests per second that capacity must cover, headroom included, shape (O, W)."""
        return (1.0 + self.terms.headroom) * self.load

    def sizes(self, gpu: str) -> tuple[int, ...]:
        """Sizes of the instances on servers of this type, largest first."""
        return tuple(sorted({each.tensor_parallel for each in self.kinds if each.gpu == gpu}, reverse=True))

    def cut(self, first: int, last: int, initial: Mapping[int, int] | None) -> PlanData:
        """Windows first .. last - 1, beginning with the fleet `initial`."""
        rows = slice(first, last)
        return replace(self, load=self.load[:, rows], rate=self.rate[..., rows], initial=initial)

    def to_json(self) -> dict[str, Any]:
        """What decides the answer, for fingerprints."""
        return {
            "kinds": [asdict(each) for each in self.kinds],
            "window_s": self.window_s,
            "levels": {name: list(each) for name, each in self.levels.items()},
            "load": _digest(self.load),
            "rate": _digest(self.rate),
            "servers": dict(self.servers),
            "topologies": list(self.topologies),
            "terms": asdict(self.terms),
            "lead_s": self.lead_s,
            "initial": None if self.initial is None else sorted(self.initial.items()),
            "gpus_per_server": self.gpus_per_server,
        }


def options(data: PlanData) -> tuple[Option, ...]:
    """Every split worth considering: shares sum to at most 1, and no class could be given a higher level.

    More time never serves less, so the others are dominated.
    """
    found = []
    for topology in data.topologies:
        classes = TOPOLOGIES[topology]
        shares = [data.levels[each] for each in classes]
        for levels in product(*(range(len(each)) for each in shares)):
            left = 1.0 - sum(its[level] for its, level in zip(shares, levels, strict=True))
            wider = [
                its[level + 1] - its[level] for its, level in zip(shares, levels, strict=True) if level + 1 < len(its)
            ]
            if left >= -1e-9 and all(step > left + 1e-9 for step in wider):
                found.append(Option(topology, dict(zip(classes, levels, strict=True))))
    return tuple(found)


def _digest(array: NDArray[np.float64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
