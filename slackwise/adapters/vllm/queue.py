"""The waiting queue: requests in the order of their ranks, ties by arrival; who is not yet ranked waits behind."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, TypeAlias

import numpy as np

Waiting: TypeAlias = Any
"""A request of vLLM: `request_id`, `arrival_time`."""

FIRST = -np.inf
"""Rank of whoever has waited too long."""


class RankedQueue:
    """What vLLM asks of its queue of waiting requests (RequestQueue), and the ranks behind it.

    Requests that come are `fresh` until `place` gives them ranks, which the scheduler does before each step. Without
    ranks (the policy failed) the order is that of arrival.
    """

    def __init__(self, requests: Iterable[Waiting] = ()) -> None:
        self.fresh: dict[str, Waiting] = {}
        self._entries: list[tuple[float, float, int, Waiting]] = []
        self._entry_of: dict[str, tuple[float, float, int, Waiting]] = {}
        self._turn_of: dict[str, int] = {}
        self._turns = 0
        self.changes = 0  # whoever came, left or was ranked: as long as it stays, so do the entries
        self._arrivals: list[tuple[float, int, str]] = []
        self._starving: set[str] = set()
        for request in requests:
            self.add_request(request)

    def add_request(self, request: Waiting) -> None:
        name = request.request_id
        if name not in self._turn_of:
            self._turn_of[name] = self._turns
            self._turns += 1
        self.fresh[name] = request
        self.changes += 1
        heappush(self._arrivals, (request.arrival_time, self._turn_of[name], name))

    def prepend_request(self, request: Waiting) -> None:
        """A preempted request queues again: its rank says where."""
        self.add_request(request)

    def prepend_requests(self, requests: Iterable[Waiting]) -> None:
        """Requests that could not be looked at in this step queue again."""
        for request in requests:
            self.add_request(request)

    def pop_request(self) -> Waiting:
        request = self.peek_request()
        self.changes += 1
        del self._entries[0]
        del self._entry_of[request.request_id]
        return request

    def peek_request(self) -> Waiting:
        """The head. Raises IndexError if nobody waits."""
        if self.fresh:
            self.by_arrival()
        if not self._entries:
            raise IndexError("nobody waits")
        return self._entries[0][3]

    def remove_request(self, request: Waiting) -> None:
        """Raises ValueError if it does not wait here, as vLLM's own queues do."""
        name = request.request_id
        self.changes += 1
        if self.fresh.pop(name, None) is None:
            if name not in self._entry_of:
                raise ValueError(f"{name} does not wait")
            self._take_out(name)
        self.forget(name)

    def remove_requests(self, requests: Iterable[Waiting]) -> None:
        for request in requests:
            if request.request_id in self.fresh or request.request_id in self._entry_of:
                self.remove_request(request)

    def forget(self, name: str) -> None:
        """The request has left the engine: its place among equals may go."""
        self._turn_of.pop(name, None)
        self._starving.discard(name)

    def place(self, requests: Sequence[Waiting], ranks: Sequence[float]) -> None:
        """Give ranks to some requests that wait, fresh or not."""
        for request, rank in zip(requests, ranks, strict=True):
            self._place(request, rank)

    def place_all(self, requests: Sequence[Waiting], ranks: Sequence[float]) -> None:
        """Give ranks to all that wait."""
        turns, starving = self._turn_of, self._starving
        names = [request.request_id for request in requests]
        if starving:
            ranks = [FIRST if name in starving else rank for name, rank in zip(names, ranks, strict=True)]
        self._entries = [
            (rank, request.arrival_time, turns[name], request)
            for rank, name, request in zip(ranks, names, requests, strict=True)
        ]
        self._entry_of = dict(zip(names, self._entries, strict=True))
        self._entries.sort()
        self.fresh.clear()
        self.changes += 1

    def by_arrival(self) -> None:
        """Order by arrival, whatever the ranks."""
        everyone = list(self)
        self.place_all(everyone, [0.0] * len(everyone))

    def oldest_arrival(self) -> float:
        """Arrival of whoever has waited longest, those moved up aside; infinite if nobody waits."""
        while self._arrivals and not self._waits(self._arrivals[0]):
            heappop(self._arrivals)
        return self._arrivals[0][0] if self._arrivals else np.inf

    def move_up(self, before_s: float) -> int:
        """Put whoever came before that time ahead of all others, oldest first; how many that were."""
        moved = 0
        while self.oldest_arrival() < before_s:
            _, _, name = heappop(self._arrivals)
            self._starving.add(name)
            self._place(self.fresh[name] if name in self.fresh else self._entry_of[name][3], FIRST)
            moved += 1
        return moved

    def rank_of(self, name: str) -> float:
        """The rank of a request that waits and has one."""
        return self._entry_of[name][0]

    def __bool__(self) -> bool:
        return bool(self._entries) or bool(self.fresh)

    def __len__(self) -> int:
        return len(self._entries) + len(self.fresh)

    def __iter__(self) -> Iterator[Waiting]:
        return iter([*(entry[3] for entry in self._entries), *self.fresh.values()])

    def _waits(self, arrival: tuple[float, int, str]) -> bool:
        _, turn, name = arrival
        waits = name in self.fresh or name in self._entry_of
        return waits and self._turn_of.get(name) == turn and name not in self._starving

    def _entry(self, request: Waiting, rank: float) -> tuple[float, float, int, Waiting]:
        name = request.request_id
        return FIRST if name in self._starving else rank, request.arrival_time, self._turn_of[name], request

    def _place(self, request: Waiting, rank: float) -> None:
        name = request.request_id
        self.changes += 1
        if self.fresh.pop(name, None) is None:
            self._take_out(name)
        self._entry_of[name] = self._entry(request, rank)
        insort(self._entries, self._entry_of[name])

    def _take_out(self, name: str) -> None:
        entry = self._entry_of.pop(name)
        del self._entries[bisect_left(self._entries, entry)]
