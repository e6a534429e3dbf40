"""Plans are replayed on the demand they were made for: they meet the objectives, with more headroom if need be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.solver.confirm import STEPS, confirmed
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.provisioning.validator import violations
from slackwise.solver.replay import Replayed, replay
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import plan_for
from slackwise.solver.table import write_table
from slackwise.traces import scale_rate, synthesize


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capacity table of the default kinds."""
    found = tmp_path_factory.mktemp("table") / "table.json"
    request, trace = PlanRequest(), synthesize(0, start_h=24, duration_h=4)
    kinds = default_kinds(request.model, request.gpu)
    write_table(found, measure(trace, request.model, kinds, request.objectives(), requests=800))
    return found


@pytest.mark.parametrize(("start_h", "rate"), [(30, 4.0), (60, 2.0), (100, 8.0), (20, 12.0)])
def test_a_confirmed_plan_meets_its_target_on_its_demand(start_h: int, rate: float, path: Path) -> None:
    trace = scale_rate(synthesize(start_h, start_h=start_h, duration_h=1), rate, 0)
    study = plan_for(trace, PlanRequest(table_path=path))
    found = confirmed(study, trace)
    assert found.met
    assert found.run.attainment >= found.study.request.target
    assert found.headroom in STEPS
    assert next(violations(found.study.data, found.study.plan), None) is None


def test_the_replayed_fleet_is_never_smaller_than_the_plan(path: Path) -> None:
    trace = scale_rate(synthesize(7, start_h=31, duration_h=1), 6.0, 0)
    study = plan_for(trace, PlanRequest(table_path=path))
    configuration, result = replay(study, trace)
    sizes = np.array([pool.tensor_parallel for pool in configuration.cluster.pools])
    begin_s = float(np.floor(trace.arrival_s[0] / study.data.window_s)) * study.data.window_s
    for tick in result.fleet:
        window = int((tick.time_s - begin_s) // study.data.window_s) % study.data.windows
        assert np.dot(tick.targets, sizes) >= study.plan.gpus(study.data)[window]


def test_the_command_confirms_unless_told_not_to(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["solve", "provision", "synthetic", "--from", "30h", "--hours", "0.5", "--rate", "4", "--table", str(path)]
    assert run([*words, "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)["replay"]
    assert replayed["met"]
    assert replayed["attainment"] >= 0.95


def test_a_plan_that_misses_its_target_is_shown_and_fails(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = Replayed(attainment=0.9, ttft_attainment=0.9, gpu_s=3600.0, ttft_p99_s=1.0, requests=10)
    monkeypatch.setattr(Replayed, "of", lambda result: missed)
    words = ["solve", "provision", "synthetic", "--from", "30h", "--hours", "0.2", "--table", str(path)]
    assert run(words) == 5
    shown = capsys.readouterr()
    assert "Replay: 90.00% of requests" in shown.out
    assert "attains 90.00%, less than the target of 95.00%" in shown.err
