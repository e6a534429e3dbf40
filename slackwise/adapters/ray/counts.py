"""What one replica counts of its own work: the reports that routers and provisioning read, from any kind of replica."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.adapters.ray.books import COUNTED, MADE_S
from slackwise.adapters.ray.routing import brings
from slackwise.adapters.ray.views import ARRIVED
from slackwise.adapters.ray.workload import Work, call_features
from slackwise.policies.features import DECODE, INSTANCE, PREFILL

BUSY_WINDOW_S = 5.0


@dataclass(eq=False)
class Held:
    """A call that is here: its features (REQUEST, shape (1,)), what it brings (INSTANCE, shape (1,)), how far it is."""

    request: Any
    brought: Any
    decodes: bool
    first: bool = False  # its first token is there, or its image is encoded


class Arrivals:
    """Counters of all requests that ever came to a pool that prefills; other pools count none."""

    def __init__(self, stages: int) -> None:
        self.counts, self.stages = dict.fromkeys(ARRIVED, 0.0), stages

    def add(self, call: Mapping[str, Any], request: Any) -> None:
        """A call with the features `request` (REQUEST, shape (1,)) has come."""
        if not self.stages & PREFILL:
            return
        kind = "image_requests" if call["images"] else "text_requests"
        brought = {kind: 1.0, "images": float(call["images"])}
        brought |= {name: float(request[name][0]) for name in ("text_tokens", "image_tokens")}
        brought["output_tokens"] = float(request["output_estimate_tokens"][0])
        for name, count in brought.items():
            self.counts[name] += count


class Counts:
    """The calls that a replica of these stages holds: waiting until their first token, then running."""

    def __init__(self, work: Work, stages: int) -> None:
        self.work, self.stages = work, stages
        self.held, self.running = np.zeros(1, INSTANCE), 0
        self.arrivals = Arrivals(stages)
        self.inside, self.since_s = 0, 0.0  # calls, and since when there is one
        self.busy: list[tuple[float, float]] = []  # (began, ended) of the times lately when there was one

    def enter(self, call: Mapping[str, Any]) -> Held:
        """A call has come."""
        request = call_features(self.work, call)
        decodes = call["kind"] != "encode" and bool(self.stages & DECODE)
        held = Held(request, brings(self.work, self.stages, request), decodes)
        self.arrivals.add(call, request)
        self._count(held, 1)
        self.since_s = self.since_s if self.inside else time.time()
        self.inside += 1
        return held

    def first(self, held: Held) -> None:
        """Its first token is there, or its image is encoded: it waits no longer. A second time has no effect."""
        if not held.first:
            held.first = True
            self._count(held, -1)
            self.running += held.decodes

    def leave(self, held: Held) -> None:
        """It is done, well or not."""
        if held.first:
            self.running -= held.decodes
        else:
            self._count(held, -1)
        self.inside -= 1
        if not self.inside:
            self.busy.append((self.since_s, time.time()))

    def busy_share(self, now: float) -> float:
        """Share of the last BUSY_WINDOW_S in which a call was here."""
        begin = now - BUSY_WINDOW_S
        self.busy = [each for each in self.busy if each[1] > begin]
        times = [*self.busy, (self.since_s, now)] if self.inside else self.busy
        return min(1.0, sum(max(0.0, ended - max(began, begin)) for began, ended in times) / BUSY_WINDOW_S)

    def routing(self) -> dict[str, Any]:
        """What routers read."""
        names = [each for each in COUNTED if each != "backlog_s"]
        counts = {name: int(self.held[name][0]) for name in names}
        made = {MADE_S: time.time(), "running": self.running, "backlog_s": float(self.held["backlog_s"][0])}
        return counts | made

    def autoscaling(self) -> dict[str, float]:
        """What provisioning reads."""
        pending = float(self.held["pending_image_tokens"][0] + self.held["pending_text_tokens"][0])
        counts = {"waiting": float(self.held["waiting"][0]), "running": float(self.running)}
        counts["busy"] = self.busy_share(time.time())
        return (
            counts | {"backlog_s": float(self.held["backlog_s"][0]), "pending_tokens": pending} | self.arrivals.counts
        )

    def _count(self, held: Held, sign: int) -> None:
        for name in INSTANCE.names or ():
            self.held[name] += sign * held.brought[name]


def replica_id() -> str:
    """The id of the replica of Ray Serve that this process is."""
    from ray import serve

    return str(serve.get_replica_context().replica_id.unique_id)
