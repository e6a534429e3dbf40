"""`slackwise watch`: what the dashboard and the endpoint say, in one table or one document a look."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray import watching
from slackwise.adapters.ray.up import LEFT, Running
from slackwise.cli.main import run
from tests.adapters.deployed import deployed, wanting

pytest.importorskip("httpx")
pytest.importorskip("yaml")

POOL = {
    "ready": 2,
    "starting": 1,
    "draining": 0,
    "wanted": 3,
    "target": 3,
    "waiting": 4,
    "running": 5,
    "backlog_s": 1.25,
}


class Application:
    """As much of an application and of Ray's dashboard as is looked at."""

    def __init__(self) -> None:
        self.counters = {"ttft_judged": 10.0, "ttft_met": 9.0, "tbt_judged": 4.0, "tbt_met": 4.0}
        self.provisioning = {"pools": {"e": POOL}, "advisory": False, "reason": "a move is under way", "complaint": ""}
        self.wanted_key: str | None = None

    def told(self) -> dict[str, Any]:
        return {"i": {"counters": self.counters, "in_flight": 7}, "provisioning": self.provisioning}

    def get_serve_details(self) -> dict[str, Any]:
        replicas = [{"replica_id": str(at), "state": "RUNNING"} for at in range(2)]
        deployments = {name: {"replicas": replicas, "target_num_replicas": 3} for name in ("e", "pd")}
        return {"applications": {"slackwise": {"status": "RUNNING", "message": "", "deployments": deployments}}}


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def folder(tmp_path: Path, application: Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = application.wanted_key in (None, self.headers.get("Authorization", "").removeprefix("Bearer "))
            body = json.dumps(application.told()).encode()
            self.send_response(200 if known and self.path == "/slackwise/state" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(Running, "client", lambda _: application)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        deployed(tmp_path, wanting(2, 1), api_key_env="SLACKWISE_TEST_KEY")
        left = {
            "endpoint": f"http://127.0.0.1:{http.server_address[1]}/v1",
            "dashboard": "http://127.0.0.1:1",
            "ray": "127.0.0.1:1",
        }
        (tmp_path / LEFT).write_text(json.dumps(left), encoding="utf-8")
        monkeypatch.setenv("SLACKWISE_TEST_KEY", "k")
        yield tmp_path
        http.shutdown()


def test_one_document_joins_replicas_targets_queues_and_attainment(
    folder: Path, application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    application.wanted_key = "k"
    assert run(["watch", str(folder), "--once", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pools"]["e"] == {"replicas": 2} | {key: POOL[key] for key in POOL if key != "ready"}
    assert found["pools"]["pd"]["waiting"] is None
    assert found["attained"] == {"ttft": {"judged": 10, "met": 9}, "tbt": {"judged": 4, "met": 4}}
    assert found["in_flight"] == 7


def test_a_table_says_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(folder), "--once"]) == 0
    shown = capsys.readouterr().out
    for words in ("TTFT 90.0% of 10", "7 in flight", "a move is under way", "pd"):
        assert words in shown


def test_later_looks_tell_what_was_judged_since(folder: Path, application: Application) -> None:
    through = watching.window(folder)
    through.look()
    application.counters |= {"ttft_judged": 14.0, "ttft_met": 10.0}
    assert through.look()["attained"]["ttft"] == {"judged": 4, "met": 1}
    application.counters |= {"ttft_judged": 2.0, "ttft_met": 2.0}
    assert through.look()["attained"]["ttft"] == {"judged": 2, "met": 2}, "the endpoint began again"


def test_a_wrong_key_and_nothing_there_are_said_in_one_line(
    folder: Path, application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    application.wanted_key = "another"
    assert run(["watch", str(folder), "--once"]) == 2
    assert "status 401" in capsys.readouterr().err
    (folder / LEFT).unlink()
    assert run(["watch", str(folder), "--once"]) == 2
    complaint = capsys.readouterr().err
    assert "nothing is up" in complaint
    assert complaint.count("\n") == 1
