"""Fleets that serve one request at a time: scheduling on identical machines, exact and replayable."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.policies.declare import Instance, Params, Request, routing_policy
from slackwise.simulator import Simulation
from slackwise.solver.schedule.problem import LATE, TARDINESS, TTFT
from slackwise.traces import Trace

ALONE_GAP_S = 1e4
"""Between requests that are timed one by one."""

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class SerialProblem:
    """n requests on `machines` identical instances, each serving one at a time, from arrival to its last token."""

    machines: int
    arrival_s: Seconds
    due_s: Seconds
    first_s: Seconds  # from the begin of its service to the first token
    busy_s: Seconds  # ... to the last one
    tbt_late: NDArray[np.bool_]  # misses its TBT objective however it is scheduled

    @property
    def count(self) -> int:
        """n."""
        return len(self.arrival_s)

    def ticks(self, tick_s: float) -> tuple[NDArray[np.int64], ...]:
        """(arrival, first, busy, due) in ticks, rounded so that the oracle gains; late by TBT is due at once."""
        due = np.where(self.tbt_late, self.arrival_s - 1.0, self.due_s)
        down = [np.floor(each / tick_s + 1e-6) for each in (self.arrival_s, self.first_s, self.busy_s)]
        return (*(each.astype(np.int64) for each in down), np.ceil(due / tick_s - 1e-6).astype(np.int64) + 1)

    def timetable(self, start: NDArray[np.int64]) -> Timetable:
        """The timetable that serves in the order of `start` (any unit) with true times, each as soon as it can be."""
        order = np.lexsort((np.arange(self.count), start))
        free = [(0.0, machine) for machine in range(self.machines)]
        heapq.heapify(free)
        begin, machine_of = np.zeros(self.count), np.zeros(self.count, np.int64)
        for at in order:
            free_s, machine = heapq.heappop(free)
            begin[at], machine_of[at] = max(free_s, self.arrival_s[at]), machine
            heapq.heappush(free, (float(begin[at] + self.busy_s[at]), machine))
        return Timetable(begin, machine_of)

    def digest(self) -> str:
        """Of all numbers."""
        columns = (self.arrival_s, self.due_s, self.first_s, self.busy_s, self.tbt_late.astype(float))
        return hashlib.sha256(b"".join(each.tobytes() for each in columns) + str(self.machines).encode()).hexdigest()


@dataclass(frozen=True)
class Timetable:
    """When and where each request is served."""

    begin_s: Seconds
    machine: NDArray[np.int64]

    def cost(self, problem: SerialProblem, objective: str) -> float:
        """Its cost, summed over requests."""
        return float(serial_cost(problem, self.begin_s + problem.first_s, objective).sum())

    def to_json(self) -> dict[str, list[float] | list[int]]:
        """For JSON, in the order of the trace."""
        return {"begin_s": self.begin_s.tolist(), "machine": self.machine.tolist()}


def serial_cost(problem: SerialProblem, first_token_s: Seconds, objective: str) -> Seconds:
    """Cost of each request by the time of its first token."""
    if objective == LATE:
        return ((first_token_s > problem.due_s + 1e-9) | problem.tbt_late).astype(np.float64)
    if objective == TARDINESS:
        return np.maximum(0.0, first_token_s - problem.due_s)
    assert objective == TTFT
    return np.asarray(first_token_s - problem.arrival_s)


def is_serial(run: Simulation) -> bool:
    """Whether the fleet is one fixed pool of monoliths that run one request at a time, with no worker before them."""
    cluster = run.configuration.cluster
    alike = len(cluster.pools) == 1 and cluster.pools[0].stages == "EPD" and run.controller is None
    return alike and cluster.preprocess_workers == 0 and int(run.state.pools[0].max_sequences) == 1


def spread_out(trace: Trace) -> Trace:
    """The trace with its requests so far apart that each of them is alone."""
    return replace(trace, arrival_s=ALONE_GAP_S * np.arange(len(trace), dtype=np.float64))


def serial_problem(run: Simulation, alone: Simulation) -> SerialProblem:
    """The problem of a run that has not begun. `alone` is the same of the trace `spread_out`; it is run to the end.

    Raises InputError unless the fleet is serial (`is_serial`), or if requests are rejected.
    """
    if not is_serial(run):
        raise InputError("only a pool of monoliths that run one request at a time has a timetable")
    if run.rejected.any():
        raise InputError(f"{int(run.rejected.sum())} requests can never fit the KV cache: leave them out")
    alone.run_until()
    requests, progress = run.state.requests, alone.state.progress
    begun = alone.state.requests.arrival_s
    first, busy = np.array(progress.first_token_s - begun), np.array(progress.finish_s - begun)
    tbt = (busy - first) / np.maximum(1, progress.output_tokens - 1)
    late = tbt > run.objectives.tbt_s(np.array(requests.images))
    arrival, due = np.array(requests.arrival_s, float), np.array(requests.deadline_s, float)
    return SerialProblem(run.configuration.cluster.pools[0].instances, arrival, due, first, busy, np.asarray(late))


@routing_policy(source="slackwise: the timetable of an offline optimum")
def as_planned(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Send each request where the timetable says; `params` holds the machine of each, by its place in the trace."""
    return 0.0 if params[request.id] == instance.index else 1.0


def release_trace(trace: Trace, timetable: Timetable) -> tuple[Trace, NDArray[np.int64]]:
    """(the trace with every request released at its begin, the place in `trace` of each of its rows).

    The oracle may hold requests back; the simulator, which starts whatever waits, is told of them only when they begin.
    """
    order = np.lexsort((np.arange(len(trace)), timetable.begin_s))
    held = Trace(
        timetable.begin_s[order],
        trace.recorded_images[order],
        trace.context_tokens[order],
        trace.output_tokens[order],
        image_count=trace.image_count,
        start=trace.start,
        source=f"{trace.source}; held back by a timetable",
    )
    return held, order


def replay(run: Simulation, timetable: Timetable, order: NDArray[np.int64]) -> Seconds:
    """Times of the first tokens of a run of `release_trace`, in the order of the original trace."""
    run.decisions[3] = (as_planned, timetable.machine[order].astype(np.float64))
    run.run_until()
    first = np.zeros(len(order))
    first[order] = run.state.progress.first_token_s
    return first
