"""A new bundle for what runs: refused before anything is touched, if it is bad or of another fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray import joined
from slackwise.adapters.ray.up import LEFT
from slackwise.cli.main import run
from slackwise.policies.winner import write_winner

from .deployed import deployed, wanting

pytest.importorskip("yaml")


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that reach the application which is up in tmp_path/out."""
    texts: list[str] = []

    @contextmanager
    def there(address: str) -> Iterator[str]:
        assert address == "127.0.0.1:6379"
        yield "http://127.0.0.1:8265"

    monkeypatch.setattr(joined, "joined_ray", there)
    monkeypatch.setattr(joined, "open_store", texts.append)
    (tmp_path / "out").mkdir()
    deployed(tmp_path / "out", wanting(2, 1))
    left = {"endpoint": "http://127.0.0.1:1/v1", "dashboard": "http://127.0.0.1:8265", "ray": "127.0.0.1:6379"}
    (tmp_path / "out" / LEFT).write_text(json.dumps(left), encoding="utf-8")
    return texts


def reload(folder: Path) -> int:
    return run(["deploy", "reload", str(folder / "out"), str(folder / "new.json")])


def test_a_good_bundle_is_put_and_kept_in_the_folder(tmp_path: Path, put: list[str]) -> None:
    write_winner(tmp_path / "new.json", wanting(3, 1))
    text = (tmp_path / "new.json").read_text(encoding="utf-8")
    assert reload(tmp_path) == 0
    assert put == [text]
    assert (tmp_path / "out" / "winner.json").read_text(encoding="utf-8") == text


def other_pools(document: dict[str, Any]) -> None:
    document["cluster"]["pools"][1]["tensor_parallel"] = 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda document: document.clear(), "not a winner"),
        (lambda document: document["policies"]["routing"].update(name="os:system"), "names a module"),
        (other_pools, "render and deploy it instead"),
    ],
)
def test_a_bad_bundle_is_refused_in_one_line_and_nothing_changes(
    tmp_path: Path, put: list[str], capsys: pytest.CaptureFixture[str], spoil: Any, words: str
) -> None:
    before = (tmp_path / "out" / "winner.json").read_text(encoding="utf-8")
    document = json.loads(before)
    spoil(document)
    (tmp_path / "new.json").write_text(json.dumps(document), encoding="utf-8")
    assert reload(tmp_path) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert put == []
    assert (tmp_path / "out" / "winner.json").read_text(encoding="utf-8") == before


def test_nothing_up_and_no_file_are_said(tmp_path: Path, put: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert reload(tmp_path) == 2
    assert "cannot read" in capsys.readouterr().err
    (tmp_path / "out" / LEFT).unlink()
    assert reload(tmp_path) == 2
    assert "nothing is up" in capsys.readouterr().err
