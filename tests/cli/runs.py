"""Run the command line and take what it printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slackwise.cli.main import run

QUICK = ("synthetic", "--from", "1d", "--hours", "0.1", "--rate", "3")
"""Six minutes of a busy hour, at three times the rate."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a successful command writes to stdout."""
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON document that a successful command writes with --json."""
    return json.loads(printed(capsys, *arguments, "--json"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line that a refused command writes, with this exit code and nothing on stdout."""
    assert run(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    *progress, line = captured.err.splitlines()
    assert all(each.endswith("...") for each in progress)
    return line
