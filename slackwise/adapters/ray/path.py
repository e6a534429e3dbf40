"""The way of a chat request over the pools: its images at once to the encoders, one call each, then the text pool.

A request without images goes to the text pool straight away. What a text pool answers comes in pieces, dicts: the first
when the first token is there, with `replica` and `pool`; each with `text` and `tokens`, those since the piece before;
the last with `finish_reason`. The first may hold `took_s`, and so may what an encoder answers: seconds in the
(modelled) instance. A piece may hold `choices`, those of an engine's own chunk, `prompt_tokens`, and `usage`.
A piece with `error` and `status`, in place of all that, says that the replica refused the call or failed in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from slackwise.adapters.ray.workload import Asked
from slackwise.errors import InputError, SlackwiseError
from slackwise.policies.features import DECODE, ENCODE, PREFILL

Call = dict[str, Any]
Piece = dict[str, Any]

TRACE = "trace"
"""Key of a call that holds its headers of trace context."""


class ReplicaError(SlackwiseError):
    """What a replica refused or failed at, with the status for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Path:
    """Which pool does what: `encode(pool, call)` waits for an answer, `generate(pool, call)` yields pieces.

    At most `at_once` requests are under way: one more is refused, so that a queue never outgrows what can be served.
    """

    def __init__(
        self,
        pools: Any,
        encode: Callable[[str, Call], Awaitable[Piece]],
        generate: Callable[[str, Call], AsyncGenerator[Piece, None]],
        at_once: int = 1024,
    ) -> None:
        stages = {pool["name"]: int(pool["stages"]) for pool in pools}
        self.encode, self.generate = encode, generate
        self.encoders = _first(stages, ENCODE, PREFILL | DECODE)
        prefill, self.decode = _first(stages, PREFILL, 0), _first(stages, DECODE, PREFILL)
        if prefill is None:
            raise InputError("a path needs a pool that prefills")
        self.prefill, self.at_once, self.under_way = prefill, at_once, 0

    async def pieces(
        self, asked: Asked, body: Mapping[str, Any], arrival_s: float, trace: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer; the first holds `served`: who served, and when its first token came after arrival.

        `trace` are the request's headers of trace context: every call has them. Raises ReplicaError for what a replica
        refused and for a request too many (429), and what `encode` and `generate` raise.
        """
        if self.under_way >= self.at_once:
            raise ReplicaError(429, f"{self.at_once} requests are under way: try again later")
        self.under_way += 1
        try:
            async with aclosing(self._pieces(asked, body, arrival_s, trace or {})) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.under_way -= 1

    async def _pieces(
        self, asked: Asked, body: Mapping[str, Any], arrival_s: float, trace: Mapping[str, str]
    ) -> AsyncGenerator[Piece, None]:
        facts = {"images": len(asked.images), "characters": asked.characters, "max_tokens": asked.max_tokens}
        call = {**facts, "arrival_s": arrival_s, "kind": "text", "encoded": False, "body": body, TRACE: trace}
        served: dict[str, Any] = {"encoders": []}
        encode_s = 0.0
        if asked.images and self.encoders is not None:
            encoded = await self._encode(asked, {**call, "kind": "encode", "body": _options(body)})
            served["encoders"] = [each["replica"] for each in encoded]
            encode_s = max(each.get("took_s", 0.0) for each in encoded)
            call["encoded"] = True
        finished = False
        async with aclosing(self._text(self.prefill, call)) as pieces:
            async for piece in pieces:
                if "replica" in piece:
                    served |= {"text": piece["replica"], "first_s": time.time() - arrival_s}
                    served |= {"took_s": encode_s + piece["took_s"]} if "took_s" in piece else {}
                    piece["served"] = served
                finished = finished or piece.get("finish_reason") is not None
                yield piece
        if self.decode is None or finished:
            return
        async with aclosing(self._text(self.decode, call)) as pieces:
            async for piece in pieces:
                if "replica" in piece:
                    piece["served"] = {"decode": piece["replica"]}
                yield piece

    async def _encode(self, asked: Asked, call: Call) -> list[Piece]:
        """What the encoders say of the images of a request, in their order."""
        assert self.encoders is not None
        jobs = [asyncio.ensure_future(self.encode(self.encoders, {**call, "image": image})) for image in asked.images]
        try:
            return [_good(each) for each in await asyncio.gather(*jobs)]
        finally:
            for job in jobs:
                job.cancel()

    async def _text(self, pool: str, call: Call) -> AsyncGenerator[Piece, None]:
        async with aclosing(self.generate(pool, call)) as pieces:
            async for piece in pieces:
                yield _good(piece)


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request says how its images are to be read."""
    return {name: body[name] for name in ("mm_processor_kwargs",) if name in body}


def _good(piece: Piece) -> Piece:
    if "error" in piece:
        raise ReplicaError(int(piece.get("status", 500)), str(piece["error"]))
    return piece


def _first(stages: Mapping[str, int], wanted: int, unwanted: int) -> str | None:
    return next((name for name, bits in stages.items() if bits & wanted and not bits & unwanted), None)
