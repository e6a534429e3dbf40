"""A replica without a model: it takes the time that the latency model says, one piece of work after the other.

It serves in order of arrival: batching and chunking are the engine's, and there is none. What it reports of itself is
what routers and provisioning read of a real one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from slackwise.adapters.ray.books import COUNTED
from slackwise.adapters.ray.hot import parse_bundle
from slackwise.adapters.ray.provisioning import PoolSize
from slackwise.adapters.ray.routing import brings
from slackwise.adapters.ray.views import ARRIVED
from slackwise.adapters.ray.workload import call_features, work_for
from slackwise.latency.costs import step_seconds
from slackwise.policies.features import DECODE, ENCODE, INSTANCE, PREFILL

ANSWER = "token "
BUSY_WINDOW_S = 5.0


class EmulatedReplica:
    """One instance of a pool. `speed` divides all times: 10 serves ten times as fast as the GPU."""

    def __init__(self, pool: dict[str, Any], speed: float, text: str) -> None:
        winner = parse_bundle(text)
        self.size, self.speed = PoolSize.from_dict(pool), speed
        self.work = work_for(winner, self.size.tensor_parallel)
        self.turn, self.held = asyncio.Lock(), np.zeros(1, INSTANCE)
        self.running, self.arrived = 0, dict.fromkeys(ARRIVED, 0.0)
        self.steps: list[tuple[float, float]] = []  # (end, seconds) of the pieces of work done lately
        self._token_s(1.0)  # compiles now, not in front of the first request

    async def __call__(self, call: dict[str, Any]) -> dict[str, Any]:
        """Serve a call; the times that it took, and who served it."""
        from ray import serve

        request, began = call_features(self.work, call), time.time()
        brought = brings(self.work, self.size.stages, request)
        self._arrive(call, request)
        self._hold(brought, 1)
        try:
            async with self.turn:
                await self._step(self._seconds(call, request))
        finally:
            self._hold(brought, -1)
        first_s = time.time() - began
        tokens = int(request["output_estimate_tokens"][0]) if self._decodes(call) else 0
        if tokens:
            await self._decode(request, tokens)
        name = serve.get_replica_context().replica_id.unique_id
        return {"replica": name, "pool": self.size.name, "first_s": first_s, "tokens": tokens}

    def record_routing_stats(self) -> dict[str, Any]:
        """What routers read."""
        names = [each for each in COUNTED if each != "backlog_s"]
        counts = {name: int(self.held[name][0]) for name in names}
        made = {"made_s": time.time(), "running": self.running, "backlog_s": float(self.held["backlog_s"][0])}
        return counts | made

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What provisioning reads."""
        now = time.time()
        self.steps = [each for each in self.steps if each[0] > now - BUSY_WINDOW_S]
        pending = float(self.held["pending_image_tokens"][0] + self.held["pending_text_tokens"][0])
        busy = min(1.0, sum(seconds for _, seconds in self.steps) / BUSY_WINDOW_S)
        counts = {"waiting": float(self.held["waiting"][0]), "running": float(self.running), "busy": busy}
        return counts | {"backlog_s": float(self.held["backlog_s"][0]), "pending_tokens": pending} | self.arrived

    def _arrive(self, call: dict[str, Any], request: Any) -> None:
        if not self.size.stages & PREFILL:
            return
        kind = "image_requests" if call["images"] else "text_requests"
        brought = {kind: 1.0, "images": float(call["images"])}
        brought |= {name: float(request[name][0]) for name in ("text_tokens", "image_tokens")}
        brought["output_tokens"] = float(request["output_estimate_tokens"][0])
        for name, count in brought.items():
            self.arrived[name] += count

    def _hold(self, brought: Any, sign: int) -> None:
        for name in INSTANCE.names or ():
            self.held[name] += sign * brought[name]

    def _decodes(self, call: dict[str, Any]) -> bool:
        return call["kind"] != "encode" and bool(self.size.stages & DECODE)

    def _seconds(self, call: dict[str, Any], request: Any) -> float:
        if call["kind"] == "encode":
            return self.work.encode_s(int(request["job_tiles"][0]))
        seconds = float(request["prefill_estimate_s"][0]) if self.size.stages & PREFILL else 0.0
        return seconds + (float(request["encode_estimate_s"][0]) if self.size.stages & ENCODE else 0.0)

    async def _step(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)
        self.steps.append((time.time(), seconds / self.speed))

    async def _decode(self, request: Any, tokens: int) -> None:
        """All tokens after the first, as if the request decoded alone."""
        each = self._token_s(float(request["prompt_tokens"][0]) + tokens / 2)
        self.running += 1
        try:
            await asyncio.sleep(each * (tokens - 1) / self.speed)
        finally:
            self.running -= 1

    def _token_s(self, kv_tokens: float) -> float:
        """Seconds of a step in which one request decodes alone."""
        costs = self.work.predicted.costs
        return float(step_seconds(costs.record, costs.linear_s, 1, kv_tokens, 0.0, 0.0, False))
