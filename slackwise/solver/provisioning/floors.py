"""What each window must cost at least: the cheapest whole number of instances that serves it, window by window.

An integer knapsack over cost, solved for all windows at once by dynamic programming. Summed over the horizon it is a
lower bound of every plan (nothing is charged for starting), and row by row it is a strong cut for the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.provisioning.data import Option, PlanData

PARTS = 8
"""Costs that are no multiples of the cheapest are rounded down to this fraction of it: the bound stays a bound."""

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Floors:
    """`cost[c]` is the price of a second of window w's cheapest fleet of class c, shape (W,)."""

    cost: Mapping[str, NDArray[np.float64]]
    feasible: bool  # False: not even all servers hold what some window needs

    def total(self, data: PlanData) -> float:
        """Lower bound of the price of every plan: the floors, and what it takes to rise from one to the next."""
        return sum(self.line(data, name) for name in self.cost)

    def line(self, data: PlanData, name: str) -> float:
        """Lower bound of the price of one class; none where more instances cost less than nothing."""
        if any(data.kinds[at].cost < 0 for at in data.classes[name]):
            return -np.inf
        return _with_starts(data, name, self.cost[name])


def floors(data: PlanData, option: Option) -> Floors:
    """The floors of one option; also whether the servers can hold each class by itself. Prices must be positive."""
    found, feasible = {}, True
    for name, level in option.levels.items():
        members = list(data.classes[name])
        cheapest = [_cheapest(data, members, level, scenario) for scenario in range(data.scenarios)]
        least = data.terms.least * min(data.kinds[kind].cost for kind in members)
        worst = np.maximum.reduce([np.full(data.windows, least), *cheapest])
        feasible = feasible and bool(np.all(np.isfinite(worst)))
        found[name] = np.where(np.isfinite(worst), worst, 0.0)
    return Floors(found, feasible)


def _with_starts(data: PlanData, name: str, lowest: NDArray[np.float64]) -> float:
    """The cheapest line T >= `lowest` under window_s sum T + rise sum max(0, T[w] - T[w - 1]), exactly.

    T is the class's price of a second; `rise` is the least that a unit of it costs to start. Taken level by level: a
    dip below a level is bridged or climbed out of, whichever is cheaper.
    """
    rise = min(data.kinds[at].start_s for at in data.classes[name]) + data.terms.switch_gpu_s
    before = float("inf") if data.initial is None else _price(data, name, data.initial)
    edges = np.unique(np.concatenate([[0.0], lowest, [before] if np.isfinite(before) else []]))
    return float(
        sum((high - low) * _one_level(lowest > low, low < before, data.window_s, rise) for low, high in pairwise(edges))
    )


def _one_level(needed: NDArray[np.bool_], there: bool, window_s: float, rise: float) -> float:
    """Price of one unit that is there in the windows `needed`, (W,), and `there` or not before the first."""
    on = np.flatnonzero(needed)
    if not len(on):
        return 0.0
    dips = np.diff(on) - 1
    first = min(on[0] * window_s, rise) if there else rise
    return float(len(on) * window_s + np.minimum(dips * window_s, rise).sum() + first)


def _price(data: PlanData, name: str, fleet: Mapping[int, int]) -> float:
    return sum(data.kinds[at].cost * count for at, count in fleet.items() if data.kinds[at].stages == name)


def _cheapest(data: PlanData, members: list[int], level: int, scenario: int) -> NDArray[np.float64]:
    """Price of a second of the cheapest counts that serve each window, (W,); infinite if none is enough.

    best[u] = most requests per second for a cost of u units, all windows at once; the answer is the first u that is
    enough.
    """
    costs = np.array([data.kinds[kind].cost for kind in members])
    needed, rates = data.needed()[scenario], data.rate[members, level, scenario]
    result = np.where(needed > 0, np.inf, 0.0)
    if costs.min() <= 0:
        return np.zeros(len(needed))
    unit, units = _units(costs)
    best = [np.zeros(len(needed))]
    for spent in range(1, _most(data, members, unit, result, needed, rates, units) + 1):
        gained = [best[spent - its] + rates[at] for at, its in enumerate(units) if its <= spent]
        best.append(np.maximum.reduce([best[-1], *gained]))
        reached = np.isinf(result) & (best[-1] >= needed * (1 - TOLERANCE))
        result[reached] = spent * unit
        if not np.isinf(result).any():
            break
    return result


def _units(costs: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
    """A unit of cost, and each cost in whole units, rounded down where it is no multiple."""
    cheapest = float(costs.min())
    whole = costs / cheapest
    if np.allclose(whole, np.rint(whole), atol=1e-9):
        return cheapest, np.rint(whole).astype(np.int64)
    unit = cheapest / PARTS
    return unit, np.maximum(1, np.floor(costs / unit + 1e-9)).astype(np.int64)


def _most(
    data: PlanData,
    members: list[int],
    unit: float,
    result: NDArray[np.float64],
    needed: NDArray[np.float64],
    rates: NDArray[np.float64],
    units: NDArray[np.int64],
) -> int:
    """Units after which to stop: what all servers cost; without a limit, what one kind alone needs at most."""
    limits = [data.servers[data.kinds[kind].gpu] for kind in members]
    if all(each is not None for each in limits):
        gpus = {data.kinds[kind].gpu: data.kinds[kind].price for kind in members}
        held = sum(price * data.gpus_per_server * (data.servers[gpu] or 0) for gpu, price in gpus.items())
        return int(np.ceil(held / unit)) + 1
    able = rates.max(axis=0) > 0
    if not able[needed > 0].all():
        result[(needed > 0) & ~able] = np.nan  # marked: no number of instances is enough
    wanted = np.ceil(needed / np.maximum(rates, 1e-300)) * units[:, None]
    alone = wanted.min(axis=0, where=rates > 0, initial=0 if not able.any() else 1e18)
    return int(alone[able & (needed > 0)].max(initial=0.0))
