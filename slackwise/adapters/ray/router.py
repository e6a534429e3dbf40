"""Ray Serve's request router for one pool: Ray's objects in, the bundle's choice out.

Two of Ray's private methods are relied on; tests hold both. Calls that one request makes at once share its id, by which
Ray 2.60 looks pending calls up: only one would ever be answered. Here a call is found by its own metadata.
"""

from __future__ import annotations

import time
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from slackwise.adapters.ray.books import MADE_S
from slackwise.adapters.ray.decision_log import DecisionLog
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import followed
from slackwise.adapters.ray.routing import Choice, PoolRouter
from slackwise.adapters.ray.telemetry import RayTelemetry
from slackwise.adapters.ray.workload import call_features, work_for

UNCONFIRMED_S = 30.0
"""A choice that never was confirmed as sent is no longer counted."""


class ExactMatch:
    """Give the replica to the call that it was chosen for."""

    def _fulfill_next_pending_request(self: Any, replica: Any, request_metadata: Any = None) -> None:
        for pending in self._pending_requests_to_fulfill:
            if pending.metadata is request_metadata and not pending.future.done():
                self._cancel_routing_task_for_pending_request(pending)
                self._record_queue_wait_time(pending)
                pending.future.set_result(replica)
                self._remove_pending_request_from_indices(pending)
                return


class PolicyRouter(ExactMatch, RequestRouter):
    """Routes the calls of a pool by the bundle's policy: the one replica that it finds cheapest."""

    def initialize_state(self, **kwargs: Any) -> None:
        """`bundle` is the path of the bundle, `pool` the pool's sizes, as the rendered configuration gives them.

        `decisions` is the folder where every decision is written, if it is given.
        """
        pool = FleetPool.from_dict(kwargs["pool"])
        self.bundle = followed(kwargs["bundle"])
        self.version = self.bundle.version
        winner = self.bundle.winner
        self.work = work_for(winner, pool.tensor_parallel)
        folder = kwargs.get("decisions")
        self.told = None if folder is None else DecisionLog(folder, pool.name)
        self.core = PoolRouter(winner.policies, pool.role, self.work, pool.stages, recording=self.told is not None)
        self.pool, self.telemetry = pool.name, RayTelemetry()
        self.chosen: dict[int, Choice] = {}  # by id of the pending call: not yet confirmed as sent
        self.heard: dict[str, Any] = {}  # the last report of each replica
        self.sent: dict[tuple[str, str], list[Choice]] = {}  # by replica and request, whose calls share an id

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One rank with one replica: inside a rank Ray would choose by queue length."""
        if pending_request is None or not candidate_replicas:
            return [list(candidate_replicas)]
        now, began_s = time.time(), time.perf_counter()
        self._renew()
        self._forget(now)
        pending_request.routing_context.should_backoff = True  # or Ray spins when all replicas are full
        if (before := self.chosen.pop(id(pending_request), None)) is not None:
            self.core.back(before, now)  # a second try
        named = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        self._hear(named)
        choice = self.core.choose(call_features(self.work, pending_request.args[0]), now)
        if self.told is not None:
            self.told.write(self.bundle.winner.policies, self.core.role, choice)
        self.chosen[id(pending_request)] = choice
        self.telemetry.see("slackwise_route_seconds", time.perf_counter() - began_s, pool=self.pool)
        self.telemetry.add("slackwise_routed", pool=self.pool, replica=choice.replica)
        return [[named[choice.replica]]]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: Any, result: Any) -> None:
        choice = self.chosen.pop(id(pending_request), None)
        if choice is not None:
            key = (replica_id.unique_id, pending_request.metadata.internal_request_id)
            self.sent.setdefault(key, []).append(choice)

    def on_request_completed(self, replica_id: Any, internal_request_id: str) -> None:
        key = (replica_id.unique_id, internal_request_id)
        choices = self.sent.get(key)
        if choices:
            self.core.back(choices.pop(0), time.time())
            if not choices:
                del self.sent[key]

    def _hear(self, named: dict[str, RunningReplica]) -> None:
        """Take in who is there and what they reported since; a report that was heard is the same object."""
        if named.keys() != self.heard.keys():
            self.core.members(named)
            self.heard = dict.fromkeys(named)
        for name, replica in named.items():
            report = replica.routing_stats
            if report is not self.heard[name]:
                self.heard[name] = report
                if report and MADE_S in report:
                    self.core.books.hear(name, report, float(report[MADE_S]))

    def _renew(self) -> None:
        if self.version != self.bundle.version:
            self.version = self.bundle.version
            self.core.load(self.bundle.winner.policies)
            self.telemetry.add("slackwise_bundles", pool=self.pool)

    def _forget(self, now: float) -> None:
        late = [key for key, choice in self.chosen.items() if now - choice.now_s > UNCONFIRMED_S]
        for key in late:
            self.core.back(self.chosen.pop(key), now)
