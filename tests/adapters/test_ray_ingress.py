"""The way of a request over the pools, without Ray: parallel encode calls, the bypass, limits, and junk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.adapters.ray.chat import DONE, Chat
from slackwise.adapters.ray.ingress import CHAT, LOST, Endpoint, Reply, Streamed
from slackwise.adapters.ray.path import Path, ReplicaError
from slackwise.adapters.ray.workload import MOST_MESSAGES

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
PARTED = [{"name": "e", "stages": 1}, {"name": "pd", "stages": 6}]
MONOLITH = [{"name": "epd", "stages": 7}]
ARGUMENTS = {"served_name": "m", "body_bytes": 100_000, "images_per_request": 4}


class Pools:
    """Pools that note their calls; encoders answer once `together` encode calls are there at the same time.

    `pieces` are what a text pool yields, an exception among them is raised; `closed` says which streams were closed.
    """

    def __init__(self, together: int = 0, pieces: Sequence[Any] | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.together, self.there, self.all_there = together, 0, asyncio.Event()
        self.pieces, self.closed = pieces, list[str]()

    async def encode(self, pool: str, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((pool, call))
        self.there += 1
        if self.there >= self.together:
            self.all_there.set()
        await asyncio.wait_for(self.all_there.wait(), 5.0)
        return {"replica": pool}

    async def generate(self, pool: str, call: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.calls.append((pool, call))
        ends = {"text": "x ", "tokens": 1, "finish_reason": None if pool == "p" else "length"}
        pieces = [{"replica": pool, "pool": pool, "text": "x ", "tokens": 1, "prompt_tokens": 3}, ends]
        try:
            for piece in pieces if self.pieces is None else self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield dict(piece)
        finally:
            self.closed.append(pool)


def shown(body: bytes, **request: Any) -> Any:
    """What the ingress sees of a request."""

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    there: dict[str, Any] = {"method": "POST", "url": SimpleNamespace(path=CHAT), "stream": parts, "headers": {}}
    return SimpleNamespace(**there | request)


def endpoint(pools: list[dict[str, Any]], there: Pools, key: str | None = None) -> Endpoint:
    return Endpoint(Path(pools, there.encode, there.generate), ARGUMENTS, key)


def ask(body: bytes, pools: list[dict[str, Any]], together: int = 0, **request: Any) -> tuple[Reply, Pools]:
    there = Pools(together)
    reply = asyncio.run(endpoint(pools, there).answer(shown(body, **request)))
    assert isinstance(reply, Reply)
    return reply, there


def streamed(body: bytes, there: Pools) -> list[Any]:
    """The documents of a stream, the last one None if it ended as it should."""

    async def events() -> list[bytes]:
        reply = await endpoint(PARTED, there).answer(shown(body))
        assert isinstance(reply, Streamed), reply
        return [each async for each in reply.events]

    lines = [each.decode() for each in asyncio.run(events())]
    assert all(each.startswith("data: ") and each.endswith("\n\n") for each in lines)
    return [None if each == DONE.decode() else json.loads(each[6:]) for each in lines]


def chat(images: int, text: str = "abcd", **more: Any) -> bytes:
    content = [{"type": "text", "text": text}, *[IMAGE] * images]
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 7, **more}).encode()


def test_images_are_encoded_by_calls_of_their_own_all_at_once_before_the_text_pool() -> None:
    reply, pools = ask(chat(3), PARTED, together=3)
    assert reply.status == 200
    assert [pool for pool, _ in pools.calls] == ["e", "e", "e", "pd"]
    assert pools.calls[-1][1]["encoded"] is True
    assert reply.document["slackwise"]["encoders"] == ["e"] * 3
    assert [call["image"] for _, call in pools.calls[:-1]] == [IMAGE] * 3
    assert reply.document["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "x x "}, "finish_reason": "length"}
    ]
    assert reply.document["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_request_without_images_and_a_monolith_need_no_encoder() -> None:
    assert [pool for pool, _ in ask(chat(0), PARTED)[1].calls] == ["pd"]
    reply, pools = ask(chat(2), MONOLITH)
    assert [(pool, call["encoded"], call["images"]) for pool, call in pools.calls] == [("epd", False, 2)]
    assert reply.document["slackwise"]["first_s"] >= 0.0


def test_separate_decode_instances_are_called_after_prefill() -> None:
    pools = [{"name": "e", "stages": 1}, {"name": "p", "stages": 2}, {"name": "d", "stages": 4}]
    reply, there = ask(chat(1), pools, together=1)
    assert [pool for pool, _ in there.calls] == ["e", "p", "d"]
    assert reply.document["slackwise"]["decode"] == "d"
    assert reply.document["usage"]["completion_tokens"] == 4


def test_a_stream_has_a_chunk_for_each_piece_and_an_end() -> None:
    there = Pools()
    *chunks, end = streamed(chat(1, stream=True), there)
    assert end is None
    assert [each["choices"][0]["delta"] for each in chunks] == [
        {"role": "assistant", "content": "x "},
        {"content": "x "},
    ]
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None, "length"]
    assert {each["object"] for each in chunks} == {"chat.completion.chunk"}
    assert len({each["id"] for each in chunks}) == 1
    assert (chunks[0]["slackwise"]["encoders"], chunks[0]["slackwise"]["text"]) == (["e"], "pd")


def test_the_usage_is_a_chunk_of_its_own_where_it_is_asked_for() -> None:
    *_, usage, end = streamed(chat(0, stream=True, stream_options={"include_usage": True}), Pools())
    assert end is None
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


FIRST = {"replica": "pd", "pool": "pd", "text": "x", "tokens": 1}


@pytest.mark.parametrize(
    ("after", "code", "words"),
    [
        ([ReplicaError(503, "gone")], 503, "gone"),
        ([{"error": "engine", "status": 500}], 500, "engine"),
        ([], 503, LOST),
        ([RuntimeError("a bug")], 500, "the server failed"),
    ],
)
def test_a_stream_that_fails_says_so_in_its_last_event(after: list[Any], code: int, words: str) -> None:
    there = Pools(pieces=[FIRST, *after])
    *_, error = streamed(chat(0, stream=True), there)
    assert (error["error"]["code"], error["error"]["message"]) == (code, words)
    assert there.closed == ["pd"]


@pytest.mark.parametrize("stream", [True, False])
def test_what_fails_before_the_first_piece_has_a_status_of_its_own(stream: bool) -> None:
    there = Pools(pieces=[{"error": "too long", "status": 400}])
    reply = asyncio.run(endpoint(PARTED, there).answer(shown(chat(0, stream=stream))))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.document["error"]["message"]) == (400, "too long")
    assert there.closed == ["pd"]


def test_a_client_that_hangs_up_closes_the_call_of_its_replica() -> None:
    async def hang_up() -> list[str]:
        there = Pools(pieces=[FIRST] * 5)
        reply = await endpoint(PARTED, there).answer(shown(chat(0, stream=True)))
        assert isinstance(reply, Streamed)
        await anext(reply.events)
        assert there.closed == []
        await reply.events.aclose()
        return there.closed

    assert asyncio.run(hang_up()) == ["pd"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic secret", 401),
        ("Bearer sécret", 401),
        ("Bearer secret", 200),
        ("bearer secret", 200),
    ],
)
def test_who_has_no_key_is_turned_away(header: str | None, status: int) -> None:
    there, headers = Pools(), {} if header is None else {"authorization": header}
    reply = asyncio.run(endpoint(PARTED, there, "secret").answer(shown(chat(0), headers=headers)))
    assert isinstance(reply, Reply)
    assert reply.status == status
    assert bool(there.calls) == (status == 200)
    health = SimpleNamespace(path="/health")
    open_to_all = asyncio.run(endpoint(PARTED, there, "secret").answer(shown(b"", url=health)))
    assert isinstance(open_to_all, Reply)
    assert open_to_all.status == 200


def test_the_chunks_of_an_engine_are_put_together() -> None:
    made = Chat("m", 0.0)
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    more = {"index": 0, "function": {"arguments": '": 1}'}}
    for delta in (
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"tool_calls": [call]},
        {"tool_calls": [more]},
    ):
        made.take({"text": "", "tokens": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    assert made.take({"text": "", "tokens": 0, "choices": [], "usage": {"prompt_tokens": 9}}) is None
    made.take({"text": "", "tokens": 1, "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]})
    first, second = made.completion()["choices"]
    function = first["message"]["tool_calls"][0]["function"]
    assert (first["message"]["content"], function) == ("a", {"name": "f", "arguments": '{"a": 1}'})
    assert (second["message"]["content"], second["finish_reason"]) == ("b", "stop")
    assert made.completion()["usage"] == {"prompt_tokens": 9}


def test_sizes_are_limited() -> None:
    assert ask(chat(4), PARTED, together=4)[0].status == 200
    assert ask(chat(5), PARTED)[0].status == 400
    assert ask(chat(0, "x" * 100_000), PARTED)[0].status == 413
    many = {"messages": [{"role": "user", "content": "x"}] * (MOST_MESSAGES + 1)}
    assert ask(json.dumps(many).encode(), PARTED)[0].status == 400


def test_other_paths_and_methods_are_refused() -> None:
    assert ask(b"", PARTED, url=SimpleNamespace(path="/x"))[0].status == 404
    assert ask(b"", PARTED, method="GET")[0].status == 405
    assert ask(b"", PARTED, url=SimpleNamespace(path="/health"))[0].status == 200


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.just(IMAGE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["messages", "content", "role", "type", "text", "image_url", "url"]), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JUNK | st.fixed_dictionaries({"messages": JUNK, "max_tokens": JUNK}))
def test_junk_is_the_clients_error_and_reaches_no_pool(junk: Any) -> None:
    reply, pools = ask(json.dumps(junk).encode(), MONOLITH)
    assert reply.status in (200, 400)
    assert (reply.status == 200) == bool(pools.calls)
    json.dumps(reply.document, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_the_clients_error(body: bytes) -> None:
    reply, pools = ask(body, MONOLITH)
    assert reply.status == 400
    assert not pools.calls


def test_one_request_too_many_is_refused_and_a_place_is_free_again_when_one_ends() -> None:
    there = Pools(together=9)
    door = Endpoint(Path(PARTED, there.encode, there.generate, at_once=2), ARGUMENTS)

    async def crowd() -> list[int]:
        waiting = [asyncio.ensure_future(door.answer(shown(chat(1)))) for _ in range(2)]
        await asyncio.sleep(0)
        refused = [await door.answer(shown(chat(1, stream=stream))) for stream in (False, True)]
        there.all_there.set()
        served = await asyncio.gather(*waiting)
        after = await door.answer(shown(chat(1)))
        return [each.status for each in (*refused, *served, after) if isinstance(each, Reply)]

    assert asyncio.run(crowd()) == [429, 429, 200, 200, 200]
    assert door.path.under_way == 0
