"""`slackwise demo` on a few minutes of traffic: rows, files, and nothing written when the input is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import slackwise.reports.demo
from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.policies.winner import read_winner

TINY = ("demo", "--hours", "0.1", "--trials", "3")
ONE = (*TINY, "--model", "InternVL2.5-26B", "--jobs", "1")


def test_json_rows_and_files_of_both_models_in_two_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TINY, "--jobs", "2", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["model"] for row in rows] == ["Llama-3.2-11B-Vision"] * 4 + ["InternVL2.5-26B"] * 4
    keys = {"name", "model", "ttft_p99_s", "attainment", "gpu_hours", "difference", "interval"}
    assert all(row.keys() >= keys for row in rows)
    assert {each.name for each in tmp_path.iterdir()} == {
        "report.html",
        "report.json",
        "winner.json",
        "winner-Llama-3.2-11B-Vision.json",
    }
    assert "Llama-3.2-11B-Vision: done" in err
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == rows


def test_winner_json_is_of_a_model_that_todays_engine_runs_and_replays(tmp_path: Path) -> None:
    assert run([*ONE, "--out", str(tmp_path)]) == 0
    winner = read_winner(tmp_path / "winner.json")
    assert winner.model == "InternVL2.5-26B"
    assert winner.golden


def test_existing_files_are_replaced_and_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("report.html", "report.json", "winner.json")
    for name in names:
        (tmp_path / name).write_text("old")
    assert run([*ONE, "--out", str(tmp_path)]) == 0
    first, table = [(tmp_path / name).read_bytes() for name in names], capsys.readouterr().out
    assert b"old" not in first
    assert run([*ONE, "--out", str(tmp_path)]) == 0
    assert [(tmp_path / name).read_bytes() for name in names] == first
    assert capsys.readouterr().out == table
    assert "InternVL2.5-26B" in table
    assert "objectives  TTFT" in table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "InternVL2.5-62B"), "did you mean 'InternVL2.5-26B'?"),
        (("--model", "InternVL2.5-26B", "--model", "internvl2.5"), "named twice"),
        (("--gpu", "A1000"), "A100-80GB"),
        (("--slo-scale", "working"), "did you mean 'work'?"),
        (("--slo-factor", "0"), "positive"),
        (("--gpus", "10"), "not a multiple"),
        (("--hours", "5"), "--hours"),
        (("--trials", "0"), "--trials"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert run([*TINY, "--jobs", "1", "--out", str(tmp_path), *arguments]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("slackwise: ")
    assert words in complaint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ONE, "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.strip().endswith("none: no such folder")


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slackwise.reports.demo, "study", interrupted)
    assert run([*ONE, "--out", str(tmp_path)]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise InputError("no page")

    monkeypatch.setattr(slackwise.reports.demo, "page", refused)
    assert run([*ONE, "--out", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
