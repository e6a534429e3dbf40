"""A timetable with few late requests, by hand, of any length: a best known schedule where exact search is too dear."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from slackwise.solver.schedule.serial import SerialProblem, Timetable

ROUNDING_S = 5e-10
"""Half of what `serial_cost` lets pass."""

ARRIVAL, DONE, LAST_CALL = 0, 1, 2


def selected(problem: SerialProblem) -> Timetable:
    """The timetable of those that `_Selection` keeps in time, followed by the late ones."""
    chosen = _Selection(problem)
    chosen.run()
    kept = np.isfinite(chosen.begin)
    order = np.argsort(np.where(kept, chosen.begin, np.inf), kind="stable")
    place = np.empty(problem.count, np.int64)
    place[order] = np.arange(problem.count)
    return problem.timetable(place)


@dataclass
class _Selection:
    """Who is free takes the shortest request that waits; who can wait no longer takes the place of the longest left.

    Without any slack that keeps the most requests there are (Faigle and Nawijn, 1995: of intervals on identical
    machines drop the one that ends last). With slack it is a heuristic.
    """

    problem: SerialProblem
    free: int = field(init=False)
    waiting: list[tuple[float, int]] = field(init=False, default_factory=list)  # (service, request)
    events: list[tuple[float, int, int]] = field(init=False, default_factory=list)
    running: dict[int, float] = field(init=False, default_factory=dict)  # request -> end

    def __post_init__(self) -> None:
        problem = self.problem
        self.free, self.begin = problem.machines, np.full(problem.count, np.inf)
        self.latest = np.where(problem.tbt_late, -np.inf, problem.due_s - problem.first_s + ROUNDING_S)
        self.events = [(float(each), ARRIVAL, at) for at, each in enumerate(problem.arrival_s)]
        heapq.heapify(self.events)

    def run(self) -> None:
        """Decide `begin`, infinite for the late ones."""
        while self.events:
            now = self.events[0][0]
            calls = []
            while self.events and self.events[0][0] == now:
                _, kind, at = heapq.heappop(self.events)
                if kind == ARRIVAL and self.latest[at] >= now:
                    heapq.heappush(self.waiting, (float(self.problem.busy_s[at]), at))
                    heapq.heappush(self.events, (float(self.latest[at]), LAST_CALL, at))
                elif kind == DONE and self.running.get(at) == now:
                    del self.running[at]
                    self.free += 1
                elif kind == LAST_CALL:
                    calls.append(at)
            self._fill(now)
            for at in calls:
                if self.latest[at] >= now and np.isinf(self.begin[at]):
                    self._displace(now, at)

    def _fill(self, now: float) -> None:
        while self.free and self.waiting:
            _, at = heapq.heappop(self.waiting)
            if self.latest[at] >= now and np.isinf(self.begin[at]):
                self.free -= 1
                self._start(now, at)

    def _displace(self, now: float, at: int) -> None:
        """Let `at` begin in place of the one that ends last, if that is later than its own end."""
        last = max(self.running, key=lambda each: (self.running[each], each))
        if self.running[last] > now + self.problem.busy_s[at]:
            del self.running[last]
            self.begin[last], self.latest[last] = np.inf, -np.inf
            self._start(now, at)

    def _start(self, now: float, at: int) -> None:
        self.begin[at] = now
        self.running[at] = now + float(self.problem.busy_s[at])
        heapq.heappush(self.events, (self.running[at], DONE, at))
