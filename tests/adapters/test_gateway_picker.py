"""The endpoint picker over real gRPC, asked as Envoy asks: whole and streamed bodies, limits, junk, counting."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.adapters.gateway.deployment import read_deployment
from slackwise.adapters.gateway.ext_proc import FULL_DUPLEX, handler, processing_messages
from slackwise.adapters.gateway.feed import Heard
from slackwise.adapters.gateway.picker import DESTINATION, NAMESPACE, PIECE, PickerService
from slackwise.adapters.gateway.picks import Picker, RefusedError
from slackwise.adapters.gateway.speed import chat, messages, open_call
from slackwise.adapters.ray.cheapest import cheapest
from slackwise.cli.main import run
from slackwise.errors import InputError

from .deployed import deployed, winner_of

grpc = pytest.importorskip("grpc")
pytest.importorskip("yaml")

SERVERS = [f"10.0.0.{at}:8100" for at in range(4)]
LIMIT = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    winner = winner_of("routing=least_requests")
    return deployed(tmp_path_factory.mktemp("picked"), winner, body_bytes=LIMIT, images_per_request=4)


def picking(folder: Path, waiting: Sequence[float] = (3, 1, 0, 2), pool: str | None = None) -> Picker:
    """A picker that has heard so many requests wait at each server."""
    picker = Picker(read_deployment(folder, (), ()), pool)
    hear(picker, waiting)
    return picker


def hear(picker: Picker, waiting: Sequence[float]) -> None:
    feed = picker.deployment.feed
    reports = zip(SERVERS, waiting, strict=False)
    feed.pools = {picker.size.name: {name: Heard({"waiting": float(each)}, time.time()) for name, each in reports}}
    feed.looks += 1


@asynccontextmanager
async def envoy(picker: Picker) -> AsyncIterator[Any]:
    """The method that Envoy calls."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler(PickerService(picker).process),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield open_call(channel)
    await server.stop(0)


def destination(answer: Any) -> str:
    """The server that an answer names, by header and metadata alike."""
    common = getattr(answer, answer.WhichOneof("response")).response
    (option,) = common.header_mutation.set_headers
    assert option.header.key == DESTINATION
    named: str = answer.dynamic_metadata.fields[NAMESPACE].struct_value.fields[DESTINATION].string_value
    assert option.header.raw_value.decode() == named
    return named


async def posted(process: Any, body: bytes) -> Any:
    """The answer to a buffered body."""
    call = process()
    for message in messages(body):
        await call.write(message)
        answer = await call.read()
    await call.done_writing()
    return answer


def test_a_buffered_body_is_answered_with_the_server_that_the_policy_finds_cheapest(folder: Path) -> None:
    async def run_it() -> None:
        picker = picking(folder)
        async with envoy(picker) as process:
            call = process()
            headers, body = messages(chat(0))
            await call.write(headers)
            first = await call.read()
            assert first.WhichOneof("response") == "request_headers"
            assert not first.request_headers.response.header_mutation.set_headers
            await call.write(body)
            assert destination(await call.read()) == SERVERS[2]
            assert picker.router.books.rows["waiting"].tolist() == [3, 1, 1, 2]
            for what in ("response_headers", "response_body"):
                message = processing_messages()["ProcessingRequest"]()
                getattr(message, what).end_of_stream = what == "response_body"
                await call.write(message)
                assert (await call.read()).WhichOneof("response") == what
            assert picker.router.books.rows["waiting"].tolist() == [3, 1, 0, 2], "an answered request still counts"

    asyncio.run(run_it())


def test_a_streamed_body_is_handed_back_whole_after_the_headers_name_the_server(folder: Path) -> None:
    async def run_it() -> None:
        body = chat(0) + b" " * (2 * PIECE)
        async with envoy(picking(folder)) as process:
            call = process()
            headers = messages(body)[0]
            headers.protocol_config.request_body_mode = FULL_DUPLEX
            await call.write(headers)
            for start in range(0, len(body), 40_000):
                piece = processing_messages()["ProcessingRequest"]()
                piece.request_body.body = body[start : start + 40_000]
                piece.request_body.end_of_stream = start + 40_000 >= len(body)
                await call.write(piece)
            assert destination(await call.read()) == SERVERS[2]
            handed, last = b"", False
            while not last:
                piece = (await call.read()).request_body.response.body_mutation.streamed_response
                assert len(piece.body) <= PIECE
                handed, last = handed + piece.body, piece.end_of_stream
            assert handed == body

    asyncio.run(run_it())


def test_picks_follow_each_other_before_any_report_and_are_the_policys_own(folder: Path) -> None:
    async def run_it() -> None:
        picker = picking(folder, (0, 0, 0, 0))
        picker.router.recording = True
        chosen = []
        choose = picker.router.choose
        picker.router.choose = lambda *asked: chosen.append(choose(*asked)) or chosen[-1]  # type: ignore[method-assign, func-returns-value]
        async with envoy(picker) as process:
            answers = await asyncio.gather(*(posted(process, chat(0)) for _ in range(16)))
        named = [destination(each) for each in answers]
        assert {name: named.count(name) for name in SERVERS} == dict.fromkeys(SERVERS, 4)
        policies = picker.deployment.bundle.winner.policies
        policy, params = cheapest(policies.policy("routing")), policies.params("routing")
        for choice in chosen:
            assert SERVERS[policy(choice.request, choice.instances, choice.now_s, params)] == choice.replica

    asyncio.run(run_it())


def test_a_request_whose_end_nobody_tells_counts_until_its_servers_next_report(folder: Path) -> None:
    picker = picking(folder, (0, 0, 0, 0))
    choice = picker.pick(chat(0))
    picker.leave(choice)
    assert picker.router.books.rows["waiting"].sum() == 1
    hear(picker, (0, 0, 0, 0))
    picker.pick(chat(0))
    assert picker.router.books.rows["waiting"].sum() == 1
    assert not any(call is choice.call for pages in picker.router.books._pages.values() for call in pages.calls)


def test_servers_that_do_not_answer_are_not_picked_and_none_is_an_error(folder: Path) -> None:
    picker = picking(folder)
    heard = picker.deployment.feed.pools["pd"]
    heard[SERVERS[2]] = Heard(None, time.time())
    assert picker.pick(chat(0)).replica == SERVERS[1]
    hear(picker, ())
    with pytest.raises(RefusedError) as refused:
        picker.pick(chat(0))
    assert refused.value.status == 503


def test_a_request_without_a_body_goes_somewhere_and_images_weigh_on_encoders(folder: Path) -> None:
    async def run_it() -> None:
        async with envoy(picking(folder)) as process:
            call = process()
            headers = messages(b"")[0]
            headers.request_headers.end_of_stream = True
            await call.write(headers)
            assert destination(await call.read()) == SERVERS[2]

    asyncio.run(run_it())
    encoders = picking(folder, (0, 0), pool="e")
    at = SERVERS.index(encoders.pick(chat(1)).replica)
    assert encoders.router.books.rows["pending_images"][at] == 1
    texts = picking(folder, (0,))
    texts.pick(chat(2))
    row = texts.router.books.rows[0]
    assert (row["pending_images"], row["pending_image_tokens"] > 0) == (0, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"null", 400),
        (b'{"messages": [{"content": [{"type": {}}]}]}', 400),
        (b'{"messages": [{"content": "x"}], "max_tokens": 1e400}', 400),
        (chat(5), 400),
        (chat(0) + b" " * LIMIT, 413),
    ],
)
def test_what_is_no_request_is_the_clients_error(folder: Path, body: bytes, status: int) -> None:
    async def run_it() -> None:
        picker = picking(folder)
        async with envoy(picker) as process:
            answer = (await posted(process, body)).immediate_response
            assert answer.status.code == status
            assert json.loads(answer.body)["error"]["code"] == status
            assert not picker.router.books.rows["assigned"].any()
            assert destination(await posted(process, chat(0))) == SERVERS[2]

    asyncio.run(run_it())


def test_a_streamed_body_beyond_the_limit_is_refused_before_it_has_all_come(folder: Path) -> None:
    async def run_it() -> None:
        async with envoy(picking(folder)) as process:
            call = process()
            headers = messages(b"")[0]
            headers.protocol_config.request_body_mode = FULL_DUPLEX
            await call.write(headers)
            for _ in range(3):
                piece = processing_messages()["ProcessingRequest"]()
                piece.request_body.body = b"x" * (LIMIT // 2)
                await call.write(piece)
            assert (await call.read()).immediate_response.status.code == 413

    asyncio.run(run_it())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_messages_of_any_bytes_and_in_any_order_end_in_an_answer_or_an_error_of_the_client(parts: list[bytes]) -> None:
    from slackwise.adapters.gateway.picker import Exchange

    exchange = Exchange(PICKER[0])
    for at, part in enumerate(parts):
        message = processing_messages()["ProcessingRequest"]()
        try:
            message.MergeFromString(part)
        except Exception:
            message.request_body.body, message.request_body.end_of_stream = part, at % 2 == 0
        statuses = []
        try:
            for answer in exchange.answers(message):
                assert answer.WhichOneof("response") is not None
        except RefusedError as refused:
            statuses.append(refused.status)
        assert set(statuses) <= {400, 413}
    exchange.end()


PICKER: list[Picker] = []


@pytest.fixture(autouse=True)
def kept(folder: Path) -> None:
    """A picker that the examples of a property share."""
    if not PICKER:
        PICKER.append(picking(folder))


def test_a_failure_of_the_policy_is_an_answer_and_not_a_broken_stream(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_it() -> None:
        picker = picking(folder)
        monkeypatch.setattr(picker, "pick", lambda _: np.zeros(0)[1])
        async with envoy(picker) as process:
            assert (await posted(process, chat(0))).immediate_response.status.code == 503

    asyncio.run(run_it())


def test_a_pool_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="unknown pool 'x'"):
        picking(folder, pool="x")
    assert run(["deploy", "picker", str(folder), "--servers", "pd=127.0.0.1:1", "--pool", "x"]) == 2
