"""What goes wrong has its own exit code and one clear line, and never gives a plan that breaks a rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slackwise.cli.main import run
from slackwise.errors import LimitError, UnboundedError
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.provisioning import week
from slackwise.solver.provisioning.explain import explain
from slackwise.solver.provisioning.model import provision
from slackwise.solver.provisioning.paths import PathResult
from slackwise.solver.provisioning.validator import violations
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.request import PlanRequest
from slackwise.solver.result import INFEASIBLE, Limits
from slackwise.solver.table import write_table
from slackwise.traces import synthesize
from tests.solver.plans import one_class, split_data

HOUR = ["--from", "24h", "--hours", "0.5"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.json"
    request = PlanRequest()
    kinds = [each for each in default_kinds(request.model, request.gpu) if each.tensor_parallel == 4]
    trace = synthesize(0, start_h=24, duration_h=1)
    write_table(path, measure(trace, request.model, kinds, request.objectives(), requests=100, points=6))
    return path


def without_a_rate(document: dict[str, Any]) -> None:
    document["curves"][0]["rates_rps"][0] = None


def without_a_curve(document: dict[str, Any]) -> None:
    document["curves"].pop(0)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([*HOUR, "--servers", "1", "--rate", "200"], 3, "no fleet of 1 servers serves this demand; feasible with"),
        (["--from", "24h", "--to", "24h"], 7, "is empty"),
        ([*HOUR, "--rate", "0.0000001"], 8, "no request is left"),
        ([*HOUR, "--window", "10"], 2, "window_s is 10"),
        ([*HOUR, "--kappa", "0.5"], 2, "kappa 0.5"),
    ],
)
def test_each_bad_input_has_its_code_and_one_line(
    words: list[str], code: int, says: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", "provision", "synthetic", *words, "--table", str(table)]) == code
    assert_one_line(capsys, says)


def without_rates(document: dict[str, Any]) -> None:
    image = next(each for each in document["curves"] if each["modality"] == "image")
    image |= {"rates_rps": [], "ttft_ratio": [], "tbt_ratio": []}


def without_kinds(document: dict[str, Any]) -> None:
    document |= {"kinds": [], "curves": []}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_a_rate, "curve of EPD TP-4"),
        (without_a_curve, "curve of EPD TP-4"),
        (without_rates, "no rate in the image curve of EPD TP-4"),
        (without_kinds, "no kind of instance"),
    ],
)
def test_a_table_with_a_gap_has_its_code(
    spoil: Callable[[dict[str, Any]], None], says: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(table.read_text())
    spoil(document)
    (tmp_path / "gap.json").write_text(json.dumps(document))
    assert run(["solve", "provision", "synthetic", *HOUR, "--table", str(tmp_path / "gap.json")]) == 9
    assert_one_line(capsys, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--slo-factor", "2"], "was measured for objective text_ttft_s"),
        (["--target", "0.9"], "was measured for share within the objectives 0.95, not 0.9"),
        (["--gpu", "H100"], "was measured for GPU A100-80GB, not H100"),
        (["--scenarios", "5", "--budget", "1"], "not both"),
        (["--violation", "0.1"], "--violation has no effect without --scenarios"),
        (["--reach", "2"], "--reach has no effect without --budget"),
        (["--budget", "1", "--violation", "0.1"], "--violation has no effect"),
        (["--servers", "H100=4"], "H100 is none of the GPU types asked for"),
        (["--price", "A100-80GB=x"], "--price x: a number for all GPU types"),
        (["--servers", "many"], "none for as many as it takes"),
        (["--servers", "0"], "at least 1 server"),
        (["--tp", "1,two"], "--tp 1,two: whole numbers"),
        (["--tp", "16"], "tensor parallelism must be from 1 to 8"),
        (["--gpu", "A100-80GB,A100-80GB"], "each once"),
        (["--price", "inf"], "prices must be finite"),
        (["--window", "inf"], "window_s is inf"),
        (["--faults", "mtbf_s=60"], "No such option '--faults'"),
        (["--gpus", "64"], "No such option '--gpus'"),
    ],
)
def test_what_would_have_no_effect_on_a_plan_is_refused(
    words: list[str], says: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", "provision", "synthetic", *HOUR, "--table", str(table), *words]) == 2
    assert_one_line(capsys, says)


def test_a_factor_out_of_range_is_refused_before_a_table_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "provision", "synthetic", *HOUR, "--kappa", "nan"]) == 2
    assert "measuring" not in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_refused_before_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "provision", "synthetic", *HOUR, "--table", "/no/such/folder/table.json"]) == 2
    assert_one_line(capsys, "no such folder")


def test_a_schedule_of_an_empty_window_has_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "schedule", "synthetic", "--from", "24h", "--to", "24h"]) == 7
    assert_one_line(capsys, "is empty")


def test_a_time_limit_without_a_solution_has_its_code(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    monkeypatch.setattr(week, "fleet_path", lambda *_: PathResult(None, 0.0))
    found = provision_week(split_data(0, windows=40, servers=4), Limits(seconds=0.0))
    with pytest.raises(LimitError, match="or more"):
        found.required()
    words = ["solve", "provision", "synthetic", *HOUR, "--seconds", "0", "--table", str(table)]
    assert run(words) == 4
    with pytest.raises(LimitError, match=r"before any solution was found$"):
        provision(split_data(0, windows=40, servers=4), Limits(seconds=0.0)).required()


def test_a_time_limit_with_a_solution_gives_one_that_breaks_no_rule() -> None:
    data = split_data(0, windows=40, servers=4)
    found = provision_week(data, Limits(gap=0.0, seconds=0.0)).required()
    assert next(violations(data, found.solution), None) is None
    assert found.bound <= (found.objective or 0.0)


def test_a_price_below_nothing_and_no_limit_of_servers_have_their_code(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["solve", "provision", "synthetic", *HOUR, "--table", str(table), "--price", "-1"]
    assert run([*words, "--servers", "none"]) == 6
    assert_one_line(capsys, "is a price negative")
    assert run([*words, "--servers", "2", "--no-confirm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["result"]["bound"] <= found["result"]["objective"] < 0
    assert {sum(4 * each for each in row) for row in found["plan"]["ready"]} == {16}  # all that there is


def test_a_kind_that_the_table_lacks_has_the_code_of_a_gap(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--tp", "4,8"], ["--batch", "32"], ["--encoder-batch", "8"]):
        assert run(["solve", "provision", "synthetic", *HOUR, "--table", str(table), *words]) == 9
        assert_one_line(capsys, "has no kind of")


def test_prices_below_nothing_without_a_limit_are_unbounded() -> None:
    data = one_class([1.0], [1.0], servers=None)
    with pytest.raises(UnboundedError, match="is a price negative"):
        provision_week(replace(data, kinds=(replace(data.kinds[0], price=-1.0),))).required()


def test_what_would_have_to_give_way_is_looked_for_where_the_fleet_is_dearest() -> None:
    load = np.ones(100)
    load[5], load[90] = 3.0, 4.0  # window 90 asks for more requests, window 5 for dearer ones
    data = one_class([1.0], load.tolist(), servers=2)
    rate = data.rate.copy()
    rate[..., 5], rate[..., 90] = 0.1, 10.0
    data = replace(data, rate=rate)
    assert provision_week(data).status == INFEASIBLE
    servers = next(each for each in explain(data) if each.slack == "servers")
    assert servers.sentence.endswith("in window 5")


def assert_one_line(capsys: pytest.CaptureFixture[str], says: str) -> None:
    captured = capsys.readouterr()
    lines = [each for each in captured.err.splitlines() if each.startswith("slackwise: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
