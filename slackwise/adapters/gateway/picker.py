"""An endpoint picker for Envoy (ext_proc): reads a request, answers with the header that names its server.

The body arrives whole (BUFFERED) or in pieces (FULL_DUPLEX_STREAMED, which is what Gateway API's inference extension
sets): then the headers are answered once all of it is there, and the pieces are handed back.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from slackwise.adapters.gateway.deployment import Deployment
from slackwise.adapters.gateway.ext_proc import FULL_DUPLEX, handler, processing_messages
from slackwise.adapters.gateway.picks import Picker, RefusedError
from slackwise.adapters.ray.routing import Choice

logger = logging.getLogger("slackwise.gateway")

DESTINATION, NAMESPACE = "x-gateway-destination-endpoint", "envoy.lb"
"""Header, and namespace of the dynamic metadata, by which Envoy is told the server."""

OVERWRITE = 2
"""HeaderValueOption.HeaderAppendAction OVERWRITE_IF_EXISTS_OR_ADD: a client cannot name its server."""

PIECE = 62_000
"""Bytes of a piece of a body that is handed back."""

SCRAPE_S = 0.25


class Exchange:
    """One HTTP request on its stream of messages."""

    def __init__(self, picker: Picker) -> None:
        self.picker, self.messages = picker, processing_messages()
        self.body, self.duplex, self.duplex_back = bytearray(), False, False
        self.choice: Choice | None = None

    def answers(self, message: Any) -> Iterator[Any]:
        """The answers to a message. Raises RefusedError for a request that goes nowhere."""
        what = message.WhichOneof("request")
        if what == "response_trailers" or (what == "response_body" and message.response_body.end_of_stream):
            self._done()
        if what == "request_headers":
            mode = message.protocol_config
            self.duplex, self.duplex_back = (
                mode.request_body_mode == FULL_DUPLEX,
                mode.response_body_mode == FULL_DUPLEX,
            )
            if message.request_headers.end_of_stream:
                yield self._headed(None)
            elif not self.duplex:
                yield self._empty(what)
        elif what == "request_body":
            yield from self._take(message.request_body)
        elif what == "request_trailers" and self.duplex:
            yield from self._sent_on()
            yield self._empty(what)
        elif what == "response_body" and self.duplex_back:
            yield self._piece(what, message.response_body.body, message.response_body.end_of_stream)
        elif what is not None:
            yield self._empty(what)

    def end(self) -> None:
        """The stream has ended, perhaps before the answer: Envoy may be told not to show it."""
        if self.choice is not None:
            self.picker.leave(self.choice)

    def _done(self) -> None:
        if self.choice is not None:
            self.picker.done(self.choice)
            self.choice = None

    def _take(self, piece: Any) -> Iterator[Any]:
        """A piece of the request's body, perhaps the last."""
        if (refused := self.picker.too_large(len(self.body) + len(piece.body))) is not None:
            raise refused
        self.body += piece.body
        if self.duplex and piece.end_of_stream:
            yield from self._sent_on()
        elif not self.duplex:
            answer = self._empty("request_body")
            if piece.end_of_stream:
                self._name_server(answer, answer.request_body.response, bytes(self.body))
            yield answer

    def _sent_on(self) -> Iterator[Any]:
        """The headers with their server, then the whole body, in pieces. Only once: trailers may follow the body."""
        if self.choice is not None:
            return
        yield self._headed(bytes(self.body))
        for start in range(0, max(1, len(self.body)), PIECE):
            end = start + PIECE
            yield self._piece("request_body", bytes(self.body[start:end]), end >= len(self.body))

    def _headed(self, body: bytes | None) -> Any:
        answer = self._empty("request_headers")
        self._name_server(answer, answer.request_headers.response, body)
        return answer

    def _name_server(self, answer: Any, common: Any, body: bytes | None) -> None:
        self.choice = self.picker.pick(body)
        name = self.choice.replica
        option = common.header_mutation.set_headers.add(append_action=OVERWRITE)
        option.header.key, option.header.raw_value = DESTINATION, name.encode()
        common.clear_route_cache = True
        answer.dynamic_metadata.fields[NAMESPACE].struct_value.fields[DESTINATION].string_value = name

    def _piece(self, what: str, body: bytes, last: bool) -> Any:
        answer = self._empty(what)
        handed = getattr(answer, what).response.body_mutation.streamed_response
        handed.body, handed.end_of_stream = body, last
        return answer

    def _empty(self, what: str) -> Any:
        answer = self.messages["ProcessingResponse"]()
        getattr(answer, what).SetInParent()
        return answer


def refusal(refused: RefusedError) -> Any:
    """The answer that ends a request with an error in OpenAI's form."""
    answer = processing_messages()["ProcessingResponse"]()
    answer.immediate_response.status.code = refused.status
    error = {"message": refused.reason, "type": "invalid_request_error", "code": refused.status}
    answer.immediate_response.body = json.dumps({"error": error}).encode()
    option = answer.immediate_response.headers.set_headers.add(append_action=OVERWRITE)
    option.header.key, option.header.raw_value = "content-type", b"application/json"
    return answer


class PickerService:
    """`envoy.service.ext_proc.v3.ExternalProcessor`."""

    def __init__(self, picker: Picker) -> None:
        self.picker = picker

    async def process(self, messages: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        """Answers to the messages of one HTTP request."""
        exchange = Exchange(self.picker)
        try:
            async for message in messages:
                for answer in exchange.answers(message):
                    yield answer
        except RefusedError as refused:
            yield refusal(refused)
        except asyncio.CancelledError:
            raise
        except Exception:  # Envoy would answer 500: the client should try again instead
            logger.exception("slackwise: picking failed")
            yield refusal(RefusedError(503, "no server could be picked: try again"))
        finally:
            exchange.end()


async def serve_picker(deployment: Deployment, pool: str | None, listen: str, ready: Any) -> None:
    """Serve Envoy at host:port `listen` until cancelled; `ready(port)` is called once it listens."""
    from slackwise.adapters.gateway.server import serving

    picker = Picker(deployment, pool)
    loops = [deployment.feed.follow(SCRAPE_S), _reload(deployment)]
    most = deployment.body_bytes + 65_536
    await serving(
        handler(PickerService(picker).process), listen, loops, ready, [("grpc.max_receive_message_length", most)]
    )


async def _reload(deployment: Deployment, period_s: float = 5.0) -> None:
    while True:
        await asyncio.sleep(period_s)
        await asyncio.to_thread(deployment.reload)
