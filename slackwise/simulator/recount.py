"""Where everything is, taken from a state's lists alone, in one pass for all instances."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.state import State
from slackwise.simulator.transfer import KIND, KIND_BITS, LOST, TO_QUEUE

Numbers = NDArray[np.int64]


class Listed(NamedTuple):
    """What instances list, instance after instance, each list in its order; int64, shape (entries,) each."""

    ident: Numbers
    instance: Numbers


class Recount:
    """The lists of a state as they stand, each gathered once, when it is first asked for.

    n requests, m instances; a list costs O(m) and its entries, or O(n). Nothing here reads a count that the kernel
    keeps beside the length of a list.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    @cached_property
    def queued(self) -> Listed:
        """Requests that wait on an instance."""
        return _listed(self.state.queues.ident, self.state.engines.queued)

    @cached_property
    def queued_jobs(self) -> Listed:
        """Encode jobs that wait on an instance."""
        return _listed(self.state.job_queues.ident, self.state.engines.queued_jobs)

    @cached_property
    def prefilling(self) -> Listed:
        """Requests between the first and the last chunk of their prefill."""
        return _listed(self.state.slots.in_flight, self.state.engines.in_flight)

    @cached_property
    def decoding(self) -> Listed:
        """Requests that decode."""
        return _listed(self.state.decodes.ident, self.state.engines.decodes)

    @cached_property
    def at_work(self) -> tuple[Any, Numbers]:
        """SLOT rows of what encodes or prefills in running steps (requests, and jobs as ~job), and their instances."""
        instance, place = cells(self.state.engines.work)
        return self.state.slots[instance, place], instance

    @cached_property
    def running_jobs(self) -> Listed:
        """Encode jobs in running steps."""
        work, instance = self.at_work
        jobs = work.ident < 0
        return Listed(~work.ident[jobs], instance[jobs])

    @cached_property
    def chunks(self) -> tuple[Any, Numbers]:
        """SLOT rows of the requests that encode or prefill in running steps, and their instances."""
        work, instance = self.at_work
        requests = work.ident >= 0
        return work[requests], instance[requests]

    @cached_property
    def travelling(self) -> Numbers:
        """Requests whose embeddings or KV caches are on their way to a queue."""
        return np.concatenate([self.delivered(TO_QUEUE), self.delivered(LOST)])

    def delivered(self, kind: int) -> Numbers:
        """Requests, or jobs of a PART or FOUND, of the deliveries of a kind to come."""
        codes = numbers(self.state.transfers.ident[: self.state.clock[0].transfers])
        return codes[(codes >= 0) & (codes & KIND == kind)] >> KIND_BITS

    @cached_property
    def failed(self) -> Numbers:
        """Requests that were given up."""
        return np.flatnonzero(self.state.progress.failure != 0)

    @cached_property
    def parked(self) -> Numbers:
        """Requests that wait until an instance of their group is ready.

        One that another of its jobs had dropped meanwhile is not counted.
        """
        groups, following, found = self.state.groups, self.state.progress.next_parked, []
        for request, count in zip(groups.parked_first.tolist(), groups.parked.tolist(), strict=True):
            for _ in range(count):
                found.append(request)
                request = int(following[request])
        waiting = numbers(found)
        return waiting[self.state.progress.failure[waiting] == 0]

    @cached_property
    def leaving(self) -> Listed:
        """Requests that an instance has prefilled and whose KV caches it still holds for another."""
        holder = self.state.progress.holder
        requests = np.flatnonzero(holder >= 0)
        return Listed(requests, numbers(holder[requests]))

    @cached_property
    def live_jobs(self) -> Numbers:
        """Encode jobs that are queued, running or, with overlap, not yet there without a gap."""
        live = np.ones(len(self.state.jobs), bool)
        live[self.state.jobs.free[: self.state.clock[0].free_jobs]] = False
        return np.flatnonzero(live)

    @cached_property
    def encoding(self) -> Numbers:
        """Requests with jobs that are not queued for prefill yet, nor parked, nor given up."""
        begun = np.concatenate([self.queued.ident, self.prefilling.ident, self.parked])
        requests = np.setdiff1d(numbers(self.state.jobs.request[self.live_jobs]), begun)
        return requests[self.state.progress.failure[requests] == 0]

    @cached_property
    def waiting(self) -> Listed:
        """Requests that wait on an instance or are on their way there."""
        sent = np.concatenate([self.travelling, self.encoding])
        to = numbers(self.state.progress.instance[sent])
        routed = to >= 0
        return joined(self.queued, Listed(sent[routed], to[routed]))

    def places(self) -> dict[str, Numbers]:
        """Requests by where they are."""
        return {
            "failed": self.failed,
            "future": numbers(self.state.arrivals.request[self.state.clock[0].next_arrival :]),
            "encoding": self.encoding,
            "travelling": self.travelling,
            "parked": self.parked,
            "finished": np.flatnonzero(~np.isnan(self.state.progress.finish_s)),
            "queued": self.queued.ident,
            "prefilling": self.prefilling.ident,
            "decoding": self.decoding.ident,
        }

    @cached_property
    def kept(self) -> Listed:
        """Rows of the cache by the order of use of their instance."""
        return chains(self.state.engines.oldest, self.state.cached.newer)

    @cached_property
    def alike(self) -> Listed:
        """Rows of the cache by the list of their content, whose first request stands in place of the instance."""
        return chains(self.state.progress.cached, self.state.cached.alike)


def cells(lengths: Any) -> tuple[Numbers, Numbers]:
    """Row and column of each element of lists of `lengths`, one list a row."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def chains(heads: Any, following: Any) -> Listed:
    """What linked lists hold, and the index of each one's head; -1 ends a list, a loop is left after a lap."""
    lists = np.flatnonzero(heads >= 0)
    at, found, of = numbers(heads[lists]), [numbers([])], [numbers([])]
    for _ in range(len(following)):
        if len(at) == 0:
            break
        found.append(at)
        of.append(lists)
        at = numbers(following[at])
        at, lists = at[at >= 0], lists[at >= 0]
    return Listed(np.concatenate(found), np.concatenate(of))


def joined(*lists: Listed) -> Listed:
    """All of several lists."""
    return Listed(np.concatenate([each.ident for each in lists]), np.concatenate([each.instance for each in lists]))


def numbers(values: Any) -> Numbers:
    """int64, shape (n,)."""
    return np.asarray(values, np.int64)


def _listed(table: Any, lengths: Any) -> Listed:
    """The first `lengths` of each row."""
    instance, place = cells(lengths)
    return Listed(numbers(table[instance, place]), instance)
