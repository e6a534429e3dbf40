"""A plan and a bound without a solver: shortest paths through whole fleets, class by class.

Of each window the cheapest fleets that serve it are its states; a step from one window's fleet to the next one's costs
what starts. The shortest path is a plan. For the bound every window has one state more, the joker, for all the fleets
that were left out: its price of a second is that of the cheapest of them, and who enters or leaves it pays for starts
only what the rise in that price takes at least. Whatever a plan does, putting jokers in the place of fleets that were
left out gives a path that costs no more: a dearer one would pay for each unit of price at least `window_s`, which is
more than the rise that it saves. So the shortest path with jokers is a lower bound. Servers and minimum times are
looked at afterwards, by the validator; leaving them out keeps the bound a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.provisioning.data import Option, PlanData
from slackwise.solver.provisioning.dominance import useful
from slackwise.solver.provisioning.floors import TOLERANCE, Floors
from slackwise.solver.provisioning.plan import Plan, prices

STATES = 128
"""Fleets of a class that a window may choose from."""

LARGEST_POOL = 400_000
"""Fleets of a class that are listed at most; beyond, the path is not looked for."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PathResult:
    """A plan, if every window has a fleet, not yet looked at by the validator; and a lower bound of every plan."""

    plan: Plan | None
    bound: float


def fleet_path(data: PlanData, option: Option, lowest: Floors) -> PathResult:
    """The shortest paths of one option. The bound is that of the floors where a class has too many fleets to list."""
    ready, bound, whole = np.zeros((data.windows, len(data.kinds)), np.int64), 0.0, True
    found = useful(data, option)
    for name, level in option.levels.items():
        members = [at for at in data.classes[name] if at in found.kinds]
        pool = _pool(data, members, float(lowest.cost[name].max()))
        if pool is None:
            whole, bound = False, bound + lowest.line(data, name)
            continue
        chosen, least = _shortest(data, members, level, pool, lowest.cost[name])
        bound += max(least * (1.0 - found.loss), lowest.line(data, name))
        if chosen is None:
            whole = False
        else:
            ready[:, members] = pool.fleets[chosen]
    return PathResult(Plan(option, settled(data, ready)) if whole else None, bound)


def settled(data: PlanData, ready: Counts) -> Counts:
    """The counts with every instance that has started kept for its minimum time."""
    ready, span = ready.copy(), data.terms.min_up_windows
    before = ready[0] if data.initial is None else np.array([data.initial.get(at, 0) for at in range(len(data.kinds))])
    started = np.zeros_like(ready)
    for window in range(len(ready)):
        recent = started[max(0, window - span + 1) : window].sum(axis=0)
        ready[window] = np.maximum(ready[window], recent)
        started[window] = np.maximum(0, ready[window] - (ready[window - 1] if window else before))
    return ready


@dataclass(frozen=True)
class _Pool:
    """Every fleet of a class up to a price, the cheapest first."""

    fleets: Counts  # (F, members)
    cost: NDArray[np.float64]  # (F,) price of a second
    beyond: float  # no fleet that is not listed costs less


def _pool(data: PlanData, members: list[int], highest: float) -> _Pool | None:
    """All fleets up to twice the smallest step beyond the dearest floor; None if they are too many to list."""
    costs = np.array([data.kinds[at].cost for at in members])
    if costs.min() <= 0:
        return None
    limit = highest + 2.0 * costs.max()
    rooms = math.prod(limit / each for each in costs) / math.factorial(len(costs))
    if rooms > LARGEST_POOL:
        limit = highest + costs.min()
        if math.prod(limit / each for each in costs) / math.factorial(len(costs)) > LARGEST_POOL:
            return None
    fleets, spent = np.zeros((1, 0), np.int64), np.zeros(1)
    for each in costs:
        most = ((limit - spent + 1e-9) // each).astype(np.int64) + 1
        at = np.repeat(np.arange(len(fleets)), most)
        count = np.arange(len(at)) - np.repeat(np.cumsum(most) - most, most)
        fleets, spent = np.column_stack([fleets[at], count]), spent[at] + count * each
    order = np.lexsort([*fleets.T[::-1], spent])
    kept = order[fleets[order].sum(axis=1) >= data.terms.least]
    return _Pool(fleets[kept], spent[kept], limit + 1e-9)


def _shortest(
    data: PlanData, members: list[int], level: int, pool: _Pool, lowest: NDArray[np.float64]
) -> tuple[Counts | None, float]:
    """(index into the pool for each window or None, the length of the shortest path with jokers)."""
    walk = _Walk.begin(data, members)
    for window in range(data.windows):
        mine, beyond = _states(data, members, level, pool, float(lowest[window]), window)
        walk.step(mine, pool.fleets[mine], pool.cost[mine], beyond)
    return walk.path(), walk.bound()


@dataclass
class _Walk:
    """Forward dynamic programming: lengths of the shortest paths to each fleet of a window, with and without jokers.

    `bounds` has one entry more than `values`, the joker's; `costs` are prices of a second.
    """

    window_s: float
    rise: NDArray[np.float64]  # (members,) price of starting an instance
    least_rise_s: float  # price of starting, for a unit of the price of a second, at least
    fleets: Counts | None  # of the window before; None before a free beginning
    costs: NDArray[np.float64]
    values: NDArray[np.float64]
    bounds: NDArray[np.float64]
    choices: list[Counts]
    links: list[Counts]

    @classmethod
    def begin(cls, data: PlanData, members: list[int]) -> _Walk:
        """Before window 0: the fleet that is ready, or any."""
        _, starting, switching = (each[members] for each in prices(data))
        cost = np.array([data.kinds[at].cost for at in members])
        least = float(((starting + switching) / cost).min())
        least = least if least <= data.window_s else 0.0
        fleet, costs = None, np.zeros(0)
        if data.initial is not None:
            fleet = np.array([[data.initial.get(at, 0) for at in members]])
            costs = np.array([float(fleet[0] @ cost), float(fleet[0] @ cost)])
        values, bounds = np.zeros(len(costs[:-1])), np.array([0.0, np.inf]) if len(costs) else np.zeros(0)
        return cls(data.window_s, starting + switching, least, fleet, costs, values, bounds, [], [])

    def step(self, mine: Counts, fleets: Counts, cost: NDArray[np.float64], beyond: float) -> None:
        """Go on to a window with these fleets, of these prices of a second; any other one costs at least `beyond`."""
        costs = np.append(cost, beyond)
        if self.fleets is None and not self.choices:
            self.values, self.bounds = cost * self.window_s, costs * self.window_s
            link = np.zeros(len(mine), np.int64)
        else:
            assert self.fleets is not None
            steps = np.maximum(0, fleets[None, :, :] - self.fleets[:, None, :]) @ self.rise
            link, values = self._nearest(steps, len(mine))
            self.values = values + cost * self.window_s
            rises = self.least_rise_s * np.maximum(0.0, costs[None, :] - self.costs[:, None])
            rises[:-1, :-1] = steps
            self.bounds = (self.bounds[:, None] + rises).min(axis=0) + costs * self.window_s
        self.fleets, self.costs = fleets, costs
        self.choices.append(mine)
        self.links.append(link)

    def _nearest(self, steps: NDArray[np.float64], count: int) -> tuple[Counts, NDArray[np.float64]]:
        if not len(self.values):
            return np.zeros(count, np.int64), np.full(count, np.inf)
        total = self.values[:, None] + steps
        link = total.argmin(axis=0)
        return link, total[link, np.arange(count)]

    def bound(self) -> float:
        """The length of the shortest path with jokers."""
        return float(self.bounds.min())

    def path(self) -> Counts | None:
        """The shortest path without, as an index into the pool for each window; None if a window has no fleet."""
        if not all(len(each) for each in self.choices) or not np.isfinite(self.values.min()):
            return None
        return _walked(self.choices, self.links, int(self.values.argmin()))


def _walked(choices: list[Counts], links: list[Counts], last: int) -> Counts:
    """The path that ends in state `last`."""
    path = np.zeros(len(choices), np.int64)
    for window in range(len(choices) - 1, -1, -1):
        path[window] = choices[window][last]
        last = int(links[window][last])
    return path


def _states(
    data: PlanData, members: list[int], level: int, pool: _Pool, lowest: float, window: int
) -> tuple[Counts, float]:
    """(the cheapest fleets that serve a window in every scenario, the least price of a second of any other)."""
    first = int(np.searchsorted(pool.cost, lowest - 1e-9))
    rates, needed = data.rate[members, level, :, window], data.needed()[:, window] * (1 - TOLERANCE)
    found, at = np.zeros(0, np.int64), first
    while len(found) < STATES and at < len(pool.cost):
        rows = np.arange(at, min(at + 8 * STATES, len(pool.cost)))
        able = rows[np.all(pool.fleets[rows] @ rates >= needed, axis=1)]
        found, at = np.concatenate([found, able]), int(rows[-1]) + 1
    kept = found[:STATES]
    after = int(kept[-1]) + 1 if len(found) >= STATES else at
    return kept, float(pool.cost[after]) if after < len(pool.cost) else pool.beyond
