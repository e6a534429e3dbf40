"""`slackwise tune` leaves a folder with a study and a winner, resumes it, and refuses what cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slackwise.cli.main import run
from slackwise.policies.winner import read_winner
from tests.cli.runs import QUICK, document, printed, refusal

FILES = {"config.json", "study.journal", "trials.json", "comparison.json", "winner.json"}
FILES |= {"report.json", "report.md", "report.html"}


def test_a_run_leaves_a_study_and_a_winner_that_is_a_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    found = document(capsys, "tune", *QUICK, "--trials", "4", "--out", str(out))
    assert {each.name for each in out.iterdir()} == FILES
    winner = read_winner(out / "winner.json")
    assert winner.scores["wins"] == found["scores"]["wins"]
    assert winner.trace["searched"]["requests"] == found["searched"]["requests"]
    assert winner.provenance["trials"] == len(json.loads((out / "trials.json").read_text())) == 4
    assert json.loads((out / "config.json").read_text())["settings"]["sampler"] == "tpe"
    ranked = document(capsys, "compare", *QUICK, "--configs", f"vllm,{out / 'winner.json'}")
    assert sorted(ranked["ranking"]) == ["vllm", "winner"]


def test_resume_goes_on_and_other_settings_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("tune", *QUICK, "--out", str(tmp_path / "run"), "--search", "batching")
    printed(capsys, *arguments, "--trials", "2")
    assert "--resume goes on with it" in refusal(capsys, *arguments)
    assert "sampler was" in refusal(capsys, *arguments, "--resume", "--sampler", "random")
    assert document(capsys, *arguments, "--trials", "4", "--resume")["scores"]["trials"] == 4


def test_a_front_is_printed_with_its_costs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("tune", *QUICK, "--pareto", "--trials", "6", "--search", "layout", "--target", "0.5")
    out = printed(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert "Front on the searched part (gpu_s, attainment):" in out
    assert "tuned against vllm" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sampler", "tp"], "did you mean 'tpe'"),
        (["--objective", "attaiment"], "did you mean 'attainment'"),
        (["--constraint", "attainment"], "write attainment>=0.99"),
        (["--search", "batching=edff"], "did you mean 'edf'"),
        (["--start", "vlm"], "did you mean 'vllm'"),
        (["--pareto", "--sampler", "cmaes"], "has one objective, not 2"),
        (["--test-share", "1"], "above 0 and below 1"),
        (["--resume"], "no study to resume"),
        (["--trials", "0"], "--trials"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert words in refusal(capsys, "tune", *QUICK, *arguments, "--out", str(out))
    assert not out.exists() or not list(out.iterdir())


def test_a_cluster_that_is_not_there_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    arguments = ("tune", *QUICK, "--engine", "ray", "--ray-address", "localhost", "--out", str(tmp_path / "run"))
    assert "no Ray cluster at 'localhost'" in refusal(capsys, *arguments)
    assert not (tmp_path / "run").exists()


def test_a_file_in_place_of_the_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    assert "is no folder" in refusal(capsys, "tune", *QUICK, "--out", str(tmp_path / "run"))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupted_study_is_kept_and_resumed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["tune", *QUICK, "--search", "batching", "--out", str(out)]
    code = "import sys; from slackwise.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments, "--trials", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal, deadline = out / "study.journal", time.monotonic() + 240
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count("\n") > 5):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1].splitlines()[-1] == "slackwise: interrupted"
    assert process.returncode == 130
    kept = len(json.loads((out / "trials.json").read_text()))
    assert kept >= 1
    assert run([*arguments, "--trials", str(kept), "--resume"]) == 0
    assert (out / "winner.json").exists()
    capsys.readouterr()
