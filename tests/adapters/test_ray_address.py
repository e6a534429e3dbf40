"""An application on a Ray cluster that is there already, by the commands; minutes: make test-ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("SLACKWISE_TEST_RAY") != "1":
    pytest.skip("make test-ray", allow_module_level=True)

import httpx

from slackwise.adapters.ray.up import ENVIRONMENT, SLOT
from slackwise.policies.winner import write_winner

from .deployed import deployed, wanting
from .live import free_port

LIMIT_S = 300.0
ROOT = Path(__file__).parents[2]
RAY = {**ENVIRONMENT, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)}


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/version", timeout=5.0, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def slackwise(*words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which leaves the cluster when it ends."""
    program = "import sys; from slackwise.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-W", "ignore", "-c", program, *words]
    environment = os.environ | RAY
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """host:port of the head of a cluster of one node."""
    port, dashboard = free_port(), free_port()
    program = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port", str(port)]
    program += ["--num-cpus", "4", "--resources", json.dumps({SLOT: 5}), "--dashboard-port", str(dashboard)]
    program += ["--include-dashboard", "true", "--object-store-memory", str(200 * 2**20), "--disable-usage-stats"]
    with (tmp_path / "ray.log").open("w", encoding="utf-8") as log:
        head = subprocess.Popen(program, env=os.environ | RAY, stdout=log, stderr=log)
    until = time.monotonic() + LIMIT_S
    while not answers(dashboard):
        assert head.poll() is None, (tmp_path / "ray.log").read_text(encoding="utf-8")
        assert time.monotonic() < until, "the cluster does not start"
        time.sleep(0.5)
    yield f"127.0.0.1:{port}"
    head.terminate()
    head.wait(60)


def pools(folder: Path) -> dict[str, Any]:
    found = slackwise("deploy", "status", str(folder), "--json")
    assert found.returncode == 0, found.stderr
    counted: dict[str, Any] = json.loads(found.stdout)["pools"]
    return counted


def test_an_application_on_a_cluster_takes_a_new_bundle_and_outlives_the_commands(cluster: str, tmp_path: Path) -> None:
    folder, port = deployed(tmp_path, wanting(2, 1)), free_port()
    up = ["deploy", "up", str(folder), "--emulate", "--speed", "20", "--port", str(port), "--address", cluster]
    started = slackwise(*up)
    assert started.returncode == 0, started.stderr
    before = pools(folder)
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json={"messages": [{"content": "x"}], "max_tokens": 2},
        timeout=60.0,
        trust_env=False,
    )
    assert answer.json()["slackwise"]["text"] in before["pd"]["replicas"]
    write_winner(tmp_path / "three.json", wanting(3, 1))
    reloaded = slackwise("deploy", "reload", str(folder), str(tmp_path / "three.json"))
    assert reloaded.returncode == 0, reloaded.stderr
    until = time.monotonic() + LIMIT_S
    while (now := pools(folder))["e"]["running"] < 3:
        assert time.monotonic() < until, now
        time.sleep(1.0)
    assert now["pd"]["replicas"] == before["pd"]["replicas"]
    assert set(before["e"]["replicas"]) < set(now["e"]["replicas"])
    watched = slackwise("watch", str(folder), "--once", "--json")
    assert json.loads(watched.stdout)["pools"]["e"]["target"] == 3
    assert json.loads(watched.stdout)["attained"]["ttft"]["judged"] == 1
    assert slackwise("deploy", "down", str(folder)).returncode == 0
