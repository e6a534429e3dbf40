"""Whether policies see the true output lengths: two runs that differ in nothing else, looked at while still alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.simulator import Simulation
from tests.simulator.cases import Shape, random_simulation

TOKENS = 100
"""Every output is at least this long, and longer by as much in the second run."""

LAGGING = {"steps"}
"""Features that routers may see late, as features.py says: a step count is booked when a leap ends."""

DECIDED = ("instance", "admitted", "prefilled_tokens", "target_tokens", "encoder")
"""What came of the decisions, in PROGRESS."""


def betrayals(shape: Shape, seed: int, looks: int = 20) -> list[str]:
    """Features and decisions that differ before anyone has finished, though only the outputs' lengths do."""
    short, long = (random_simulation(shape, seed, tokens) for tokens in (TOKENS, 2 * TOKENS))
    begin_s, end_s = float(short.arrival_s[0]), first_finish_s(shape, seed)
    for until_s in np.linspace(begin_s, end_s, looks, endpoint=False):
        for run in (short, long):
            run.run_until(float(until_s))
        found = unlike(short, long)
        if found:
            return [f"{each} at {until_s} s" for each in found]
    return []


def first_finish_s(shape: Shape, seed: int) -> float:
    """When the first request of the run with the short outputs ends; the end of the run if all are turned away."""
    run = random_simulation(shape, seed, TOKENS)
    run.run_until()
    ends_s = [*run.state.progress.finish_s[~np.isnan(run.state.progress.finish_s)], run.state.clock[0].now_s]
    return float(min(ends_s))


def unlike(one: Simulation, other: Simulation) -> list[str]:
    """Names of the columns that policies see, or decide, which differ."""
    ours, theirs = one.state, other.state
    seen = [(name, ours.requests, theirs.requests) for name in _names(ours.requests)]
    seen += [(name, ours.instances, theirs.instances) for name in _names(ours.instances)]
    seen += [(name, ours.progress, theirs.progress) for name in DECIDED]
    return [name for name, mine, its in seen if not np.array_equal(mine[name], its[name])]


def _names(table: Any) -> list[str]:
    return [name for name in table.dtype.names if name not in LAGGING]
