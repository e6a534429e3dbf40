"""The solver's report: every card, plans that keep what they promise, one page that needs nothing else, same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slackwise.cli.main import run
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.request import PlanRequest
from slackwise.solver.table import write_table
from slackwise.traces import synthesize

CARDS = [
    "verdict",
    "decision",
    "objective",
    "proof",
    "binding",
    "values",
    "front",
    "robustness",
    "replay",
    "baselines",
    "reproduce",
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command with a small capacity table."""
    path = tmp_path_factory.mktemp("table") / "table.json"
    request = PlanRequest()
    kinds = [each for each in default_kinds(request.model, request.gpu) if each.tensor_parallel in (1, 4)]
    trace = synthesize(0, start_h=24, duration_h=2)
    write_table(path, measure(trace, request.model, kinds, request.objectives(), requests=400, points=20))
    return ["report", "synthetic", "--from", "24h", "--hours", "1", "--rate", "3", "--table", str(path)]


@pytest.fixture(scope="module")
def folder(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the report was written."""
    out = tmp_path_factory.mktemp("report")
    assert run([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def card(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in document["cards"] if each["name"] == name)
    return found


def test_every_card_is_there_and_says_something(document: dict[str, Any]) -> None:
    assert document["schema"] == "slackwise-solver-report/1"
    assert [each["name"] for each in document["cards"]] == CARDS
    assert all(each["lines"] for each in document["cards"])
    assert all(each["tables"][0]["rows"] for each in document["cards"][1:])
    assert all(len(row) == len(t["columns"]) for each in document["cards"] for t in each["tables"] for row in t["rows"])


def test_the_plan_meets_the_target_on_the_demand_it_was_planned_for(document: dict[str, Any]) -> None:
    replayed = card(document, "replay")["data"]
    assert replayed["met"]
    assert replayed["planned"]["attainment"] >= 0.95
    assert replayed["planned"]["gpu_s"] >= 0.95 * replayed["predicted_gpu_s"]


def test_more_demand_costs_more_and_no_run_is_below_the_fluid_bound(document: dict[str, Any]) -> None:
    values = card(document, "values")["data"]
    assert values["what_if_gpu_s"]["demand +10 %"] > values["base_gpu_s"] > values["what_if_gpu_s"]["demand -10 %"]
    assert max(values["marginal_gpu_s_approximate"].values()) > 0
    runs = card(document, "baselines")["data"]["runs"]
    assert {"plan", "today", "forecast_ilp"} <= set(runs)
    assert all(each["fluid"]["times"] >= 1.0 for each in runs.values() if each["fluid"])


def test_only_plans_that_none_beats_are_on_the_front(document: dict[str, Any]) -> None:
    points = card(document, "front")["data"]["points"]
    front = sorted((each["cost"], each["attainment"]) for each in points if each["on_front"])
    assert front
    assert [each for _, each in front] == sorted(each for _, each in front)
    for each in points:
        beaten = any(cost <= each["cost"] and share > each["attainment"] for cost, share in front)
        assert not (each["on_front"] and beaten)


def test_the_page_opens_from_disk_and_has_alt_texts(folder: Path, document: dict[str, Any]) -> None:
    html = (folder / "report.html").read_text()
    assert len(html) < 1_000_000
    assert html.count("<svg") == html.count('role="img" aria-label="') == 2
    assert not re.search(r"<(script|link|img|iframe)\b", html)
    assert not re.search(r'(src|href)="(?!#)', html)
    assert "@media print" in html
    for each in document["cards"]:
        assert f'<section id="{each["name"]}">' in html
        assert f"## {each['title']}" in (folder / "report.md").read_text()


def test_the_same_input_gives_the_same_bytes(words: list[str], folder: Path, tmp_path: Path) -> None:
    assert run([*words, "--out", str(tmp_path)]) == 0
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_an_infeasible_plan_is_reported_with_its_own_exit_code(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*words, "--out", str(tmp_path), "--servers", "1", "--rate", "30"]
    assert run(asked) == 3
    found = json.loads((tmp_path / "report.json").read_text())
    assert not found["feasible"]
    assert "more server" in found["cards"][0]["lines"][0]
    assert "There is no such plan" in (tmp_path / "report.html").read_text()
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("slackwise: no fleet of 1 servers")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--text-instances", "2"], "--text-instances needs a configuration with separate encoders"),
        (["--force-bundle"], "--force-bundle has no effect"),
        (["--skip-bad-rows"], "--skip-bad-rows has no effect"),
        (["--today", "faulty.toml"], "bounds hold without faults only"),
        (["--topology", "monolith", "--levels", "4"], "--levels has no effect"),
        (["--topology", "monolith", "--encoder-batch", "4"], "--encoder-batch has no effect"),
    ],
)
def test_what_would_have_no_effect_on_a_report_is_refused(
    asked: list[str],
    says: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "faulty.toml").write_text('name = "faulty"\nbase = "vllm"\n[faults]\nmtbf_s = 3600\n')
    monkeypatch.chdir(tmp_path)
    assert run([*words, "--out", str(tmp_path), *asked]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_a_window_that_cannot_be_cut_is_refused(words: list[str], tmp_path: Path) -> None:
    assert run([*words, "--out", str(tmp_path), "--hours", "0.05"]) == 7
    assert run([*words, "--out", str(tmp_path / "missing")]) == 2
