"""`slackwise bench env` measures and prints what it measured."""

from __future__ import annotations

import json

import pytest

from slackwise.cli.main import run


def test_the_speed_of_the_environments_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "env", "--lanes", "2", "--steps", "2", "--trials", "3", "--jobs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(found[name] > 0 for name in ("steps_per_s", "moving_steps_per_s", "random_steps_per_s"))
    assert found["lanes"] == 2
    assert found["tune_3_s"] > 0
    assert found["tune_requests_simulated"] >= found["tune_requests_a_trial"] > 20_000
    assert 60 < found["requests_per_step"] < 200
