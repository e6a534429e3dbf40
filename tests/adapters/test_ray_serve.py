"""The whole path on a local Ray with emulated replicas; minutes, so only where it is asked for: make test-ray."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("SLACKWISE_TEST_RAY") != "1":
    pytest.skip("make test-ray", allow_module_level=True)

import httpx

from slackwise.adapters.ray import up as ray_up
from slackwise.adapters.ray.hot import open_store
from slackwise.adapters.ray.render import render, write_files
from slackwise.adapters.ray.target import Target
from slackwise.policies.winner import Winner
from slackwise.simulator import Cluster, Pool, isolated, preset

from .live import Running, free_port

MODEL, GPU, GPUS, SPEED = "LLaVA-OneVision-7B", "A100-80GB", 5, 2.0
KEY_NAME, KEY = "SLACKWISE_TEST_KEY", "open sesame"
HEADERS = {"Authorization": f"Bearer {KEY}"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def winner_of(image: int, text: int) -> Winner:
    """2 encoders and 1 text instance on 5 GPUs; wanted are so many."""
    cluster = Cluster(MODEL, GPU, (Pool("E", 2), Pool("PD", 1)))
    wanted = ["provisioning=fixed_ratio", f"provisioning.image={image}", f"provisioning.text={text}"]
    policies = preset("modserve", MODEL, GPU, 8).policies.changed(["encode_routing=least_padded_tiles", *wanted])
    document = asdict(cluster) | {"topology": cluster.topology}
    settings = {"interval_s": 1.0, "gpu_cap": GPUS}
    return Winner(policies, MODEL, GPU, document, isolated(cluster).to_json(), {}, settings)


def body(images: int, **more: Any) -> dict[str, Any]:
    """A chat request of so many images."""
    content = [{"type": "text", "text": "what is this?"}, *[IMAGE] * images]
    return {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 4, **more}


def actor_of(replica: str) -> Any:
    """The actor of a replica by its id."""
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    name = next(each for each in actors if replica in each["name"])
    return ray.get_actor(name["name"], namespace=name["namespace"])


class Live(Running):
    """A running application, and how it is asked."""

    def ask(self, images: int, limit_s: float = 60.0, **more: Any) -> httpx.Response:
        return httpx.post(
            f"{self.endpoint}/chat/completions", json=body(images, **more), timeout=limit_s, headers=HEADERS
        )

    @contextmanager
    def stream(self, images: int, **more: Any) -> Iterator[Iterator[str]]:
        """The events of a stream, without `data: `."""
        asked = body(images, stream=True, **more)
        there = httpx.stream("POST", f"{self.endpoint}/chat/completions", json=asked, timeout=60.0, headers=HEADERS)
        with there as reply:
            assert reply.status_code == 200, reply.read()
            yield (line.removeprefix("data: ") for line in reply.iter_lines() if line)

    def reports(self, pool: str) -> list[dict[str, Any]]:
        """What the replicas of a pool tell routers, asked of them."""
        import ray

        named = [(replica, actor_of(replica)) for replica in self.pools()[pool]["replicas"]]
        return [ray.get(actor.record_routing_stats.remote(), timeout=30) for _, actor in named]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("deployed")
    os.environ[KEY_NAME] = KEY
    target = Target("m", GPUS, images_per_request=8, body_bytes=65536, api_key_env=KEY_NAME)
    write_files(render(winner_of(2, 1), target, folder), folder)
    document = ray_up.emulated(ray_up.read_document(folder), folder, SPEED, free_port())
    with ray_up.local_ray(ray_up.gpus_of(document)) as dashboard:
        running = ray_up.bring_up(document, folder, dashboard, print, 240.0)
        yield Live(running.endpoint, running.client(), folder)
        ray_up.bring_down(folder)


def test_a_text_only_request_bypasses_the_encoders(live: Live) -> None:
    reply = live.ask(0)
    assert reply.status_code == 200
    assert reply.json()["slackwise"]["encoders"] == []
    assert reply.json()["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("images", [1, 2, 8])
def test_every_image_is_a_call_of_its_own_and_all_are_answered(live: Live, images: int) -> None:
    served = live.ask(images).json()["slackwise"]
    assert len(served["encoders"]) == images
    assert set(served["encoders"]) <= set(live.pools()["e"]["replicas"])
    assert served["text"] in live.pools()["pd"]["replicas"]
    assert len(set(served["encoders"])) == min(images, 2), "the calls of one request went to one encoder"


def test_many_requests_with_siblings_are_all_answered(live: Live) -> None:
    async def everyone() -> list[int]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=120.0, limits=limits, headers=HEADERS) as http:
            asked = body(3, max_tokens=2)
            posts = [http.post(f"{live.endpoint}/chat/completions", json=asked) for _ in range(40)]
            return [reply.status_code for reply in await asyncio.gather(*posts)]

    assert asyncio.run(everyone()) == [200] * 40


@pytest.mark.parametrize(
    ("junk", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 30000, 400),
        (b"\xff\xfe", 400),
        (b"null", 400),
        (b'{"messages": [{"role": "user", "content": [{"type": {}}]}]}', 400),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1e400}', 400),
        (json.dumps({"messages": [{"content": [IMAGE] * 9}]}).encode(), 400),
        (b'"' + b"x" * 70000 + b'"', 413),
    ],
)
def test_what_is_no_request_is_the_clients_error(live: Live, junk: bytes, status: int) -> None:
    reply = httpx.post(f"{live.endpoint}/chat/completions", content=junk, timeout=30.0, headers=HEADERS)
    assert reply.status_code == status
    assert "error" in reply.json()


def test_who_has_no_key_is_turned_away_and_the_key_is_in_no_file(live: Live) -> None:
    url = f"{live.endpoint}/chat/completions"
    assert httpx.post(url, json=body(1), timeout=30.0).status_code == 401
    assert httpx.post(url, json=body(1), timeout=30.0, headers={"Authorization": "Bearer x"}).status_code == 401
    assert not any(KEY in each.read_text() for each in live.folder.iterdir())


@pytest.mark.parametrize("images", [0, 1, 3])
def test_an_answer_is_streamed_as_its_tokens_come(live: Live, images: int) -> None:
    with live.stream(images, max_tokens=200, stream_options={"include_usage": True}) as events:
        *lines, end = events
    assert end == "[DONE]"
    *chunks, usage = [json.loads(each) for each in lines]
    assert len(chunks[0]["slackwise"]["encoders"]) == images
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    text = "".join(each["choices"][0]["delta"]["content"] for each in chunks)
    assert len(text.split()) == usage["usage"]["completion_tokens"] == 200
    assert len(chunks) > 2


def test_a_client_that_hangs_up_frees_its_replica(live: Live) -> None:
    began = time.monotonic()
    with live.stream(0, max_tokens=209) as events:
        list(events)
    whole_s = time.monotonic() - began
    with live.stream(0, max_tokens=209) as events:
        next(events)
        assert live.reports("pd")[0]["running"] == 1
    began = time.monotonic()
    while live.reports("pd")[0]["running"]:
        assert time.monotonic() - began < whole_s / 2, "the replica went on without its client"


def test_a_text_replica_lost_in_a_stream_ends_it_with_an_error(live: Live) -> None:
    import ray

    with live.stream(1, max_tokens=209) as events:
        assert "choices" in json.loads(next(events))
        ray.kill(actor_of(live.wait(2, 1)["pd"]["replicas"][0]))
        last = json.loads(list(events)[-1])
    assert last["error"]["code"] == 503
    live.wait(2, 1)
    assert live.ask(1).status_code == 200


def test_a_new_bundle_changes_the_fleet_and_keeps_its_replicas(live: Live) -> None:
    before = live.wait(2, 1)
    open_store(json.dumps(winner_of(3, 1).to_dict()))
    grown = live.wait(3, 1)
    assert set(before["e"]["replicas"]) < set(grown["e"]["replicas"])
    assert before["pd"]["replicas"] == grown["pd"]["replicas"]
    open_store(json.dumps(winner_of(2, 1).to_dict()))
    back = live.wait(2, 1)
    assert before["pd"]["replicas"] == back["pd"]["replicas"]
    assert live.ask(2).status_code == 200


def test_a_killed_encoder_costs_no_more_than_an_answer_that_says_so(live: Live) -> None:
    import ray

    ray.kill(actor_of(live.wait(2, 1)["e"]["replicas"][0]))
    statuses = {live.ask(3).status_code for _ in range(5)}
    assert statuses <= {200, 503}
    live.wait(2, 1)
    assert live.ask(3).status_code == 200


def test_status_answers_in_another_process(live: Live) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    program = "import sys; from slackwise.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-W", "ignore", "-c", program, "deploy", "status", str(live.folder), "--json"]
    answered = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["pools"]["pd"]["running"] == 1


def test_in_advisory_mode_it_says_what_it_would_do_and_does_nothing(live: Live) -> None:
    from ray._private import worker

    open_store(json.dumps(winner_of(2, 1).to_dict()))
    document = ray_up.emulated(
        ray_up.read_document(live.folder), live.folder, SPEED, int(live.endpoint.split(":")[2][:-3])
    )
    document["applications"][0]["autoscaling_policy"]["policy_kwargs"]["advisory"] = True
    live.client.deploy_applications(document)
    until = time.monotonic() + 240.0
    while ray_up.status_of(live.client)["status"] != "RUNNING":
        assert time.monotonic() < until
        time.sleep(0.5)
    before = live.wait(2, 1)
    open_store(json.dumps(winner_of(3, 1).to_dict()))
    node: Any = worker._global_node
    logs = (Path(node.get_session_dir_path()) / "logs" / "serve").glob
    would = "would set ['e', 'pd'] to (3, 1)"
    while sum(each.read_text().count(would) for each in logs("controller_*.log")) < 4:
        assert time.monotonic() < until
        time.sleep(0.5)
    pools = live.pools()
    assert [pools[name]["target"] for name in ("e", "pd")] == [2, 1]
    assert pools["e"]["replicas"] == before["e"]["replicas"]
