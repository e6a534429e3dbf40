"""Attainment of the objectives, measured where clients are served: counters at the server, shares at who sizes pools.

A request is judged as in the simulator: for its first token when that comes or when it is due, for its mean time
between tokens when it ends, and by class once, when the first of its objectives is missed or all are met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slackwise.policies.features import HEAVY_IMAGES

CLASSES = ("text", "image", "heavy")

JUDGED = (
    "ttft_judged",
    "ttft_met",
    "tbt_judged",
    "tbt_met",
    *(f"{what}_{name}" for name in CLASSES for what in ("judged", "missed")),
)
"""Counters of all that was ever judged."""


MOST_REPLICAS = 4096
"""Whose counters are remembered."""


@dataclass(frozen=True)
class Attained:
    """Shares of the requests judged lately: within their TTFT and TBT objectives, and missed by class."""

    ttft: float = 1.0
    tbt: float = 1.0
    missed: tuple[float, ...] = (0.0, 0.0, 0.0)


class Totals:
    """Sums since the first look of counters over replicas that come, go and begin again at 0."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.sums = dict.fromkeys(keys, 0.0)
        self.last: dict[str, Mapping[str, float]] | None = None

    def take(self, reports: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Take in the newest counters of every replica; the sums so far. What came before the first look is not in."""
        last = self.last
        for name, report in reports.items() if last is not None else ():
            for key in self.sums:
                new, old = count(report, key), count((last or {}).get(name, {}), key)
                self.sums[key] += new - old if new >= old else new
        kept = list({**(last or {}), **reports}.items())  # a replica may miss a look
        self.last = {name: dict(report) for name, report in kept[-MOST_REPLICAS:]}
        return dict(self.sums)

    def changes(self, reports: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """As `take`, but what has come since the last look."""
        before = dict(self.sums)
        return {key: total - before[key] for key, total in self.take(reports).items()}


def class_of(images: int) -> str:
    """The class of a request."""
    return "heavy" if images >= HEAVY_IMAGES else "image" if images else "text"


def count(report: Mapping[str, float], key: str) -> float:
    """A number of a report; what is none, or below 0, counts as 0."""
    value = report.get(key, 0.0)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if good else 0.0


class AttainmentLog:
    """Shares since the last look."""

    def __init__(self) -> None:
        self.totals, self.now = Totals(JUDGED), Attained()

    def look(self, reports: Iterable[Mapping[str, Mapping[str, float]]]) -> Attained:
        """Take in the newest counters by replica; what was attained since the last time (1 where nobody was judged)."""
        new = self.totals.changes({name: report for each in reports for name, report in each.items()})
        missed = tuple(_share(new, f"missed_{name}", f"judged_{name}", 0.0) for name in CLASSES)
        self.now = Attained(
            _share(new, "ttft_met", "ttft_judged", 1.0), _share(new, "tbt_met", "tbt_judged", 1.0), missed
        )
        return self.now


def _share(counts: Mapping[str, float], part: str, whole: str, if_none: float) -> float:
    return min(1.0, counts[part] / counts[whole]) if counts[whole] > 0 else if_none


@dataclass
class _Open:
    """A request that is being served."""

    kind: int  # of CLASSES
    deadline_s: float
    tbt_s: float  # its objective
    first_s: float | None = None
    judged: bool = False  # by class


class Judge:
    """Counts who met the objectives, of the requests that a process serves. All times in seconds since 1970."""

    def __init__(self, objectives: Mapping[str, float]) -> None:
        self.load(objectives)
        self.counts = dict.fromkeys(JUDGED, 0.0)
        self.open: dict[str, _Open] = {}

    def load(self, objectives: Mapping[str, float]) -> None:
        """Judge what comes from now on by these objectives."""
        self.text_tbt_s, self.image_tbt_s = objectives["text_tbt_s"], objectives["image_tbt_s"]

    def arrive(self, name: str, images: int, deadline_s: float) -> None:
        """A request with a name of its own has come, due to have its first token at `deadline_s`."""
        kind = CLASSES.index(class_of(images))
        self.open[name] = _Open(kind, deadline_s, self.image_tbt_s if images else self.text_tbt_s)

    def first(self, name: str, now: float) -> None:
        """Its first token has come."""
        request = self.open.get(name)
        if request is not None and request.first_s is None:
            request.first_s = now
            if not request.judged:
                self._first(request, now <= request.deadline_s)

    def end(self, name: str, tokens: int, now: float) -> None:
        """It has ended with so many tokens."""
        request = self.open.pop(name, None)
        if request is None or request.first_s is None:
            return
        met = now - request.first_s <= request.tbt_s * max(1, tokens - 1)
        self._add("tbt", met)
        if not request.judged:
            self._class(request, met)

    def fail(self, name: str) -> None:
        """It was refused or has failed: it has missed."""
        request = self.open.pop(name, None)
        if request is not None and not request.judged:
            if request.first_s is None:
                self._first(request, False)
            else:
                self._class(request, False)

    def leave(self, name: str) -> None:
        """Its client has hung up: nobody is left to judge for."""
        self.open.pop(name, None)

    def counters(self, now: float) -> dict[str, float]:
        """The counters of JUDGED; who is overdue without a first token has missed."""
        for request in list(self.open.values()):  # another thread may serve meanwhile
            if request.first_s is None and not request.judged and request.deadline_s < now:
                self._first(request, False)
        return dict(self.counts)

    def _first(self, request: _Open, met: bool) -> None:
        self._add("ttft", met)
        if not met:
            self._class(request, False)

    def _class(self, request: _Open, met: bool) -> None:
        request.judged = True
        self.counts[f"judged_{CLASSES[request.kind]}"] += 1
        self.counts[f"missed_{CLASSES[request.kind]}"] += not met

    def _add(self, objective: str, met: bool) -> None:
        self.counts[f"{objective}_judged"] += 1
        self.counts[f"{objective}_met"] += met
