"""A replica without a model: it takes the time that the latency model says, one piece of work after the other.

It serves in order of arrival: batching and chunking are the engine's, and there is none. What it reports of itself is
what routers and provisioning read of a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from slackwise.adapters.ray.counts import Counts, Held
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import parse_bundle
from slackwise.adapters.ray.workload import work_for
from slackwise.latency.costs import step_seconds
from slackwise.policies.features import DECODE, ENCODE, PREFILL

WORD = "token "
PIECES = 16
"""In which the tokens after the first come, at most."""


class EmulatedReplica:
    """One instance of a pool. `speed` divides all times: 10 serves ten times as fast as the GPU."""

    def __init__(self, pool: dict[str, Any], speed: float, text: str) -> None:
        winner = parse_bundle(text)
        self.size, self.speed = FleetPool.from_dict(pool), speed
        self.work = work_for(winner, self.size.tensor_parallel)
        self.turn, self.counts = asyncio.Lock(), Counts(self.work, self.size.stages)
        self._token_s(1.0)  # compiles now, not in front of the first request

    async def encode(self, call: dict[str, Any]) -> dict[str, Any]:
        """Take the time of one image."""
        held = self.counts.enter(call)
        try:
            await self._step(self.work.encode_s(int(held.request["job_tiles"][0])))
        finally:
            self.counts.leave(held)
        return {"replica": _name()}

    async def generate(self, call: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Prefill where the pool prefills, then decode where it decodes, as pieces."""
        held = self.counts.enter(call)
        try:
            await self._step(self._first_s(held.request))
            self.counts.first(held)
            async for piece in self._answer(held):
                yield piece
        finally:
            self.counts.leave(held)

    def record_routing_stats(self) -> dict[str, Any]:
        """What routers read."""
        return self.counts.routing()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What provisioning reads."""
        return self.counts.autoscaling()

    async def _answer(self, held: Held) -> AsyncIterator[dict[str, Any]]:
        """The pieces: the token of the prefill, then the rest as if the request decoded alone."""
        request, stages = held.request, self.size.stages
        wanted = int(request["output_estimate_tokens"][0])
        prompt = {"prompt_tokens": int(request["prompt_tokens"][0])} if stages & PREFILL else {}
        left = wanted - 1 if stages & PREFILL else wanted - 2  # a pool that only decodes makes no first token
        yield {"replica": _name(), "pool": self.size.name, **prompt, **_piece(1, left <= 0)}
        if not stages & DECODE:
            return
        each_s = self._token_s(float(request["prompt_tokens"][0]) + wanted / 2)
        while left > 0:
            tokens = min(left, max(1, wanted // PIECES))
            await asyncio.sleep(each_s * tokens / self.speed)
            left -= tokens
            yield _piece(tokens, left == 0)

    def _first_s(self, request: Any) -> float:
        """Seconds until the first token that this pool makes."""
        stages = self.size.stages
        if not stages & PREFILL:
            return self._token_s(float(request["prompt_tokens"][0]))
        encode_s = float(request["encode_estimate_s"][0]) if stages & ENCODE else 0.0
        return float(request["prefill_estimate_s"][0]) + encode_s

    async def _step(self, seconds: float) -> None:
        async with self.turn:
            await asyncio.sleep(seconds / self.speed)
            self.counts.worked(seconds / self.speed)

    def _token_s(self, kv_tokens: float) -> float:
        """Seconds of a step in which one request decodes alone."""
        costs = self.work.predicted.costs
        return float(step_seconds(costs.record, costs.linear_s, 1, kv_tokens, 0.0, 0.0, False))


def _piece(tokens: int, last: bool) -> dict[str, Any]:
    return {"text": WORD * tokens, "tokens": tokens, "finish_reason": "length" if last else None}


def _name() -> str:
    from ray import serve

    return str(serve.get_replica_context().replica_id.unique_id)
