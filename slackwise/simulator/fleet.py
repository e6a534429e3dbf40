"""The fleet as it stands: who could be started, drained or exchanged, what it has cost; and orders to change it."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.state import (
    DECODING,
    DOWN,
    DRAINING,
    ENCODING,
    OFF,
    ORDERS_FIRST,
    PREFILLING,
    READY,
    STARTING,
    State,
)


def give(
    state: State,
    issued_s: float,
    time_s: float,
    kind: int,
    instance: int,
    value: float = 0.0,
    other: int = -1,
    count: int = 0,
) -> None:
    """Put an order of ORDER's fields among the events to come."""
    clock = state.clock[0]
    while clock.orders + clock.leaves >= len(state.orders) - 1:
        state.grow("orders")
    while clock.transfers + 1 >= len(state.transfers):
        state.grow("transfers")
    at = int(clock.orders)
    state.orders[at] = (time_s, issued_s, value, kind, instance, other, count, 1)
    _push(state, time_s, at - ORDERS_FIRST, ~at)
    clock.orders += 1


def count_ready(state: State) -> None:
    """Number the ready instances of each group, as lifecycle.count_ready does while a run goes on."""
    state.instances.index = -1
    for group in (ENCODING, PREFILLING, DECODING):
        members = state.groups[group]
        rows = np.arange(members.first, members.first + members.count)
        ready = rows[state.engines.status[rows] == READY]
        members.ready, members.lead = len(ready), ready[0] if len(ready) else -1
        state.ready.instance[group, : len(ready)] = ready
        state.instances.pool_size[rows] = len(ready)
        state.instances.index[ready] = np.arange(len(ready))


def draining(state: State, pool: int) -> list[int]:
    """Instances that drain and may be called back, those with most work first."""
    engines = state.engines
    rows = np.flatnonzero((engines.pool == pool) & (engines.status == DRAINING) & (engines.successor < 0))
    return rows[np.argsort(-_work(state, rows), kind="stable")].tolist()


def startable(state: State, pool: int) -> list[int]:
    """Instances that are off and not reserved for a role switch."""
    engines = state.engines
    return np.flatnonzero((engines.pool == pool) & (engines.status == OFF) & (engines.awaits == 0)).tolist()


def drainable(state: State, pool: int) -> list[int]:
    """Instances in the order in which they should go: starts, latest first, then ready ones, those with least work."""
    engines = state.engines
    starting = np.flatnonzero((engines.pool == pool) & (engines.status == STARTING))
    latest_first = starting[np.lexsort((-starting, -engines.ready_s[starting]))]
    return latest_first.tolist() + least_work(state, pool)


def least_work(state: State, pool: int) -> list[int]:
    """Ready instances, those with least work first, then those of higher number."""
    rows = np.flatnonzero((state.engines.pool == pool) & (state.engines.status == READY))
    return rows[np.lexsort((-rows, _work(state, rows)))].tolist()


def exchange(state: State, giver: int, taker: int) -> tuple[list[int], list[int]]:
    """The fewest ready instances of `giver`, and the instances of `taker` that their GPUs make without a rest.

    As four of TP-1 for one of TP-4; none at all if there are not as many.
    """
    gives, takes = _gpus(state, giver), _gpus(state, taker)
    common = gives * takes // gcd(gives, takes)
    leaving, coming = least_work(state, giver), startable(state, taker)
    out, into = common // gives, common // takes
    return (leaving[:out], coming[:into]) if len(leaving) >= out and len(coming) >= into else ([], [])


def held_gpu_s(state: State, until_s: float) -> NDArray[np.float64]:
    """GPU-seconds charged to each instance up to `until_s`, float64, shape (m,)."""
    engines, gpus = state.engines, state.instances.tensor_parallel
    held = np.isin(engines.status, (STARTING, READY, DRAINING, DOWN))
    current_s = np.where(held, np.maximum(0.0, until_s - engines.since_s), 0.0)
    charged: NDArray[np.float64] = engines.held_gpu_s + gpus * current_s + engines.lent_gpus * until_s
    return charged


def gpus_held(state: State) -> int:
    """GPUs that are charged now."""
    held = np.isin(state.engines.status, (STARTING, READY, DRAINING, DOWN))
    return int(state.instances.tensor_parallel[held].sum() + state.engines.lent_gpus.sum())


def _work(state: State, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Requests and jobs waiting or running on instances, int64, shape (rows,)."""
    seen = state.instances[rows]
    return seen.waiting.astype(np.int64) + seen.running


def _gpus(state: State, pool: int) -> int:
    return int(state.instances.tensor_parallel[state.engines.pool == pool][0])


def _push(state: State, key: float, order: int, ident: int) -> None:
    """Add an entry to the heap of deliveries: what heap.push does, which only compiled code can call cheaply."""
    heap, at = state.transfers, int(state.clock[0].transfers)
    heap[at] = (key, order, ident)
    state.clock[0].transfers += 1
    while at > 0:
        above = (at - 1) >> 1
        if (heap.key[above], heap.order[above]) <= (heap.key[at], heap.order[at]):
            return
        heap[[above, at]] = heap[[at, above]]
        at = above
