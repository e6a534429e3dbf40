"""The way of a request over the pools, without Ray: parallel encode calls, the bypass, limits, and junk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.adapters.ray.ingress import CHAT, Path, Reply, answer
from slackwise.adapters.ray.workload import MOST_MESSAGES

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
PARTED = [{"name": "e", "stages": 1}, {"name": "pd", "stages": 6}]
MONOLITH = [{"name": "epd", "stages": 7}]
ARGUMENTS = {"served_name": "m", "body_bytes": 100_000, "images_per_request": 4}


class Pools:
    """Pools that note their calls; encoders answer once `together` encode calls are there at the same time."""

    def __init__(self, together: int = 0) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.together, self.there, self.all_there = together, 0, asyncio.Event()

    async def call(self, pool: str, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((pool, call))
        if call["kind"] == "encode":
            self.there += 1
            if self.there >= self.together:
                self.all_there.set()
            await asyncio.wait_for(self.all_there.wait(), 5.0)
        return {"replica": pool, "first_s": 0.5, "tokens": 2}


def ask(body: bytes, pools: list[dict[str, Any]], together: int = 0, **request: Any) -> tuple[Reply, Pools]:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    async def served() -> tuple[Reply, Pools]:
        there = Pools(together)
        shown: dict[str, Any] = {"method": "POST", "url": SimpleNamespace(path=CHAT), "stream": parts} | request
        return await answer(SimpleNamespace(**shown), Path(pools, there.call), ARGUMENTS, "x "), there

    return asyncio.run(served())


def chat(images: int, text: str = "abcd") -> bytes:
    content = [{"type": "text", "text": text}, *[IMAGE] * images]
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 7}).encode()


def test_images_are_encoded_by_calls_of_their_own_all_at_once_before_the_text_pool() -> None:
    reply, pools = ask(chat(3), PARTED, together=3)
    assert reply.status == 200
    assert [pool for pool, _ in pools.calls] == ["e", "e", "e", "pd"]
    assert pools.calls[-1][1]["encoded"] is True
    assert reply.document["slackwise"]["encoders"] == ["e"] * 3
    assert reply.document["choices"][0]["message"]["content"] == "x x "


def test_a_request_without_images_and_a_monolith_need_no_encoder() -> None:
    assert [pool for pool, _ in ask(chat(0), PARTED)[1].calls] == ["pd"]
    reply, pools = ask(chat(2), MONOLITH)
    assert [(pool, call["encoded"], call["images"]) for pool, call in pools.calls] == [("epd", False, 2)]
    assert reply.document["slackwise"]["first_s"] >= 0.5


def test_separate_decode_instances_are_called_after_prefill() -> None:
    pools = [{"name": "e", "stages": 1}, {"name": "p", "stages": 2}, {"name": "d", "stages": 4}]
    reply, there = ask(chat(1), pools, together=1)
    assert [pool for pool, _ in there.calls] == ["e", "p", "d"]
    assert reply.document["slackwise"]["decode"] == "d"


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
