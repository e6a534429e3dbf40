"""Lower bounds of a schedule's cost that need no integer search: the trivial one, and the time-indexed LP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.backend import mathopt
from slackwise.solver.schedule.problem import Relaxation, Stage

BINS = 160
"""Time bins of the LP whose prices are used."""

FINE = 4
"""The bound is evaluated in bins this many times as fine."""

CLASSES = 12
"""Groups of the LP by the size of their work, in each pair of release and due bins."""

ROUNDS = 400
"""Steps by which prices are improved after the LP."""

PATIENCE = 8
SMALLEST_REACH = 1e-4

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def trivial(relaxed: Relaxation, objective: str) -> float:
    """Every request alone on the whole fleet: nobody waits for anybody."""
    alone = relaxed.cost(objective, relaxed.arrival_s + relaxed.least_ttft_s)
    return float(alone.sum()) + relaxed.constant(objective)


def time_indexed(relaxed: Relaxation, objective: str, bins: int = BINS) -> float:
    """The best bound of any stage by itself: work is a fluid, cut at will, within the capacity of every time bin.

    LP: x[i, t] = share of request i's work done in bin t; sum over t of x = 1, sum over i of work[i] x[i, t] <=
    machines x width, and a request costs at least sum over t of x[i, t] cost(begin of t + tail): its first token comes
    no earlier than its last bin begins, and that bin costs no less than the average (Dyer and Wolsey, 1990, for one
    machine). The bound reported is a dual solution evaluated on all requests, so rounding, grouping and an LP that
    ended early can only weaken it.
    """
    bounds = [trivial(relaxed, objective)]
    for stage in relaxed.stages_for(objective):
        if (stage.work_s > 0).any():
            bounds.append(_stage_bound(relaxed, stage, objective, bins) + relaxed.constant(objective))
    return max(bounds)


def _stage_bound(relaxed: Relaxation, stage: Stage, objective: str, bins: int) -> float:
    """Bound of one stage: requests that skip it cost what they cost alone."""
    busy = stage.work_s > 0
    alone = relaxed.cost(objective, relaxed.arrival_s + relaxed.least_ttft_s)
    coarse, fine = (_Grid.of(relaxed, stage, busy, objective, bins * times) for times in (1, FINE))
    prices = np.repeat(coarse.lp_prices(), FINE)[: len(fine.begin_s)]
    return float(alone[~busy].sum()) + fine.improved(prices)


@dataclass(frozen=True)
class _Grid:
    """Requests of a stage on time bins: costs (n, T) infinite before the release, work (n,), capacity of a bin."""

    begin_s: Vector
    cost: Matrix
    work_s: Vector
    capacity_s: float

    @classmethod
    def of(cls, relaxed: Relaxation, stage: Stage, rows: NDArray[np.bool_], objective: str, bins: int) -> _Grid:
        """Bins of one width from the first release until all work is done even if it starts after the last release."""
        release, work = stage.release_s[rows], stage.work_s[rows]
        begin = float(release.min())
        width = (float(release.max()) - begin + float(work.sum()) / stage.machines) / (bins - 2) + 1e-9
        edges = np.asarray(begin + width * np.arange(bins), np.float64)
        chosen = Relaxation(relaxed.arrival_s[rows], relaxed.due_s[rows], relaxed.least_ttft_s[rows], (), 0)
        alone = chosen.arrival_s + chosen.least_ttft_s
        done = np.maximum(np.maximum(edges[None, :], release[:, None]) + stage.tail_s[rows][:, None], alone[:, None])
        cost = np.stack([chosen.cost(objective, done[:, at]) for at in range(bins)], axis=1)
        cost[edges[None, :] + width <= release[:, None]] = np.inf
        return cls(edges, cost, work, stage.machines * width)

    def value(self, prices: Vector) -> tuple[float, NDArray[np.int64]]:
        """(dual value, each request's cheapest bin): sum of min over t of cost + work price, less capacity x prices."""
        total = self.cost + self.work_s[:, None] * prices[None, :]
        cheapest = total.argmin(axis=1)
        least = total[np.arange(len(cheapest)), cheapest]
        return float(least.sum() - self.capacity_s * prices.sum()), cheapest

    def improved(self, prices: Vector) -> float:
        """The best dual value on the way of a subgradient ascent from `prices`, at least that of 0.

        Steps aim at a level above the best value known (Polyak, 1969), which is lowered when PATIENCE of them fail.
        """
        best, _ = self.value(np.zeros_like(prices))
        best_prices, reach, failed = np.zeros_like(prices), 0.5, 0
        for _ in range(ROUNDS):
            value, chosen = self.value(prices)
            failed += 1
            if value > best:
                best, best_prices, failed = value, prices, 0
            if failed > PATIENCE:
                prices, reach, failed = best_prices, 0.5 * reach, 0
                value, chosen = self.value(prices)
            slope = np.bincount(chosen, self.work_s, len(prices)) - self.capacity_s
            norm = float(slope @ slope)
            if norm == 0.0 or reach < SMALLEST_REACH:
                break
            aim = max(abs(best), 1e-9) * (1.0 + reach) - value
            prices = np.maximum(0.0, prices + aim / norm * slope)
        return best

    def lp_prices(self) -> Vector:
        """Capacity prices of the LP over groups of like requests, (T,)."""
        groups = self._groups()
        model = mathopt().Model(name="time-indexed LP")
        used: dict[int, list[tuple[float, Any]]] = {at: [] for at in range(len(self.begin_s))}
        terms = []
        for number, rows in enumerate(groups):
            work, cost = float(self.work_s[rows].sum()), self.cost[rows].mean(axis=0)
            columns = []
            for at in _worthwhile(cost):
                column = model.add_variable(lb=0.0, name=f"share[group {number}, bin {at}]")
                columns.append(column)
                used[at].append((work, column))
                terms.append(len(rows) * float(cost[at]) * column)
            model.add_linear_constraint(sum(columns) == 1.0, name=f"all of group {number}")
        rows_of = {}
        for at, parts in used.items():
            if parts:
                total = sum(work * column for work, column in parts)
                rows_of[at] = model.add_linear_constraint(total <= self.capacity_s, name=f"capacity of bin {at}")
        model.minimize(sum(terms))
        found = mathopt().solve(model, mathopt().SolverType.GLOP)
        prices = np.zeros(len(self.begin_s))
        if found.has_dual_feasible_solution():
            for at, row in rows_of.items():
                prices[at] = max(0.0, -found.dual_values(row))
        return prices

    def _groups(self) -> list[NDArray[np.int64]]:
        """Requests of one release bin, about one cost profile and about one size."""
        first = np.isfinite(self.cost).argmax(axis=1)
        last = np.array([int(np.searchsorted(np.nan_to_num(row, posinf=-1.0), 1e-12)) for row in self.cost])
        edges = np.quantile(self.work_s, np.linspace(0, 1, CLASSES + 1)[1:-1])
        size = np.searchsorted(edges, self.work_s)
        step = max(1, len(self.begin_s) // 40)
        keys = np.stack([first, last // step, size], axis=1)
        _, group = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        return np.split(order, np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def _worthwhile(cost: Vector) -> NDArray[np.int64]:
    """Bins that a group may use: from its release on, ever sparser; its last bin always."""
    able = np.flatnonzero(np.isfinite(cost))
    keep = np.unique(np.concatenate([able[:12], able[12:36:2], able[36::4], able[-1:]]))
    return np.asarray(keep, np.int64)
