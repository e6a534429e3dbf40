"""Requests through the rendered `vllm serve` lines on this CPU, without Ray: 1 encoder server, 1 text server.

The lines run as they were rendered, nothing in them is changed. Minutes: make test-ray.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("SLACKWISE_TEST_RAY") != "1":
    pytest.skip("make test-ray", allow_module_level=True)
pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make test-ray")

import httpx

from slackwise.adapters.ray.render import render

from .engines import chat, counts_of, image, target_of, winner_of

KEY_NAME, KEY = "SLACKWISE_TEST_KEY", "open sesame"


@dataclass
class Server:
    """A server that was started by a line."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def healthy(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]
        try:
            return httpx.get(f"{self.address}/health", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def post(self, body: dict[str, Any], key: str = KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{self.address}/v1/chat/completions", json=body, timeout=120.0, headers=headers)

    def counts(self) -> dict[str, float]:
        return counts_of(httpx.get(f"{self.address}/metrics", timeout=30.0).text)


def free_port() -> int:
    """A port with a free one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def servers(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("lines")
    port = free_port()
    files = render(winner_of(1, 1), target_of(tiny, folder, instance_port=port, api_key_env=KEY_NAME), folder).files
    (folder / "winner.json").write_text(files["winner.json"], encoding="utf-8")
    lines = [line for line in files["vllm-serve.txt"].splitlines() if line and not line.startswith("#")]
    assert len(lines) == 2
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    here = {"PATH": path, KEY_NAME: KEY, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    started: list[Server] = []
    try:
        for at, line in enumerate(lines):
            log = folder / f"{at}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(["bash", "-c", line], env=os.environ | here, stdout=out, stderr=out)
            started.append(Server(process, f"http://127.0.0.1:{port + at}", log))
        until = time.monotonic() + 400.0
        while not all(server.healthy() for server in started):
            assert time.monotonic() < until
            time.sleep(0.5)
        yield started
    finally:
        for server in started:
            server.process.send_signal(signal.SIGTERM)
        for server in started:
            server.process.wait(60)


def test_embeddings_move_from_the_encoder_server_to_the_text_server(servers: list[Server]) -> None:
    encoder, text = servers
    for at in range(3):
        part = image(f"moved.{at}")
        asked = {"model": "tiny", "messages": [{"role": "user", "content": [part]}], "max_tokens": 1}
        assert encoder.post(asked).status_code == 200
    answered = text.post(chat("moved", 3))
    assert answered.status_code == 200
    assert answered.json()["usage"]["completion_tokens"] == 6
    counts = text.counts()
    assert (counts["slackwise:images_found_total"], counts["slackwise:images_encoded_total"]) == (3, 0)
    assert counts["slackwise:fallbacks_total"] == 0


def test_a_text_server_encodes_what_no_encoder_has(servers: list[Server]) -> None:
    before = servers[1].counts()
    assert servers[1].post(chat("not moved", 2)).status_code == 200
    after = servers[1].counts()
    assert after["slackwise:images_encoded_total"] - before["slackwise:images_encoded_total"] == 2
    assert after["slackwise:images_found_total"] == before["slackwise:images_found_total"]


def test_the_servers_ask_for_the_key(servers: list[Server]) -> None:
    assert [server.post(chat("x", 0), key="wrong").status_code for server in servers] == [401, 401]
