"""The way of a chat request over the pools: its images at once to the encoders, one call each, then the text pool.

A request without images goes to the text pool straight away. What a text pool answers comes in pieces, dicts: the first
when the first token is there, with `replica` and `pool`; each with `text` and `tokens`, those since the piece before;
the last with `finish_reason`. A piece may hold `choices`, those of an engine's own chunk, `prompt_tokens`, and `usage`.
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


class ReplicaError(SlackwiseError):
    """What a replica refused or failed at, with the status for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Path:
    """Which pool does what: `encode(pool, call)` waits for an answer, `generate(pool, call)` yields pieces."""

    def __init__(
        self,
        pools: Any,
        encode: Callable[[str, Call], Awaitable[Piece]],
        generate: Callable[[str, Call], AsyncGenerator[Piece, None]],
    ) -> None:
        stages = {pool["name"]: int(pool["stages"]) for pool in pools}
        self.encode, self.generate = encode, generate
        self.encoders = _first(stages, ENCODE, PREFILL | DECODE)
        prefill, self.decode = _first(stages, PREFILL, 0), _first(stages, DECODE, PREFILL)
        if prefill is None:
            raise InputError("a path needs a pool that prefills")
        self.prefill = prefill

    async def pieces(self, asked: Asked, body: Mapping[str, Any], arrival_s: float) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer; the first holds `served`: who served, and when its first token came after arrival.

        Raises ReplicaError for what a replica refused, and what `encode` and `generate` raise.
        """
        facts = {"images": len(asked.images), "characters": asked.characters, "max_tokens": asked.max_tokens}
        call = {**facts, "arrival_s": arrival_s, "kind": "text", "encoded": False, "body": body}
        served: dict[str, Any] = {"encoders": []}
        if asked.images and self.encoders is not None:
            served["encoders"] = await self._encode(asked, {**call, "kind": "encode", "body": _options(body)})
            call["encoded"] = True
        finished = False
        async with aclosing(self._text(self.prefill, call)) as pieces:
            async for piece in pieces:
                if "replica" in piece:
                    served |= {"text": piece["replica"], "first_s": time.time() - arrival_s}
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

    async def _encode(self, asked: Asked, call: Call) -> list[str]:
        """The replicas that encoded the images of a request, in their order."""
        assert self.encoders is not None
        jobs = [asyncio.ensure_future(self.encode(self.encoders, {**call, "image": image})) for image in asked.images]
        try:
            return [_good(each)["replica"] for each in await asyncio.gather(*jobs)]
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
