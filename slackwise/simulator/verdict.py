"""How a run ended, in one word and a sentence: finished, overloaded, unfinished, stuck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORDS = ("finished", "unfinished", "overloaded", "stuck")
"""From best to worst.

finished: every request was served, or given up for a reason; unfinished: the time limit came before the end of some;
overloaded: it did, and the number of requests in the system was still growing when arrivals ended; stuck: some requests
are left and nothing can ever happen to them.
"""


@dataclass(frozen=True)
class Verdict:
    """How a run ended, and how many requests it left."""

    word: str  # one of WORDS
    unfinished: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.word}: {self.sentence}"


def verdict(
    arrival_s: NDArray[np.float64], left_s: NDArray[np.float64], now_s: float, anything_to_do: bool, parked: int = 0
) -> Verdict:
    """The verdict on a run that stopped at `now_s`, by each request's arrival and the time it left (infinite: never).

    Both of shape (n,), arrivals in order; `anything_to_do` says whether an event was still to come, `parked` how many
    wait for an instance.
    """
    unfinished = int(np.isinf(left_s).sum())
    if unfinished == 0:
        drain_s = max(0.0, float(left_s.max() - arrival_s[-1]))
        return Verdict("finished", 0, f"the last of {len(left_s):,} requests left {drain_s:,.1f} s after the last came")
    told = f"{unfinished:,} of {len(left_s):,} requests are left {now_s - arrival_s[-1]:,.1f} s after the last came"
    if not anything_to_do:
        why = f": {parked:,} wait for an instance to be ready, and none will be" if parked else ""
        return Verdict("stuck", unfinished, f"{told} and nothing can happen to them any more{why}")
    before, last = in_system(arrival_s, left_s)
    if last > before:
        growth = f"{before:,.1f} to {last:,.1f} in the system over the last two quarters of the arrivals"
        return Verdict("overloaded", unfinished, f"{told}, and they were growing from {growth}")
    return Verdict("unfinished", unfinished, f"{told}: the time limit was too short")


def in_system(arrival_s: NDArray[np.float64], left_s: NDArray[np.float64]) -> tuple[float, float]:
    """Mean number of requests in the system over the third and over the last quarter of the time of arrivals."""
    first, last = float(arrival_s[0]), float(arrival_s[-1])
    edges = np.linspace(first, last, 5)[2:]
    spent = [np.clip(left_s, *quarter) - np.clip(arrival_s, *quarter) for quarter in pairwise(edges)]
    quarter_s = max((last - first) / 4, np.finfo(float).tiny)
    return float(spent[0].sum() / quarter_s), float(spent[1].sum() / quarter_s)


def joined_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of several runs, with all that they left."""
    worst = max(verdicts, key=lambda each: WORDS.index(each.word))
    unfinished = sum(each.unfinished for each in verdicts)
    those = sum(each.word == worst.word for each in verdicts)
    sentence = worst.sentence if len(verdicts) == 1 else f"{those} of {len(verdicts)} runs; {worst.sentence}"
    return Verdict(worst.word, unfinished, sentence)
