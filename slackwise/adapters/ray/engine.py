"""A replica with a vLLM engine in the role of its pool: encoders write embeddings, text instances find and use them.

The calls are those of an emulated replica. An engine is always asked for a stream, so that the replica knows when the
first token is there; what routers and provisioning read is counted here, by the same features as in the simulator.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from slackwise.adapters.ray.commands import serve_words
from slackwise.adapters.ray.counts import Counts, replica_id
from slackwise.adapters.ray.engine_server import EngineServer
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import parse_bundle
from slackwise.adapters.ray.target import key_of
from slackwise.adapters.ray.workload import work_for
from slackwise.adapters.vllm.deadlines import DEADLINE_S, SLO_MS
from slackwise.errors import CheckError

CHAT = "/v1/chat/completions"
LOST = "an engine was lost while it served this request: try again"
HEALTH_S = 20.0
LATE_MS = 1.0


class EngineReplica:
    """One instance of a pool; `engine` are its arguments by vLLM's names, as rendered."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, pool: dict[str, Any], engine: dict[str, Any], arguments: dict[str, Any], text: str
    ) -> None:
        self.size, self.name = FleetPool.from_dict(pool), str(arguments["served_name"])
        self.counts = Counts(work_for(parse_bundle(text), self.size.tensor_parallel), self.size.stages)
        key = key_of(arguments.get("api_key_env"), os.environ)
        self.server = EngineServer(serve_words(arguments["model"], self.name, engine), key)
        try:
            await self.server.started()
        except BaseException:
            self.server.stop()
            raise

    async def encode(self, call: dict[str, Any]) -> dict[str, Any]:
        """Encode one image; the embedding is where the text instances look when this returns."""
        message = {"role": "user", "content": [call["image"]]}
        body = {**call["body"], "model": self.name, "messages": [message], "max_tokens": 1}
        held = self.counts.enter(call)
        try:
            async with self.server.post(CHAT, body) as reply:
                answered = await _document(reply)
            return answered if "error" in answered else {"replica": replica_id()}
        except (aiohttp.ClientError, ConnectionError):
            return {"error": LOST, "status": 503}
        finally:
            self.counts.leave(held)

    async def generate(self, call: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The engine's own chunks as pieces."""
        held, told = self.counts.enter(call), 0
        deadline_s = float(held.request["deadline_s"][0])
        body = with_deadline(call["body"], float(call["arrival_s"]), deadline_s, time.time())
        body |= {"model": self.name, **STREAMED}
        try:
            async with self.server.post(CHAT, body) as reply:
                if reply.status != 200:
                    yield await _document(reply)
                    return
                async for chunk in _events(reply.content):
                    if "error" in chunk:
                        yield _refused(500, chunk)
                        return
                    piece, told = piece_of(chunk, told)
                    if not held.first:
                        self.counts.first(held)
                        piece |= {"replica": replica_id(), "pool": self.size.name}
                    yield piece
        except (aiohttp.ClientError, ConnectionError):
            yield {"error": LOST, "status": 503}
        finally:
            self.counts.leave(held)

    async def check_health(self) -> None:
        """Asked by Ray Serve, which replaces a replica that raises."""
        if not await self.server.healthy(HEALTH_S):
            raise CheckError("the engine of a replica is gone or does not answer")

    def record_routing_stats(self) -> dict[str, Any]:
        """What routers read."""
        return self.counts.routing()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What provisioning reads."""
        return self.counts.autoscaling()

    def __del__(self) -> None:  # Ray Serve calls it when the last call has been served
        if hasattr(self, "server"):
            self.server.stop()


STREAMED = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
"""How an engine is asked, whatever the client asked for."""


def with_deadline(body: Mapping[str, Any], arrival_s: float, deadline_s: float, now_s: float) -> dict[str, Any]:
    """The request with what is left of its TTFT objective: the engine sees it only now, its images encoded.

    What the client said goes first: its own `slo_ms` counts from arrival here, its `deadline_s` and `priority` stay.
    Who is late already gets LATE_MS: an engine takes a deadline in the past for a mistake.
    """
    given = body.get("vllm_xargs")
    extra = dict(given) if isinstance(given, Mapping) else {}
    slo_ms = extra.get(SLO_MS)
    if isinstance(slo_ms, int | float) and not isinstance(slo_ms, bool) and slo_ms > 0:
        deadline_s = arrival_s + slo_ms / 1e3
    elif slo_ms is not None or DEADLINE_S in extra or body.get("priority"):
        return dict(body)
    return {**body, "vllm_xargs": extra | {SLO_MS: max(LATE_MS, 1e3 * (deadline_s - now_s))}}


def piece_of(chunk: Mapping[str, Any], told: int) -> tuple[dict[str, Any], int]:
    """(piece, tokens told so far) of an engine's chunk; `told` before it."""
    choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
    made = int(usage.get("completion_tokens", told))
    first = choices[0] if choices else {}
    piece: dict[str, Any] = {"text": (first.get("delta") or {}).get("content") or "", "tokens": made - told}
    piece |= {"choices": choices, "finish_reason": first.get("finish_reason")}
    return piece | ({} if choices else {"usage": usage}), made


async def _events(content: Any) -> AsyncIterator[dict[str, Any]]:
    """The documents of a stream of server-sent events, up to its end."""
    async for line in content:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)


async def _document(reply: Any) -> dict[str, Any]:
    """What an engine answered, or its refusal as a piece."""
    try:
        document = json.loads(await reply.read())
    except ValueError:
        document = {}
    return document if reply.status == 200 else _refused(reply.status, document)


def _refused(status: int, document: Any) -> dict[str, Any]:
    """A refusal of the engine: the client's error stays one, anything else is the engine's."""
    error = document.get("error") if isinstance(document, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    return {"error": str(message or "the engine failed"), "status": status if 400 <= status < 500 else 500}
