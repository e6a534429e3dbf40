"""Spans of one request's path, in OpenTelemetry's own memory: who is below whom, and what a failure leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray import spans
from slackwise.adapters.ray.hot import Bundle
from slackwise.adapters.ray.telemetry import Telemetry
from slackwise.adapters.ray.watched import Watch, WatchedPath
from slackwise.adapters.ray.workload import read_chat
from slackwise.errors import InputError

from .bundles import bundle

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

CLIENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
POOLS = [{"name": "e", "stages": 1}, {"name": "p", "stages": 2}, {"name": "d", "stages": 4}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.fixture(scope="module")
def exporter() -> Any:
    """Where spans of this process end up."""
    kept, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def found(exporter: Any) -> Any:
    """The spans of one test by name, once it asks."""
    exporter.clear()

    def by_name() -> dict[str, list[Any]]:
        named: dict[str, list[Any]] = {}
        for each in exporter.get_finished_spans():
            named.setdefault(each.name, []).append(each)
        return named

    return by_name


class Pools:
    """Pools that keep the headers of their calls; `lost` is the pool whose replica is lost."""

    def __init__(self, lost: str = "") -> None:
        self.lost, self.headers = lost, dict[str, str]()

    async def encode(self, pool: str, call: dict[str, Any]) -> dict[str, Any]:
        self.headers[pool] = call["trace"]["traceparent"]
        return {"replica": f"{pool}-0"}

    async def generate(self, pool: str, call: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.headers[pool] = call["trace"]["traceparent"]
        if pool == self.lost:
            raise RuntimeError("lost")
        yield {"replica": f"{pool}-0", "text": "", "tokens": 1, "finish_reason": None}
        if pool == "d":
            yield {"text": "", "tokens": 4, "finish_reason": "length"}


def served(folder: Path, pools: Pools, headers: dict[str, str], pieces_wanted: int = 99) -> None:
    """Serve a request with two images."""
    watch = Watch(Bundle(bundle(folder / "winner.json").read_text(encoding="utf-8")), 4, Telemetry())
    path = WatchedPath(watch, POOLS, pools.encode, pools.generate, 8)
    body = {"messages": [{"content": [IMAGE, IMAGE]}]}

    async def run() -> None:
        seen = path.pieces(read_chat(body, 4), body, time.time(), spans.trace_headers(headers))
        async with aclosing(seen):
            for _ in range(pieces_wanted):
                if await anext(seen, None) is None:
                    break

    asyncio.run(run())


def test_a_request_is_one_trace_below_its_clients_with_a_span_for_every_part(tmp_path: Path, found: Any) -> None:
    pools = Pools()
    served(tmp_path, pools, {"traceparent": CLIENT})
    named = found()
    assert {name: len(each) for name, each in named.items()} == {
        "request": 1, "encode": 2, "prefill": 1, "transfer": 1, "decode": 2,
    }  # fmt: skip
    (request,) = named["request"]
    assert f"{request.context.trace_id:032x}" == "a" * 32
    assert f"{request.parent.span_id:016x}" == "b" * 16
    parts = [each for name, spans_of in named.items() if name != "request" for each in spans_of]
    assert {each.parent.span_id for each in parts} == {request.context.span_id}
    (prefill,), (transfer,) = named["prefill"], named["transfer"]
    assert prefill.attributes["slackwise.replica"] == "p-0"
    assert pools.headers["p"].split("-")[2] == f"{prefill.context.span_id:016x}", "replicas see the span of their call"
    assert max(each.end_time for each in named["encode"]) <= prefill.start_time
    assert prefill.end_time <= transfer.start_time <= transfer.end_time <= request.end_time


def test_a_lost_replica_marks_its_span_and_the_request(tmp_path: Path, found: Any) -> None:
    with pytest.raises(RuntimeError):
        served(tmp_path, Pools(lost="p"), {})
    named = found()
    for name in ("prefill", "request"):
        assert named[name][0].status.status_code == trace.StatusCode.ERROR
    assert named["encode"][0].status.status_code == trace.StatusCode.UNSET
    assert named["request"][0].parent is None


def test_a_client_that_hangs_up_ends_its_spans_without_an_error(tmp_path: Path, found: Any) -> None:
    served(tmp_path, Pools(), {}, pieces_wanted=1)
    named = found()
    assert {each.status.status_code for spans_of in named.values() for each in spans_of} == {trace.StatusCode.UNSET}
    assert len(named["request"]) == 1


@pytest.mark.parametrize("header", ["", "00-zz", CLIENT + "-x", "\x00" * 55, "0" * 9999])
def test_headers_that_are_no_trace_context_are_left_out(header: str) -> None:
    assert spans.trace_headers({"traceparent": header, "tracestate": "a=b"}) == {}
    long = {"traceparent": CLIENT, "tracestate": "a" * 600}
    assert spans.trace_headers(long) == {"traceparent": CLIENT}


def test_without_the_package_the_clients_headers_reach_the_replicas_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_api", lambda: None)
    pools = Pools()
    served(tmp_path, pools, {"traceparent": CLIENT})
    assert pools.headers == dict.fromkeys(("e", "p", "d"), CLIENT)


def test_spans_go_nowhere_unless_the_environment_says_and_a_missing_exporter_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not spans.export_spans({})
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match=r"slackwise\[otel\]"):
        spans.export_spans({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
