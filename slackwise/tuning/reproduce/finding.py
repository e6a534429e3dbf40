"""What an experiment comes to: numbers beside the paper's, goals kept or missed, and the data of its pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from slackwise.tuning.interval import Difference, finite

CHECK, SHOWN, OURS = "check", "shown", "ours"
"""Use of a row: the paper's number may check a simulator; it is shown and must not be tuned to; the paper has none."""


@dataclass(frozen=True)
class Row:
    """One number, with its 95 % interval if there is one, and the paper's."""

    what: str
    case: str  # under which reading, load, fleet
    value: float | None  # None: it does not exist, such as no rate within the objectives
    unit: str  # "%", "x", "s", "requests/s"
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    use: str = OURS
    main: bool = False  # one of the rows that the summary shows

    @property
    def ratio(self) -> float | None:
        """Ours over the paper's; None where one is missing, or the paper's is 0."""
        return self.value / self.paper if self.value is not None and self.paper else None

    def to_json(self) -> dict[str, Any]:
        """For JSON: None where a number does not exist."""
        numbers = {"value": self.value, "low": self.low, "high": self.high, "ratio": self.ratio}
        return asdict(self) | {name: None if each is None else number(each) for name, each in numbers.items()}


@dataclass(frozen=True)
class Goal:
    """A statement that was fixed before the run: kept, missed, or with too little to tell."""

    what: str
    verdict: str  # "reached" | "missed" | "not told"
    by: str  # the numbers, and by how much it is missed

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


REACHED, MISSED, NOT_TOLD = "reached", "missed", "not told"


@dataclass(frozen=True)
class Finding:
    """All of an experiment."""

    rows: tuple[Row, ...]
    why: str  # one sentence: why the numbers differ from the paper's
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": [each.to_json() for each in self.rows],
            "why": self.why,
            "goals": [each.to_json() for each in self.goals],
            "notes": list(self.notes),
            "data": dict(self.data),
        }


def number(value: float) -> float | None:
    """The value, or None where it is infinite or undefined."""
    return finite(float(value))


def reduction(found: Difference) -> tuple[float | None, float | None, float | None]:
    """How much lower than the baseline, in per cent of it: (value, low, high); the baseline is taken as it is."""
    if not (math.isfinite(found.difference) and math.isfinite(found.baseline) and found.baseline):
        return None, None, None
    value, high, low = (-100.0 * each / found.baseline for each in (found.difference, found.low, found.high))
    return value, number(low), number(high)


def goal_over(what: str, cases: Mapping[str, Difference]) -> Goal:
    """The goal of being better in every case: missed if shown worse in one, not told if an interval covers zero."""
    verdicts = [each.verdict for each in cases.values()]
    verdict = MISSED if "worse" in verdicts else REACHED if set(verdicts) == {"better"} else NOT_TOLD
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    worst = max(cases, key=lambda case: _loss(cases[case]))
    return Goal(what, verdict, f"{len(cases)} cases: {counts}; the worst, {worst}: {_percent(cases[worst])}")


def judged(what: str, holds: bool | None, by: str) -> Goal:
    """A goal that holds, does not, or (None) cannot be told."""
    return Goal(what, NOT_TOLD if holds is None else REACHED if holds else MISSED, by)


def _loss(found: Difference) -> float:
    """How much worse it is, as a share of the baseline."""
    relative = -found.relative if found.more_is_better else found.relative
    return relative if math.isfinite(relative) else math.inf


def _percent(found: Difference) -> str:
    """The change against the baseline with its interval."""
    value, low, high = (None if each is None else -each for each in reduction(found))
    if value is None:
        return "without a number"
    return f"{value:+.1f} %" if low is None or high is None else f"{value:+.1f} % [{high:+.1f}, {low:+.1f}]"
