"""`slackwise report` of a run that is kept: a comparison, a search for capacity; and what is none of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slackwise.cli.main import run

for needed in ("jinja2", "matplotlib"):
    pytest.importorskip(needed)

TRAFFIC = ["synthetic", "--hours", "0.2", "--model", "InternVL2.5-26B", "--gpus", "8", "--configs", "vllm,modserve"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


def report(source: Path, out: Path) -> dict[str, object]:
    """The report of a source, all three files written."""
    assert run(["report", str(source), "--out", str(out)]) == 0
    assert "<svg" in (out / "report.html").read_text()
    assert (out / "report.md").read_text().startswith("# ")
    found: dict[str, object] = json.loads((out / "report.json").read_text())
    return found


def test_a_comparison_is_told_by_its_ranking(folder: Path, tmp_path: Path) -> None:
    kept = folder / "compared.json"
    assert run(["compare", *TRAFFIC, "--resamples", "100", "--out", str(kept)]) == 0
    document, found = json.loads(kept.read_text()), report(kept, tmp_path)
    cards = {card["name"]: card for card in found["cards"]}  # type: ignore[attr-defined]
    assert document["ranking"][0] in cards["verdict"]["lines"][0]
    assert [row[0] for row in cards["compared"]["tables"][0]["rows"]] == document["ranking"]


def test_a_capacity_is_told_by_its_highest_rates(folder: Path, tmp_path: Path) -> None:
    kept = folder / "capacity.json"
    options = ["--target", "0.8", "--tolerance", "0.5", "--highest", "2"]
    assert run(["capacity", *TRAFFIC, *options, "--out", str(kept)]) == 0
    document, found = json.loads(kept.read_text()), report(kept, tmp_path)
    cards = {card["name"]: card for card in found["cards"]}  # type: ignore[attr-defined]
    best = max(document["configurations"], key=lambda each: each["requests_per_s"])
    assert best["name"] in cards["verdict"]["lines"][0]
    assert set(cards["capacity"]["data"]["points"]) == {each["name"] for each in document["configurations"]}


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("{", [], "not JSON"),
        ("{}", [], "not whole"),
        ('{"configurations": [{}]}', [], "no result"),
        ('{"ranking": []}', ["--hours", "2"], "--hours has no effect"),
    ],
)
def test_what_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str], told: str
) -> None:
    (tmp_path / "kept.json").write_text(text)
    assert run(["report", str(tmp_path / "kept.json"), "--out", str(tmp_path), *options]) == 2
    assert told in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["kept.json"]


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
