"""A replica with an engine, against a server that stands for vLLM's: pieces, refusals, loss, and who ends with whom."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from slackwise.adapters.ray.counts import BUSY_WINDOW_S, Counts
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.workload import work_for
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import read_winner

from .bundles import bundle

if find_spec("aiohttp") is None:
    pytest.skip("slackwise[serve]", allow_module_level=True)

import aiohttp
from aiohttp import web

from slackwise.adapters.ray import engine as engine_module
from slackwise.adapters.ray.engine import LOST, EngineReplica, piece_of, with_deadline
from slackwise.adapters.ray.engine_server import EngineServer
from slackwise.errors import CheckError

CALL = {"images": 0, "characters": 8, "max_tokens": 4, "arrival_s": 100.0, "kind": "text", "encoded": False}
BODY = {"messages": [{"role": "user", "content": "x"}], "temperature": 0.5}
Answer = Callable[[Any], Awaitable[Any]]


def chunk(text: str | None, made: int, finish: str | None = None) -> dict[str, Any]:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    return {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": made}}


async def streamed(request: Any) -> Any:
    reply = web.StreamResponse()
    await reply.prepare(request)
    for each in (chunk("", 0), chunk("a", 1), chunk("bc", 3, "stop"), chunk(None, 3)):
        await reply.write(b"data: " + json.dumps(each).encode() + b"\n\n")
    await reply.write(b"data: [DONE]\n\n")
    return reply


async def cut_off(request: Any) -> Any:
    reply = web.StreamResponse()
    await reply.prepare(request)
    await reply.write(b"data: " + json.dumps(chunk("a", 1)).encode() + b"\n\n")
    request.transport.abort()
    return reply


async def refused(request: Any) -> Any:
    return web.json_response({"error": {"message": "too long", "type": "BadRequestError"}}, status=400)


async def broken(request: Any) -> Any:
    return web.Response(status=502, text="<html>")


class Standing(EngineServer):
    """In the place of a `vllm serve` at a socket."""

    def __init__(self, socket: Path) -> None:
        self.http = aiohttp.ClientSession("http://engine", connector=aiohttp.UnixConnector(str(socket)))

    def stop(self) -> None:
        """Nothing was started."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Any], EngineReplica, list[Any]]]:
    """run(answer, stages, call) -> (pieces, or the answer of an encoder), the replica, bodies that the engine got."""
    monkeypatch.setattr(engine_module, "replica_id", lambda: "replica-1")
    winner = read_winner(bundle(tmp_path / "winner.json"))

    def ran(answer: Answer, stages: int, call: dict[str, Any]) -> tuple[list[Any], EngineReplica, list[Any]]:
        replica = EngineReplica.__new__(EngineReplica)
        replica.size, replica.name = FleetPool("p", stages, 1, 1, 1, 1), "m"
        replica.counts = Counts(work_for(winner, 1), stages)
        bodies: list[Any] = []

        async def noted(request: Any) -> Any:
            bodies.append(await request.json())
            return await answer(request)

        async def one() -> list[Any]:
            app = web.Application()
            app.router.add_post("/v1/chat/completions", noted)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.UnixSite(runner, str(tmp_path / "s")).start()
            replica.server = Standing(tmp_path / "s")
            try:
                if call["kind"] == "encode":
                    return [await replica.encode(call)]
                return [piece async for piece in replica.generate(call)]
            finally:
                await replica.server.http.close()
                await runner.cleanup()

        return asyncio.run(one()), replica, bodies

    return ran


def idle(replica: EngineReplica) -> bool:
    seen = replica.record_routing_stats()
    return not any(value for name, value in seen.items() if name != "made_s")


def test_an_answer_comes_as_pieces_whose_tokens_add_up(run: Any) -> None:
    pieces, replica, bodies = run(streamed, PREFILL | DECODE, {**CALL, "body": BODY})
    assert "".join(piece["text"] for piece in pieces) == "abc"
    assert [piece["tokens"] for piece in pieces] == [0, 1, 2, 0]
    assert [piece.get("replica") for piece in pieces] == ["replica-1", None, None, None]
    assert [piece["finish_reason"] for piece in pieces] == [None, None, "stop", None]
    assert pieces[-1]["usage"]["completion_tokens"] == 3
    assert (bodies[0]["model"], bodies[0]["stream"], bodies[0]["temperature"]) == ("m", True, 0.5)
    assert bodies[0]["vllm_xargs"] == {"slo_ms": 1.0}  # it arrived in 1970
    assert idle(replica)


@pytest.mark.parametrize(
    ("answer", "status", "words"), [(refused, 400, "too long"), (broken, 500, "the engine failed")]
)
def test_what_the_engine_refuses_is_said(run: Any, answer: Answer, status: int, words: str) -> None:
    pieces, replica, _ = run(answer, PREFILL | DECODE, {**CALL, "body": BODY})
    assert pieces == [{"error": words, "status": status}]
    assert idle(replica)


def test_an_engine_lost_in_the_middle_is_said(run: Any) -> None:
    pieces, replica, _ = run(cut_off, PREFILL | DECODE, {**CALL, "body": BODY})
    assert pieces[0]["text"] == "a"
    assert pieces[-1] == {"error": LOST, "status": 503}
    assert idle(replica)


@pytest.mark.parametrize("healthy", [True, False])
def test_a_replica_is_well_while_its_engine_is(healthy: bool) -> None:
    class Server:
        async def healthy(self, limit_s: float) -> bool:
            return healthy

        def stop(self) -> None:
            """Nothing was started."""

    replica = EngineReplica.__new__(EngineReplica)
    replica.server = cast(EngineServer, Server())
    if healthy:
        asyncio.run(replica.check_health())
    else:
        with pytest.raises(CheckError, match="is gone"):
            asyncio.run(replica.check_health())


def test_an_encoder_is_sent_the_image_and_nothing_of_the_text(run: Any) -> None:
    async def encoded(request: Any) -> Any:
        return web.json_response({"choices": []})

    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    call = {**CALL, "images": 2, "kind": "encode", "image": picture, "body": {"mm_processor_kwargs": {"k": 1}}}
    answers, replica, bodies = run(encoded, ENCODE, call)
    assert answers == [{"replica": "replica-1"}]
    assert bodies[0]["messages"] == [{"role": "user", "content": [picture]}]
    assert bodies[0]["mm_processor_kwargs"] == {"k": 1}
    assert idle(replica)
    assert run(refused, ENCODE, call)[0] == [{"error": "too long", "status": 400}]


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ({}, {"slo_ms": 1000.0}),
        ({"vllm_xargs": {"slo_ms": 1500, "mine": 1}}, {"slo_ms": 500.0, "mine": 1}),
        ({"vllm_xargs": {"slo_ms": 500}}, {"slo_ms": 1.0}),
        ({"vllm_xargs": {"deadline_s": 6.0}}, {"deadline_s": 6.0}),
        ({"vllm_xargs": {"slo_ms": "soon"}}, {"slo_ms": "soon"}),
        ({"vllm_xargs": {"slo_ms": -1}}, {"slo_ms": -1}),
        ({"priority": 300}, None),
    ],
)
def test_an_objective_counts_from_arrival_at_the_endpoint(body: dict[str, Any], extra: Any) -> None:
    assert with_deadline(body, 5.0, 7.0, now_s=6.0).get("vllm_xargs") == extra


def test_a_replica_is_busy_while_a_call_is_there(tmp_path: Path) -> None:
    counts = Counts(work_for(read_winner(bundle(tmp_path / "winner.json")), 1), PREFILL | DECODE)
    first, second = counts.enter(CALL), counts.enter(CALL)
    counts.since_s = 100.0
    assert counts.busy_share(101.0) == 1.0 / BUSY_WINDOW_S
    assert counts.autoscaling()["waiting"] == 2
    counts.first(first)
    assert (counts.routing()["waiting"], counts.routing()["running"]) == (1, 1)
    counts.leave(first)
    counts.leave(second)
    assert counts.routing()["running"] == counts.inside == 0
    counts.busy = [(90.0, 96.0), (97.0, 98.0)]
    assert counts.busy_share(100.0) == pytest.approx((1.0 + 1.0) / BUSY_WINDOW_S)
    assert counts.busy_share(110.0) == 0.0


def test_tokens_are_those_since_the_chunk_before() -> None:
    piece, told = piece_of(chunk("xy", 5), 3)
    assert (piece["text"], piece["tokens"], told) == ("xy", 2, 5)
    assert piece_of({"choices": []}, 5)[1] == 5


def test_a_server_that_does_not_start_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        server = EngineServer(["--no-such-thing"])
        try:
            await asyncio.wait_for(server.started(), 60.0)
        finally:
            await server.http.close()
            server.stop()
            assert not server.folder.exists()

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with pytest.raises(CheckError, match=r"vllm serve ended with [12]: .*[Ee]rror") as refusal:
        asyncio.run(start())
    assert "\n" not in str(refusal.value)


def test_a_tied_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    child = "import os, pathlib, time; pathlib.Path('child').write_text(str(os.getpid())); time.sleep(60)"
    parent = (
        "import os, subprocess, sys, time\n"
        "tied = [sys.executable, '-m', 'slackwise.adapters.ray.tied', str(os.getpid()), sys.executable, '-c']\n"
        f"subprocess.Popen([*tied, {child!r}]); time.sleep(60)"
    )
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    started = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=path)
    try:
        wait(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "")
        pid = int((tmp_path / "child").read_text())
        assert alive(pid)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    wait(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait(until: Callable[[], bool], limit_s: float = 30.0) -> None:
    ends = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < ends
        time.sleep(0.05)
