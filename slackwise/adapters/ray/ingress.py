"""What the endpoint answers: OpenAI's chat completions, whole or streamed, the model's name, and health.

Who has no key is turned away, sizes are limited, and what is no chat request is answered with a client's error and
nothing else. A stream that fails ends with an event that says so.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from slackwise.adapters.ray.chat import DONE, Chat, event, failure
from slackwise.adapters.ray.path import Path, Piece, ReplicaError
from slackwise.adapters.ray.spans import trace_headers
from slackwise.adapters.ray.workload import Asked, read_chat
from slackwise.errors import InputError

logger = logging.getLogger("ray.serve")

CHAT, HEALTH, MODELS, STATE = "/v1/chat/completions", "/health", "/v1/models", "/slackwise/state"

MOST_LEVELS = 64
"""Of lists and objects in a body: what nests deeper cannot travel between processes."""

LOST = "the answer ended before its end: try again"


@dataclass(frozen=True)
class Reply:
    """Status and JSON document of an answer."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streamed:
    """An answer as server-sent events; close them when the client has gone."""

    events: AsyncGenerator[bytes, None]


def failed(error: Exception) -> tuple[int, str]:
    """Status and words for an error that nobody expected; the log has the rest."""
    logger.error("slackwise: a request failed", exc_info=error)
    return 500, "the server failed"


class TooLargeError(InputError):
    """A body beyond the limit."""


def refusal(status: int, message: str) -> Reply:
    """An error as OpenAI's API writes it."""
    return Reply(status, failure(status, message), {"WWW-Authenticate": "Bearer"} if status == 401 else {})


def authorised(header: str | None, key: str) -> bool:
    """Whether an Authorization header brings the key; the comparison takes as long for a wrong one."""
    scheme, _, given = (header or "").partition(" ")
    return hmac.compare_digest(given.strip().encode(), key.encode()) and scheme.lower() == "bearer"


async def read_body(request: Any, most_bytes: int) -> Any:
    """The JSON of a Starlette request.

    Raises TooLargeError beyond `most_bytes`, InputError for what is no JSON or nests deeper than MOST_LEVELS.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise TooLargeError(f"a body may have {most_bytes} bytes")
        parts.append(part)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if too_deep(body, MOST_LEVELS):
        raise InputError(f"a body may nest {MOST_LEVELS} levels deep")
    return body


def too_deep(document: Any, most: int) -> bool:
    """Whether lists and objects nest more than `most` levels deep in a JSON document."""
    there = [document]
    for _ in range(most + 1):
        there = [item for each in there for item in _inside(each)]
        if not there:
            return False
    return True


def _inside(document: Any) -> Iterable[Any]:
    return document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()


@dataclass(frozen=True)
class Endpoint:
    """The path of requests, the arguments of the application, and the key that clients have to bring (None: none).

    `explain` gives status and words for what the path raises, `state` what the parts of the application say of
    themselves.
    """

    path: Path
    arguments: Mapping[str, Any]
    key: str | None = None
    explain: Callable[[Exception], tuple[int, str]] = failed
    state: Callable[[], Mapping[str, Any]] = dict

    async def answer(self, request: Any) -> Reply | Streamed:
        """The answer to a Starlette request."""
        route, name = request.url.path, self.arguments["served_name"]
        if route == HEALTH:
            return Reply(200, {"status": "ok"})
        if self.key is not None and not authorised(request.headers.get("authorization"), self.key):
            return refusal(401, "a key is needed: Authorization: Bearer KEY")
        if route == MODELS:
            return Reply(200, {"object": "list", "data": [{"id": name, "object": "model"}]})
        if route == STATE:
            return Reply(200, dict(self.state()))
        if route != CHAT:
            return refusal(404, "no such path")
        if request.method != "POST":
            return refusal(405, "POST a chat request")
        arrival_s = time.time()
        try:
            body = await read_body(request, self.arguments["body_bytes"])
            asked = read_chat(body, self.arguments["images_per_request"])
        except InputError as error:
            return refusal(413 if isinstance(error, TooLargeError) else 400, str(error))
        pieces, chat = self.path.pieces(asked, body, arrival_s, trace_headers(request.headers)), Chat(name, arrival_s)
        return await (self._stream(pieces, chat, asked) if asked.stream else self._whole(pieces, chat))

    async def _whole(self, pieces: AsyncGenerator[Piece, None], chat: Chat) -> Reply:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    chat.take(piece)
        except Exception as error:
            return refusal(*self._words(error))
        return Reply(200, chat.completion()) if chat.finished else refusal(503, LOST)

    async def _stream(self, pieces: AsyncGenerator[Piece, None], chat: Chat, asked: Asked) -> Reply | Streamed:
        """The stream once its first piece is there: before that an error has a status of its own."""
        try:
            first = await anext(pieces)
        except StopAsyncIteration:
            return refusal(503, LOST)
        except Exception as error:
            return refusal(*self._words(error))
        return Streamed(self._events(first, pieces, chat, asked.include_usage))

    async def _events(
        self, first: Piece, pieces: AsyncGenerator[Piece, None], chat: Chat, include_usage: bool
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            try:
                if (chunk := chat.take(first)) is not None:
                    yield event(chunk)
                async for piece in pieces:
                    if (chunk := chat.take(piece)) is not None:
                        yield event(chunk)
            except Exception as error:
                yield event(failure(*self._words(error)))
                return
        if not chat.finished:
            yield event(failure(503, LOST))
            return
        if include_usage:
            yield event(chat.last())
        yield DONE

    def _words(self, error: Exception) -> tuple[int, str]:
        return (error.status, str(error)) if isinstance(error, ReplicaError) else self.explain(error)
