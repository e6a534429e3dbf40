"""What `import_path` of the rendered configuration names: the application of Ray Serve."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path as File
from typing import Any

from ray import serve
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.requests import Request
from starlette.responses import Response

from slackwise.adapters.ray.asgi import respond
from slackwise.adapters.ray.counts import replica_id
from slackwise.adapters.ray.emulated import EmulatedReplica
from slackwise.adapters.ray.engine import EngineReplica
from slackwise.adapters.ray.hot import followed, parse_bundle
from slackwise.adapters.ray.ingress import Endpoint, failed
from slackwise.adapters.ray.routing import compile_routing
from slackwise.adapters.ray.spans import export_spans
from slackwise.adapters.ray.target import key_of
from slackwise.adapters.ray.telemetry import RayTelemetry
from slackwise.adapters.ray.telling import Telling
from slackwise.adapters.ray.watched import Watch, WatchedPath
from slackwise.policies.features import PREFILL

INGRESS = "ingress"
ARRIVING = 100_000
"""Requests that the ingress may hold, refused ones included: more would wait in Ray's proxy without an answer."""


class Ingress:
    """Takes requests from clients and sends their parts to the pools.

    What a replica had when it died goes to another once, unless the client has some of the answer.
    """

    def __init__(self, arguments: dict[str, Any], handles: dict[str, Any], text: str) -> None:
        export_spans(os.environ)
        compile_routing(parse_bundle(text).policies)
        self.encoders = {name: handle.options(method_name="encode") for name, handle in handles.items()}
        self.texts = {name: handle.options(method_name="generate", stream=True) for name, handle in handles.items()}
        self.watch = Watch(followed(arguments["bundle"]), _text_width(arguments["pools"]), RayTelemetry())
        self.telling = Telling(replica_id(), self._told)
        most = int(arguments["requests_at_once"])
        path = WatchedPath(self.watch, arguments["pools"], self._encode, self._generate, most)
        key = key_of(arguments.get("api_key_env"), os.environ)
        self.endpoint = Endpoint(path, arguments, key, explain, lambda: self.telling.told)

    async def __call__(self, request: Request) -> Response:
        return await respond(self.endpoint, request)

    def _told(self) -> dict[str, Any]:
        return {"counters": self.watch.counters(), "in_flight": self.watch.flying}

    async def _encode(self, pool: str, call: dict[str, Any]) -> dict[str, Any]:
        try:
            answered: dict[str, Any] = await self.encoders[pool].remote(call)
        except ActorDiedError:
            answered = await self.encoders[pool].remote(call)
        return answered

    async def _generate(self, pool: str, call: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        begun = False
        for again in (True, False):
            pieces = self.texts[pool].remote(call)
            try:
                async for piece in pieces:
                    begun = True
                    yield piece
                return
            except ActorDiedError:
                if begun or not again:
                    raise
            finally:
                pieces.cancel()  # the client may have gone: the replica is free at once


def _text_width(pools: list[dict[str, Any]]) -> int:
    """GPUs of an instance that prefills: objectives of long requests follow its speed."""
    return next(int(pool["tensor_parallel"]) for pool in pools if int(pool["stages"]) & PREFILL)


def explain(error: Exception) -> tuple[int, str]:
    """Status and words for what Ray raises."""
    if isinstance(error, BackPressureError):
        return 429, "all replicas are full"
    if isinstance(error, RayError | RayServeException) and not isinstance(error, RayTaskError):
        return 503, "a replica was lost while it served this request: try again"
    return failed(error)


def build(args: dict[str, Any]) -> Any:
    """The application, with emulated replicas if `args` say `emulate`, else with vLLM engines."""
    text = File(args["bundle"]).read_text(encoding="utf-8")
    handles = {pool["name"]: _pool(pool, args, text) for pool in args["pools"]}
    return serve.deployment(name=INGRESS, max_ongoing_requests=ARRIVING)(Ingress).bind(args, handles, text)


def _pool(pool: dict[str, Any], args: dict[str, Any], text: str) -> Any:
    name = pool["name"]
    if "emulate" in args:
        return serve.deployment(name=name)(EmulatedReplica).bind(pool, float(args["emulate"]), text)
    given = {key: args.get(key) for key in ("model", "served_name", "api_key_env")}
    return serve.deployment(name=name)(EngineReplica).bind(pool, args["engines"][name], given, text)
