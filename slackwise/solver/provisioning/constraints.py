"""Rows of the fleet model: one function a family, whose docstring is the sentence that it enforces."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.provisioning.data import Option, PlanData
from slackwise.solver.provisioning.floors import Floors
from slackwise.solver.provisioning.packing import divisible, patterns
from slackwise.solver.provisioning.variables import Columns


def one_topology(model: Any, data: PlanData, columns: Columns) -> None:
    """Exactly one topology is deployed: sum over t of topology[t] = 1."""
    model.add_linear_constraint(sum(columns.topology.values()) == 1, name="one topology")


def one_level(model: Any, data: PlanData, columns: Columns) -> None:
    """Each class of the deployed topology has one level, any other none: sum over l of level[c, l] = deployed[c]."""
    for name in {each: None for each, _ in columns.level}:
        levels = [column for (each, _), column in columns.level.items() if each == name]
        deployed = [columns.topology[each] for each in data.topologies if name in TOPOLOGIES[each]]
        model.add_linear_constraint(sum(levels) == sum(deployed), name=f"one level of {name}")


def slo_split(model: Any, data: PlanData, columns: Columns) -> None:
    """The shares of the TTFT objective that the classes are given sum to at most 1 (+ the slack, in "ttft")."""
    shares = sum(data.levels[name][level] * column for (name, level), column in columns.level.items())
    more = columns.more_ttft if columns.more_ttft is not None else 0.0
    model.add_linear_constraint(shares <= 1.0 + more, name="split of the TTFT objective")


def only_deployed(model: Any, data: PlanData, columns: Columns) -> None:
    """Kinds outside the deployed topology have no instance: ready[w, k] <= most[k] deployed[c of k]."""
    for (window, kind), column in columns.ready.items():
        name, high = data.kinds[kind].stages, column.upper_bound
        if np.isfinite(high):
            deployed = sum(columns.topology[each] for each in data.topologies if name in TOPOLOGIES[each])
            label = f"only if deployed[window={window}, {data.kinds[kind].name}]"
            model.add_linear_constraint(column <= high * deployed, name=label)


def capacity(model: Any, data: PlanData, columns: Columns, option: Option | None) -> None:
    """In every window and scenario each class serves what arrives, headroom included, within its share of the SLO.

    sum over k in c of rate[k, l, o, w] ready[w, k] + unserved[c, w] >= (1 + headroom) load[o, w] level[c, l].
    Scenarios whose row follows from another one are left out.
    """
    needed = data.needed()
    for name, level, chosen in _levels(columns, option):
        members = [kind for kind in data.classes[name] if kind in columns.kinds]
        for window in range(data.windows):
            for scenario in binding_scenarios(data.rate[members, level, :, window], needed[:, window]):
                rates = data.rate[members, level, scenario, window]
                terms = [rate * columns.ready[window, kind] for rate, kind in zip(rates, members, strict=True) if rate]
                served = sum(terms) if terms else 0.0 * columns.ready[window, members[0]]  # a row all the same
                slack = columns.unserved.get((name, window), 0.0)
                label = f"capacity[window={window}, {name} at level {level}, scenario {scenario}]"
                low = needed[scenario, window] * chosen
                model.add_linear_constraint(served + slack >= low, name=label)


def least_instances(model: Any, data: PlanData, columns: Columns, option: Option | None) -> None:
    """Each class of the deployed topology has at least `least` instances in every window."""
    if data.terms.least == 0:
        return
    for name in {kind.stages: None for kind in data.kinds}:
        members = [kind for kind in data.classes[name] if kind in columns.kinds]
        if not members:
            continue
        deployed = (
            1.0 if option else sum(columns.topology[each] for each in data.topologies if name in TOPOLOGIES[each])
        )
        for window in range(data.windows):
            count = sum(columns.ready[window, kind] for kind in members)
            label = f"at least {data.terms.least}[window={window}, {name}]"
            model.add_linear_constraint(count >= data.terms.least * deployed, name=label)


def starts(model: Any, data: PlanData, columns: Columns) -> None:
    """Who is ready and was not must have been started: start[w, k] >= ready[w, k] - ready[w - 1, k].

    Before window 0 the fleet `initial` is ready; without one, whatever window 0 has is there already.
    """
    for (window, kind), column in columns.ready.items():
        label = f"started[window={window}, {data.kinds[kind].name}]"
        if window > 0:
            before = columns.ready[window - 1, kind]
            model.add_linear_constraint(columns.start[window, kind] >= column - before, name=label)
        elif data.initial is not None:
            start = columns.start[window, kind]
            model.add_linear_constraint(start >= column - data.initial.get(kind, 0), name=label)


def start_up(model: Any, data: PlanData, columns: Columns) -> None:
    """Capacity counts only after the start-up time: start[w, k] = 0 in the first windows, if the plan has a past."""
    if data.initial is None:
        return
    for (window, kind), column in columns.start.items():
        if window < data.first_window(kind):
            label = f"not ready yet[window={window}, {data.kinds[kind].name}]"
            model.add_linear_constraint(column <= 0, name=label)


def min_up(model: Any, data: PlanData, columns: Columns) -> None:
    """Who has started stays: the starts of the last `min_up_windows` windows sum to at most ready[w, k].

    (Rajan and Takriti, 2005: for one kind these rows and those of `starts` have integral corners.)
    """
    span = data.terms.min_up_windows
    if span == 1:
        return
    for (window, kind), column in columns.ready.items():
        recent = sum(columns.start[at, kind] for at in range(max(0, window - span + 1), window + 1))
        model.add_linear_constraint(recent <= column, name=f"stays up[window={window}, {data.kinds[kind].name}]")


def servers(model: Any, data: PlanData, columns: Columns) -> None:
    """Instances that are ready or starting fit the servers of their GPU type, whole instances on one server each.

    sum of GPUs <= GPUs of the servers where sizes divide each other; else, for each size, instances <= places in the
    patterns chosen, and patterns <= servers.
    """
    for gpu, count in data.servers.items():
        if count is None:
            continue
        sizes, members = data.sizes(gpu), [kind for kind in columns.kinds if data.kinds[kind].gpu == gpu]
        for window in range(data.windows):
            have = count + columns.more_servers.get((gpu, window), 0)
            held = {kind: occupied(data, columns, window, kind) for kind in members}
            if divisible(sizes, data.gpus_per_server):
                gpus = sum(data.kinds[kind].tensor_parallel * each for kind, each in held.items())
                if members:
                    model.add_linear_constraint(
                        gpus <= data.gpus_per_server * have, name=f"GPUs of the servers[window={window}, {gpu}]"
                    )
                continue
            _by_pattern(model, data, columns, gpu, window, sizes, held, have)


def _by_pattern(
    model: Any, data: PlanData, columns: Columns, gpu: str, window: int, sizes: tuple[int, ...], held: Any, have: Any
) -> None:
    chosen = patterns(sizes, data.gpus_per_server)
    used = sum(columns.pattern[gpu, window, at] for at in range(len(chosen)))
    model.add_linear_constraint(used <= have, name=f"servers[window={window}, {gpu}]")
    for place, size in enumerate(sizes):
        mine = sum(each for kind, each in held.items() if data.kinds[kind].tensor_parallel == size)
        places = sum(pattern[place] * columns.pattern[gpu, window, at] for at, pattern in enumerate(chosen))
        model.add_linear_constraint(mine <= places, name=f"places[window={window}, TP-{size} on {gpu}]")


def occupied(data: PlanData, columns: Columns, window: int, kind: int) -> Any:
    """Instances that hold GPUs in a window: ready, or ordered and to be ready within their start-up time."""
    last = min(data.windows - 1, window + data.start_windows(kind))
    ordered = sum(columns.start[at, kind] for at in range(window + 1, last + 1))
    return columns.ready[window, kind] + ordered


def floors(model: Any, data: PlanData, columns: Columns, found: Floors) -> None:
    """No fleet that serves a window costs less than the cheapest whole number of instances: a cut, not a rule.

    sum over k in c of cost[k] ready[w, k] >= floor[c, w], the optimum of an integer knapsack (floors.py).
    """
    for name, lowest in found.cost.items():
        members = [kind for kind in data.classes[name] if kind in columns.kinds]
        for window in range(data.windows):
            if lowest[window] > 0:
                cost = sum(data.kinds[kind].cost * columns.ready[window, kind] for kind in members)
                label = f"cheapest whole fleet[window={window}, {name}]"
                model.add_linear_constraint(cost >= float(lowest[window]), name=label)


def binding_scenarios(rates: Any, needed: Any) -> list[int]:
    """Scenarios whose capacity row is not implied by another; rates (members, O), needed (O,).

    Row o is implied by p if every kind covers no less of o's need: rate[., o] / needed[o] >= rate[., p] / needed[p].
    """
    alive = [at for at in range(len(needed)) if needed[at] > 0]
    if len(alive) < 2:
        return alive
    covers = rates[:, alive] / needed[alive]
    distinct = np.unique(np.round(covers, 15), axis=1, return_index=True)[1]
    kept = [
        at
        for at in sorted(distinct)
        if not any(
            other != at and np.all(covers[:, other] <= covers[:, at]) and np.any(covers[:, other] < covers[:, at])
            for other in distinct
        )
    ]
    return [alive[at] for at in kept]


def _levels(columns: Columns, option: Option | None) -> list[tuple[str, int, Any]]:
    """(class, level, 1 or the column that chooses it)."""
    if option is not None:
        return [(name, level, 1.0) for name, level in option.levels.items()]
    return [(name, level, column) for (name, level), column in columns.level.items()]
