"""The way of a chat request over the pools: its images at once to the encoders, one call each, then the text pool.

A request without images goes to the text pool straight away. Sizes are limited, and what is no chat request is answered
with a client's error and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackwise.adapters.ray.workload import Asked, read_chat
from slackwise.errors import InputError
from slackwise.policies.features import DECODE, ENCODE, PREFILL

CHAT, HEALTH, MODELS = "/v1/chat/completions", "/health", "/v1/models"


@dataclass(frozen=True)
class Reply:
    """Status and JSON document of an answer."""

    status: int
    document: dict[str, Any]


class TooLargeError(InputError):
    """A body beyond the limit."""


def refusal(status: int, message: str) -> Reply:
    """An error as OpenAI's API writes it."""
    return Reply(status, {"error": {"message": message, "type": "invalid_request_error", "code": status}})


async def read_body(request: Any, most_bytes: int) -> Any:
    """The JSON of a Starlette request. Raises TooLargeError beyond `most_bytes`, InputError for what is no JSON."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise TooLargeError(f"a body may have {most_bytes} bytes")
        parts.append(part)
    try:
        return json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None


class Path:
    """Which pool does what: `call(pool name, call)` sends one and waits for its answer."""

    def __init__(self, pools: Any, call: Any) -> None:
        stages = {pool["name"]: int(pool["stages"]) for pool in pools}
        self.call = call
        self.encoders = _first(stages, ENCODE, PREFILL | DECODE)
        self.prefill, self.decode = _first(stages, PREFILL, 0), _first(stages, DECODE, PREFILL)
        if self.prefill is None:
            raise InputError("a path needs a pool that prefills")

    async def serve(self, asked: Asked, arrival_s: float) -> dict[str, Any]:
        """Who served the request and when its first token came, seconds after `arrival_s`."""
        facts = {"images": len(asked.images), "characters": asked.characters, "max_tokens": asked.max_tokens}
        call = {**facts, "arrival_s": arrival_s, "kind": "text", "encoded": False}
        encoded_by: list[str] = []
        if asked.images and self.encoders is not None:
            jobs = [self.call(self.encoders, {**call, "kind": "encode"}) for _ in asked.images]
            encoded_by = [each["replica"] for each in await asyncio.gather(*jobs)]
            call["encoded"] = True
        sent_s = time.time()
        answer = await self.call(self.prefill, call)
        first_s = sent_s - arrival_s + answer["first_s"]
        served = {"encoders": encoded_by, "text": answer["replica"], "first_s": first_s, "tokens": answer["tokens"]}
        if self.decode is not None:
            last = await self.call(self.decode, call)
            served |= {"decode": last["replica"], "tokens": last["tokens"]}
        return served


def _first(stages: Mapping[str, int], wanted: int, unwanted: int) -> str | None:
    return next((name for name, bits in stages.items() if bits & wanted and not bits & unwanted), None)


def completion(served: Mapping[str, Any], model: str, answer: str, arrival_s: float) -> dict[str, Any]:
    """A chat completion as OpenAI's API writes it, with the replicas that served it under `slackwise`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "length"}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(arrival_s),
        "model": model,
        "choices": [choice],
        "usage": {"completion_tokens": served["tokens"]},
        "slackwise": dict(served),
    }


async def answer(request: Any, path: Path, arguments: Mapping[str, Any], word: str) -> Reply:
    """The reply to a Starlette request."""
    route = request.url.path
    if route == HEALTH:
        return Reply(200, {"status": "ok"})
    if route == MODELS:
        return Reply(200, {"object": "list", "data": [{"id": arguments["served_name"], "object": "model"}]})
    if route != CHAT:
        return refusal(404, "no such path")
    if request.method != "POST":
        return refusal(405, "POST a chat request")
    arrival_s = time.time()
    try:
        asked = read_chat(await read_body(request, arguments["body_bytes"]), arguments["images_per_request"])
    except InputError as error:
        return refusal(413 if isinstance(error, TooLargeError) else 400, str(error))
    served = await path.serve(asked, arrival_s)
    return Reply(200, completion(served, arguments["served_name"], word * served["tokens"], arrival_s))
