"""`slackwise bench solve` measures and prints what it measured."""

from __future__ import annotations

import json

import pytest

from slackwise.cli.main import run


def test_the_speed_of_the_solver_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "solve", "--small", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(found[name] >= 0 for name in ("week_s", "week_build_s", "rolling_s", "late_80x4_s", "bound_10k_s"))
    assert 0 <= found["week_gap"] <= 0.01
    assert found["week_windows"] == 2016
    assert found["late_80x4_status"] == "optimal"
    assert all(0 <= row["ratio"] <= 1 for row in found["bound_10k"])
