"""The gate: who may be called a winner.

The best candidate wins if the interval of its difference to the best simpler candidate lies above zero on the part
kept back, and if no suite shows it worse than the default by more than a tolerance. Otherwise there is no winner, and
the best simpler candidate is named instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slackwise.tuning.interval import Difference

TOLERANCE = 0.01
"""Attainment that a winner may lose against the default in a suite."""


@dataclass(frozen=True)
class Standing:
    """What the gate needs to know of a candidate: how good, how simple, and what it loses in each suite."""

    name: str
    value: float  # larger is better
    complexity: int  # below 0: a control
    suites: Mapping[str, float]  # suite -> gain over the default there, larger is better


@dataclass(frozen=True)
class Verdict:
    """What the gate says; `named` is what to run."""

    winner: str | None
    named: str
    against: str | None  # the best simpler candidate
    over: Difference | None  # of the best candidate to it
    lost: tuple[str, ...]  # suites in which the best candidate loses too much
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "winner": self.winner,
            "named": self.named,
            "against": self.against,
            "difference": self.over.to_json() if self.over else None,
            "suites_lost": list(self.lost),
            "sentence": self.sentence,
        }


def gate(
    standings: Sequence[Standing], difference: Callable[[str, str], Difference], tolerance: float = TOLERANCE
) -> Verdict:
    """The verdict over `standings`; `difference(name, baseline)` is the paired difference of two of them.

    Of equals the simpler, then the earlier is the better.
    """
    running = [each for each in standings if each.complexity >= 0]
    best = max(running, key=lambda each: (each.value, -each.complexity))
    simpler = [each for each in running if each.complexity < best.complexity]
    if not simpler:
        sentence = f"No winner: nothing is better than {best.name}, and nothing is simpler"
        return Verdict(None, best.name, None, None, (), sentence)
    rival = max(simpler, key=lambda each: (each.value, -each.complexity))
    over = difference(best.name, rival.name)
    lost = tuple(name for name, gain in best.suites.items() if gain < -tolerance)
    words = f"{best.name} against {rival.name}, the best simpler candidate: {over.verdict}"
    words += f" ({over.difference:+.3g} [{over.low:+.3g}, {over.high:+.3g}])" if over.verdict != "no interval" else ""
    if over.verdict != "better":
        return Verdict(None, rival.name, rival.name, over, lost, f"No winner: {words}; use {rival.name}")
    if lost:
        where = ", ".join(f"{name} {best.suites[name]:+.3g}" for name in lost)
        sentence = f"No winner: {words}, but it loses against the default in {where}; use {rival.name}"
        return Verdict(None, rival.name, rival.name, over, lost, sentence)
    return Verdict(best.name, best.name, rival.name, over, (), f"Winner: {words}; no suite lost")
