"""Decisions tell why a request waited, and what cannot be read is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.vllm.decisions import Decisions
from slackwise.adapters.vllm.explain import read_decisions, sentences, story
from slackwise.cli.main import run
from slackwise.errors import InputError


@pytest.fixture
def decisions(tmp_path: Path) -> Path:
    """Two requests: `slow` comes first and waits for a seat, then for memory; `quick` overtakes it."""
    path = tmp_path / "decisions.jsonl"
    writer = Decisions(path)
    writer.write("start", 1000.0, policies={}, limits={})
    for name, arrival, objective_s in (("slow-1", 1.0, 9.0), ("quick-2", 2.0, 1.0)):
        writer.write(
            "add",
            arrival,
            id=name,
            arrival=arrival,
            objective_s=objective_s,
            source="request",
            complaint="",
            images=0,
            prompt_tokens=5,
            encode_s=0.0,
            prefill_s=0.1,
        )
    for _ in range(3):  # written once
        writer.hold(1.5, 1, "slow-1", 10.0, 1, "sequences")
    writer.write("admit", 2.5, step=2, id="quick-2", slack_s=0.4, passed=True)
    writer.hold(3.0, 3, "slow-1", 10.0, 1, "memory")
    writer.write("admit", 4.0, step=4, id="slow-1", slack_s=5.9, passed=False)
    writer.write("first", 4.5, id="slow-1", met=True)
    writer.write("preempt", 5.0, id="slow-1")
    writer.close()
    return path


def test_a_request_waited_for_what_held_the_head_and_for_who_overtook_it(decisions: Path) -> None:
    rows = read_decisions(decisions)
    assert sum(row["e"] == "hold" for row in rows) == 2
    told = story(rows, "slow")
    assert told.waited_s == 3.0
    assert told.held_s == {"sequences": 1.5, "memory": 1.0}
    assert (told.overtaken_by, told.met, told.preempted, told.slack_s) == (["quick-2"], True, 1, 5.9)
    text = "\n".join(sentences(told))
    assert "admitted after 3.000 s" in text
    assert "overtaken by 1" in text
    assert "within its objective" in text


def test_the_command_tells_the_story_and_lists_the_longest_waits(
    decisions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(decisions), "slow-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overtaken_by"] == ["quick-2"]
    assert run(["explain", str(decisions), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"request": "slow-1", "waited_s": 3.0}
    assert run(["explain", str(decisions), "slwo-1"]) == 2
    assert "did you mean 'slow-1'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}\n{}\n", "nonsense\nmore\n"])
def test_a_file_that_holds_no_decisions_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_decisions(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off_is_read_up_to_there(decisions: Path) -> None:
    with decisions.open("a") as file:
        file.write('{"e": "adm')
    assert read_decisions(decisions)[-1]["e"] == "preempt"


def test_the_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = run(["doctor", "--json", "--bundle", str(tmp_path / "none.json")])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (5 if found["vllm"]["installed"] and not found["vllm"]["works"] else 0)
    assert "cannot read" in found["bundle"]["error"]
    assert found["versions"]["slackwise"]
