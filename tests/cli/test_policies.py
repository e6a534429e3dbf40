"""`slackwise policies` lists and shows, for people and for programs."""

from __future__ import annotations

import json

import pytest

from slackwise.cli.main import run


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["policies", *arguments]) == 0
    return capsys.readouterr().out


def test_list_gives_a_line_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "list").splitlines()
    assert len(lines) == len(json.loads(output(capsys, "list", "--json")))
    assert any(line.split()[:2] == ["batching", "least_slack"] for line in lines)


def test_list_of_one_family_holds_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(output(capsys, "list", "--family", "chunking", "--json"))
    assert {each["family"] for each in listed} == {"chunking"}


def test_show_prints_formula_knobs_trade_offs_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(capsys, "show", "least_slack")
    for words in ("d_r - s_r + aging * a_r", "aging: real 0.0 to 2.0; default 0.0", "Trade-offs", "Mok 1983", "[s]"):
        assert words in shown


def test_show_as_json_holds_ranges_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(output(capsys, "show", "per_image", "--json"))
    fan_out = {"name": "fan_out", "type": "integer", "low": 1, "high": 64, "default": None, "log": False}
    assert shown["knobs"] == [fan_out | {"none": "no limit"}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "least_slak"], "did you mean 'least_slack'?"),
        (["show", "edf", "--family", "routing"], "unknown routing policy 'edf'"),
        (["list", "--family", "route"], "did you mean 'routing'?"),
    ],
)
def test_an_unknown_name_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policies", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert captured.err.count("\n") == 1
