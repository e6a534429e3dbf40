"""Any bytes at the endpoint, through Starlette: never a 500, never another request's answer, always soon."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slackwise.adapters.ray.ingress import CHAT, Endpoint
from slackwise.adapters.ray.path import Path

httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("starlette.requests")

ARGUMENTS = {"served_name": "m", "body_bytes": 50_000, "images_per_request": 4}
PARTED = [{"name": "e", "stages": 1}, {"name": "pd", "stages": 6}]
MARK = re.compile(r"mark-[0-9]+-end")
LIMIT_S = 10.0
"""Of a test's request: on any machine far above what one takes."""


def travelled(call: Any) -> Any:
    """A call as another process gets it."""
    return pickle.loads(pickle.dumps(call))


async def encode(pool: str, call: dict[str, Any]) -> dict[str, Any]:
    """An encoder that remembers nothing."""
    image = travelled(call)["image"]
    await asyncio.sleep(0)
    return {"replica": f"{pool} {len(json.dumps(image))}"}


async def generate(pool: str, call: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """A text pool that says which marks it was sent, one a piece."""
    marks = MARK.findall(json.dumps(travelled(call)["body"]))
    yield {"replica": pool, "pool": pool, "text": "", "tokens": 1, "finish_reason": None if marks else "stop"}
    for at, mark in enumerate(marks):
        await asyncio.sleep(0)
        yield {"text": mark, "tokens": 1, "finish_reason": "stop" if at + 1 == len(marks) else None}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The endpoint as an ASGI application, as Ray's ingress runs it."""
    endpoint = Endpoint(Path(PARTED, encode, generate), ARGUMENTS, "key")
    from slackwise.adapters.ray.asgi import respond

    response = await respond(endpoint, requests.Request(scope, receive))
    await response(scope, receive, send)


def client() -> Any:
    headers = {"Authorization": "Bearer key"}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://x", headers=headers, verify=False
    )


def sent(content: bytes, **more: Any) -> Any:
    """The answer to one body."""

    async def run() -> Any:
        async with client() as http:
            return await asyncio.wait_for(http.post(CHAT, content=content, **more), LIMIT_S)

    return asyncio.run(run())


def check(reply: Any, content: bytes) -> None:
    """An answer of its own, or an error of the client."""
    assert reply.status_code in (200, 400, 413), reply.text
    if reply.status_code == 200:
        assert set(MARK.findall(reply.text)) <= set(MARK.findall(content.decode("utf-8", "replace")))
        if reply.headers["content-type"].startswith("text/event-stream"):
            assert reply.text.endswith("data: [DONE]\n\n")
    else:
        assert reply.json()["error"]["code"] == reply.status_code


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2**63,
        10**300,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "\ud800",
        "\x00",
        "𝔘\u202e",
        "data:;base64,%",
        [],
    ]
)
URLS: st.SearchStrategy[Any] = st.sampled_from(
    ["data:image/png;base64,AA==", "data:", "file:///etc/passwd", "http://169.254.169.254/", "\x00", "x" * 3000]
)
PARTS: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=20) | ODD}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": URLS | ODD}) | ODD}
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["video_url", "input_audio", "file"]) | ODD}),
    ODD,
)
MESSAGES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"content": st.lists(PARTS, max_size=6) | st.text(max_size=20) | ODD},
    optional={"role": st.just("user") | ODD, "name": ODD},
)
BODIES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=4) | ODD},
    optional={
        "model": ODD,
        "max_tokens": ODD | st.integers(1, 9),
        "max_completion_tokens": ODD,
        "stream": ODD | st.booleans(),
        "stream_options": ODD | st.fixed_dictionaries({"include_usage": ODD}),
        "n": ODD,
        "temperature": ODD,
        "vllm_xargs": ODD | st.fixed_dictionaries({"slo_ms": ODD, "deadline_s": ODD}),
        "mm_processor_kwargs": ODD,
        "slackwise": ODD,
    },
)
EXAMPLES = os.environ.get("SLACKWISE_FUZZ_EXAMPLES")
QUICK = settings(
    max_examples=int(EXAMPLES or 60),
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@QUICK
@given(BODIES, st.booleans())
def test_requests_of_the_right_shape_with_wrong_values_are_answered_or_refused(body: Any, ascii_only: bool) -> None:
    content = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    check(sent(content), content)


@QUICK
@given(st.binary(max_size=300), st.binary(max_size=40), st.integers(0, 300))
def test_a_good_body_with_bytes_put_in_is_answered_or_refused(noise: bytes, tail: bytes, at: int) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "mark-1-end"}], "stream": True}).encode()
    content = good[:at] + noise + good[at:] + tail
    check(sent(content), content)


@pytest.mark.parametrize("depth", [30, 200, 800, 960, 990, 5_000, 20_000])
@pytest.mark.parametrize("around", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_anywhere_is_refused_or_answered(depth: int, around: tuple[str, str]) -> None:
    deep = around[0] * depth + "1" + around[1] * depth
    for key in ("extra", "mm_processor_kwargs", "messages"):
        fields = {"messages": '[{"role": "user", "content": "x"}]'} | {key: deep}
        content = ("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}").encode()
        if len(content) < ARGUMENTS["body_bytes"] * 2:  # type: ignore[operator]
            check(sent(content), content)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/xml"}, 200),
        ({"content-encoding": "gzip"}, 200),
        ({"content-length": "5"}, 200),
        ({"content-length": "99999999999"}, 200),
        ({"authorization": "Bearer ké"}, 401),
        ({"authorization": "Basic key"}, 401),
        ({"authorization": ""}, 401),
    ],
)
def test_headers_that_lie_change_no_answer(headers: dict[str, str], status: int) -> None:
    content = json.dumps({"messages": [{"content": "mark-7-end"}]}).encode()
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    reply = sent(content, headers=encoded)
    assert reply.status_code == status
    assert ("mark-7-end" in reply.text) == (status == 200)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    async def run() -> Any:
        async with client() as http:
            return await http.request(method, CHAT)

    assert asyncio.run(run()).status_code == 405


@QUICK
@given(st.text(max_size=40))
def test_other_paths_are_not_there(path: str) -> None:
    async def run() -> Any:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/" + path,
            "query_string": b"",
            "headers": [KEY],
            "server": None,
        }
        return await asked(scope, [{"type": "http.request", "body": b"{}"}])

    if f"/{path}" not in (CHAT, "/health", "/v1/models", "/slackwise/state"):
        assert asyncio.run(run())[0]["status"] == 404


KEY = (b"authorization", b"Bearer key")


async def asked(scope: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the application sends when it gets these ASGI messages, and nothing after them."""
    out: list[dict[str, Any]] = []
    queue = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(queue, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        out.append(message)

    await asyncio.wait_for(application(scope, receive, send), LIMIT_S)
    return out


def test_a_client_that_leaves_in_the_middle_of_its_body_ends_its_request_quietly() -> None:
    scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"", "headers": [KEY], "server": None}
    part = {"type": "http.request", "body": b'{"messages": ', "more_body": True}
    out = asyncio.run(asked(scope, [part]))
    assert [each["status"] for each in out if each["type"] == "http.response.start"] == [499]


def test_a_hundred_requests_at_once_get_each_its_own_answer() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

    def body(at: int) -> dict[str, Any]:
        content = [{"type": "text", "text": f"mark-{at}-end mark-{at}-end"}, *[image] * (at % 4)]
        return {"messages": [{"content": content}], "stream": at % 2 == 0}

    async def run() -> list[Any]:
        async with client() as http:
            posts = (http.post(CHAT, json=body(at) if at % 5 else {"messages": f"mark-{at}-end"}) for at in range(100))
            return list(await asyncio.wait_for(asyncio.gather(*posts), 6 * LIMIT_S))

    for at, reply in enumerate(asyncio.run(run())):
        assert reply.status_code == (200 if at % 5 else 400)
        assert set(MARK.findall(reply.text)) == ({f"mark-{at}-end"} if at % 5 else set())
