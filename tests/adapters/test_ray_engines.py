"""The whole path with vLLM engines on this CPU and a tiny model of random weights; minutes: make test-ray.

1 encoder and 1 text instance, then 2 and 1, then 1 and 1 again. It proves that it works, and nothing about speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("SLACKWISE_TEST_RAY") != "1":
    pytest.skip("make test-ray", allow_module_level=True)
pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make test-ray")

import httpx

from slackwise.adapters.ray import up as ray_up
from slackwise.adapters.ray.decision_log import row_of
from slackwise.adapters.ray.hot import open_store
from slackwise.adapters.ray.render import render, write_files
from slackwise.policies import find
from slackwise.policies.features import INSTANCE, REQUEST

from .engines import chat, counted, environment, target_of, winner_of
from .live import Running, free_port

KEY_NAME, KEY = "SLACKWISE_TEST_KEY", "open sesame"


@dataclass
class Live(Running):
    """A running application, and what it was asked so far."""

    images: int = 0
    image_requests: int = 0
    asked: list[str] = field(default_factory=list)

    def note(self, images: int) -> str:
        """A name for the next request."""
        self.images, self.image_requests = self.images + images, self.image_requests + (images > 0)
        self.asked.append(f"request {len(self.asked)}")
        return self.asked[-1]

    def post(self, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(self.endpoint + "/chat/completions", json=body, timeout=120.0, headers=HEADERS)

    def ask(self, images: int, **more: Any) -> dict[str, Any]:
        reply = self.post(chat(self.note(images), images, **more))
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    def stream(self, images: int, **more: Any) -> list[str]:
        """The events of a stream, without `data: `."""
        body = chat(self.note(images), images, stream=True, **more)
        url = self.endpoint + "/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=120.0, headers=HEADERS) as reply:
            assert reply.status_code == 200, reply.read()
            return [line.removeprefix("data: ") for line in reply.iter_lines() if line]

    def text_engine(self) -> dict[str, float]:
        """What the text engine counts: the one with the scheduler plug-in."""
        return self.with_plugin()[1]

    def with_plugin(self) -> tuple[Path, dict[str, float]]:
        """The socket of the text engine, and what it counts."""
        found = []
        for each in (self.folder / "tmp").glob("slackwise-engine-*/engine.sock"):
            with contextlib.suppress(httpx.TransportError):  # of an engine that stops
                found.append((each, counted(each)))
        found = [each for each in found if "slackwise:steps_total" in each[1]]
        assert len(found) == 1
        return found[0]


HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def live(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "tmp").mkdir()
    ray_folder = tempfile.gettempdir()  # Ray's own sockets must have short names
    with environment({"TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": ray_folder, KEY_NAME: KEY}):
        target = target_of(tiny, folder, decisions=str(folder / "decisions"), api_key_env=KEY_NAME)
        write_files(render(winner_of(1, 1), target, folder), folder)
        document = ray_up.with_engines(ray_up.read_document(folder), folder, cpu=True, port=free_port())
        with ray_up.local_ray(ray_up.gpus_of(document)) as dashboard:
            running = ray_up.bring_up(document, folder, dashboard, print, 500.0)
            yield Live(running.endpoint, running.client(), folder)
            ray_up.bring_down(folder)


@pytest.mark.parametrize("images", [0, 1, 4])
def test_a_request_goes_its_way_through_encoders_and_text_engine(live: Live, images: int) -> None:
    answered = live.ask(images)
    pools = live.pools()
    assert len(answered["slackwise"]["encoders"]) == images
    assert set(answered["slackwise"]["encoders"]) <= set(pools["e"]["replicas"])
    assert answered["slackwise"]["text"] in pools["pd"]["replicas"]
    assert answered["choices"][0]["finish_reason"] == "length"
    assert answered["usage"]["completion_tokens"] == 6
    assert answered["usage"]["prompt_tokens"] > 64 * images


@pytest.mark.parametrize("images", [0, 1, 3])
def test_a_streamed_answer_is_the_whole_answer_in_pieces(live: Live, images: int) -> None:
    *lines, end = live.stream(images, stream_options={"include_usage": True})
    assert end == "[DONE]"
    *chunks, usage = [json.loads(each) for each in lines]
    streamed = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks)
    whole = live.post(chat(live.asked[-1], images)).json()  # the same pictures again
    live.images, live.image_requests = live.images + images, live.image_requests + (images > 0)
    assert streamed == whole["choices"][0]["message"]["content"]
    assert usage["usage"]["completion_tokens"] == 6
    assert len(chunks) > 3


def test_what_the_engine_refuses_is_the_clients_error(live: Live) -> None:
    for stream in (False, True):
        body = chat("x", 0, max_tokens=100_000, stream=stream)
        reply = live.post(body)
        assert reply.status_code == 400
        assert "max_tokens" in reply.json()["error"]["message"] or "context" in reply.json()["error"]["message"]


def test_a_client_that_hangs_up_stops_the_engine(live: Live) -> None:
    body = chat(live.note(0), 0, stream=True, max_tokens=1900, ignore_eos=True)
    url = live.endpoint + "/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=120.0, headers=HEADERS) as reply:
        next(reply.iter_lines())
        made = live.text_engine()["vllm:generation_tokens_total"]
    until = time.monotonic() + 60.0
    while live.text_engine()["vllm:num_requests_running"]:
        assert time.monotonic() < until, "the engine went on"
        time.sleep(0.1)
    assert live.text_engine()["vllm:generation_tokens_total"] - made < 1800


def test_the_fleet_follows_the_bundle_to_two_encoders_and_back(live: Live) -> None:
    before = live.wait(1, 1)
    open_store(json.dumps(winner_of(2, 1).to_dict()))
    grown = live.wait(2, 1)
    assert set(before["e"]["replicas"]) < set(grown["e"]["replicas"])
    assert before["pd"]["replicas"] == grown["pd"]["replicas"]
    served = live.ask(4)["slackwise"]["encoders"]
    assert set(served) == set(grown["e"]["replicas"]), "the images of a request went to one encoder"

    async def everyone() -> list[int]:
        async with httpx.AsyncClient(timeout=300.0, headers=HEADERS) as http:
            bodies = [chat(live.note(at % 4), at % 4) for at in range(12)]
            replies = [http.post(live.endpoint + "/chat/completions", json=body) for body in bodies]
            return [reply.status_code for reply in await asyncio.gather(*replies)]

    assert asyncio.run(everyone()) == [200] * 12
    open_store(json.dumps(winner_of(1, 1).to_dict()))
    back = live.wait(1, 1)
    assert before["pd"]["replicas"] == back["pd"]["replicas"]
    assert live.ask(2)["slackwise"]["encoders"]


def test_every_embedding_came_from_the_encoders(live: Live) -> None:
    found = live.text_engine()
    assert live.images > 30
    assert found["slackwise:images_encoded_total"] == 0
    assert found["slackwise:images_found_total"] == live.images
    assert found["slackwise:fallbacks_total"] == 0
    assert found["slackwise:objectives_total"] > live.image_requests


def test_live_decisions_are_those_of_the_simulators_function(live: Live) -> None:
    lines = [
        json.loads(line)
        for path in (live.folder / "decisions").glob("routing-*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert {each["role"] for each in lines} == {"encode_routing", "routing"}
    assert sum(each["role"] == "encode_routing" for each in lines) >= live.images
    assert any(len(each["replicas"]) == 2 for each in lines)
    for line in lines:
        policy = find("routing", line["policy"])
        params = policy.params(**line["knobs"])
        request = row_of(line["request"], REQUEST)[0]
        costs = [
            policy.compiled(request, row_of(each, INSTANCE)[0], line["now_s"], params) for each in line["instances"]
        ]
        assert costs.index(min(costs)) == line["chosen"]


def test_an_engine_that_dies_ends_its_stream_with_an_error_and_is_replaced(live: Live) -> None:
    before = live.wait(1, 1)["pd"]["replicas"]
    address = str(live.with_plugin()[0])
    body = chat(live.note(0), 0, stream=True, max_tokens=1900, ignore_eos=True)
    url = live.endpoint + "/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=120.0, headers=HEADERS) as reply:
        lines = reply.iter_lines()
        next(lines)
        for pid in running(address):
            os.kill(pid, signal.SIGKILL)
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] in (500, 503)
    until = time.monotonic() + 400.0
    while live.pools()["pd"]["replicas"] in (before, []):
        assert time.monotonic() < until
        time.sleep(0.5)
    assert live.ask(1)["slackwise"]["text"] not in before


def running(word: str) -> list[int]:
    """Processes whose command line holds `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
