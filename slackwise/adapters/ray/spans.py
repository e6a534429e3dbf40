"""OpenTelemetry spans of one request's path: the request, each encode call, transfer, prefill, decode.

Trace context goes by W3C's headers, from the client's request through the calls to the replicas. Without the package
opentelemetry-api the headers are handed on as they came; without an exporter nothing is recorded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cache
from typing import Any

from slackwise.adapters.ray.path import TRACE, Call, Piece
from slackwise.optional import require

HEADERS = ("traceparent", "tracestate")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
LONGEST = 512
"""Characters of a tracestate, as W3C's Trace Context asks everybody to carry."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables of the environment; one of them says where spans go."""


class Span:
    """A span that records nothing and hands the headers on."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)

    def note(self, **attributes: Any) -> None:
        """Add attributes."""

    def end(self, error: BaseException | None = None) -> None:
        """It ends now."""


class Recorded(Span):
    """A span of OpenTelemetry."""

    def __init__(self, span: Any, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.span = span

    def note(self, **attributes: Any) -> None:
        self.span.set_attributes({f"slackwise.{name}": value for name, value in attributes.items()})

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            self.span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        self.span.end()


def begin(name: str, headers: Mapping[str, str], begun_s: float | None = None, **attributes: Any) -> Span:
    """A span that begins now, or at `begun_s` (since 1970), below the one that the headers name."""
    api = _api()
    if api is None:
        return Span(headers)
    trace, context = api
    above = context.extract(dict(headers))
    start = None if begun_s is None else int(begun_s * 1e9)
    span = trace.get_tracer("slackwise").start_span(name, context=above, start_time=start)
    below: dict[str, str] = {}
    context.inject(below, trace.set_span_in_context(span, above))
    recorded = Recorded(span, below)
    recorded.note(**attributes)
    return recorded


@cache
def _api() -> tuple[Any, Any] | None:
    """OpenTelemetry's module `trace` and its reader and writer of W3C's headers, None if it is not installed."""
    try:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return None
    return trace, TraceContextTextMapPropagator()


def trace_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a client that are trace context; other values are left out."""
    given = {} if headers is None else {name: headers.get(name) for name in HEADERS}
    if not TRACEPARENT.fullmatch(given.get("traceparent") or ""):
        return {}
    return {name: value for name, value in given.items() if value is not None and len(value) <= LONGEST}


def encoding(
    encode: Callable[[str, Call], Awaitable[Piece]],
) -> Callable[[str, Call], Awaitable[Piece]]:
    """The same, each call in a span of its own."""

    async def spanned(pool: str, call: Call) -> Piece:
        span = begin("encode", call.get(TRACE, {}), pool=pool)
        try:
            answer = await encode(pool, {**call, TRACE: span.headers})
        except BaseException as error:
            span.end(error)
            raise
        span.note(replica=str(answer.get("replica")))
        span.end()
        return answer

    return spanned


def generating(
    generate: Callable[[str, Call], AsyncGenerator[Piece, None]], names: Mapping[str, str]
) -> Callable[[str, Call], AsyncGenerator[Piece, None]]:
    """The same, with a span until the first piece, named for the pool, and one from there to the end.

    A pool that prefills has `prefill` until its first token, fetching what encoders made included; one that only
    decodes has `transfer` until it has the KV cache.
    """

    async def spanned(pool: str, call: Call) -> AsyncGenerator[Piece, None]:
        headers, tokens = call.get(TRACE, {}), 0
        span, first = begin(names[pool], headers, pool=pool), True
        try:
            async with aclosing(generate(pool, {**call, TRACE: span.headers})) as pieces:
                async for piece in pieces:
                    tokens += int(piece.get("tokens", 0))
                    if first:
                        span.note(replica=str(piece.get("replica")))
                        span.end()
                        span, first = begin("decode", headers, pool=pool), False
                    yield piece
        except BaseException as error:
            span.end(None if isinstance(error, GeneratorExit) else error)
            raise
        span.note(tokens=tokens)
        span.end()

    return spanned


def export_spans(environment: Mapping[str, str]) -> bool:
    """Send this process' spans where the environment says; False if it says nothing.

    Raises InputError if it does and the exporter is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return False
    sdk = require("opentelemetry.sdk.trace", "otel")
    export = require("opentelemetry.sdk.trace.export", "otel")
    otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    require("opentelemetry.trace", "otel").set_tracer_provider(provider)
    return True
