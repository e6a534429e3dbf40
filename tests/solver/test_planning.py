"""From a trace to a plan: demand, scenarios, capacity curves, and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.cli.main import run
from slackwise.errors import GapError, InputError, ZeroDemandError
from slackwise.simulator import Cluster, Pool, isolated, preset
from slackwise.solver.capacities import allowed_kinds, capacity_table
from slackwise.solver.demand import Demand, budgeted, demand, scenarios
from slackwise.solver.hardware import Hardware
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.planning import capacity_of, plan_data, pooled_rates
from slackwise.solver.provisioning.data import Kind
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.replay import pool_prices, replay
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import plan_for
from slackwise.solver.table import CapacityTable, Curve, read_table, table_from, write_table
from slackwise.traces import Trace, scale_rate, synthesize

MODEL, GPU = "Llama-3.2-11B-Vision", "A100-80GB"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return synthesize(2, start_h=5, duration_h=1)


@pytest.fixture(scope="module")
def table(trace: Trace) -> CapacityTable:
    kinds = [each for each in default_kinds(MODEL, GPU) if each.tensor_parallel in (1, 4)]
    objectives = isolated(Cluster(MODEL, GPU, (Pool("EPD", 1, 4),)), scale="work")
    return measure(trace, MODEL, kinds, objectives, requests=300, points=16, sizes=(1, 2))


def test_a_capacity_is_the_last_rate_before_the_first_that_fails() -> None:
    curve = Curve(0, "text", 1, 4.0, (1.0, 2.0, 3.0, 4.0), (0.2, 0.4, 0.9, 0.5), (0.1, 0.2, 0.3, 1.2))
    assert [curve.capacity_rps(share) for share in (0.1, 0.2, 0.5, 1.0)] == [0.0, 1.0, 2.0, 3.0]
    assert curve.capacity_rps(1.0, kappa=2.0) == 2.0


def test_more_time_never_serves_less_and_capacities_lie_within_the_latency_model(table: CapacityTable) -> None:
    for curve in table.curves:
        served = [curve.capacity_rps(share) for share in np.linspace(0.05, 3.0, 40)]
        assert served == sorted(served)
        assert served[-1] <= curve.saturation_rps
    assert table.pools(len(table.kinds) - 1, "text")[0].capacity_rps(1.0) > 0


def test_a_table_survives_its_file_and_bad_ones_are_refused(table: CapacityTable, tmp_path: Path) -> None:
    write_table(tmp_path / "table.json", table)
    assert read_table(tmp_path / "table.json").curves == table.curves
    document = json.loads((tmp_path / "table.json").read_text())
    document["curves"][0]["rates_rps"][0] = None
    with pytest.raises(GapError, match="has a gap"):
        table_from(document)
    with pytest.raises(InputError, match="unknown key"):
        table_from(document | {"colour": 1})
    with pytest.raises(GapError, match="no text curve of E TP-1"):
        replace(table, curves=()).pools(2, "text")


def test_demand_counts_every_request_once(trace: Trace) -> None:
    found = demand(trace, 300.0)
    assert found.text_rps.sum() * 300 == pytest.approx((trace.images == 0).sum())
    assert found.images_per_s.sum() * 300 == pytest.approx(trace.images.sum())
    assert np.all(demand(trace, 300.0, burst=1.0).image_rps >= found.image_rps)
    with pytest.raises(ZeroDemandError):
        demand(trace.take(slice(0, 0)), 300.0)


def test_a_window_that_is_covered_in_part_has_the_rate_of_that_part(trace: Trace) -> None:
    whole = demand(trace, 300.0)
    late = trace.take(slice(int(np.searchsorted(trace.arrival_s, trace.arrival_s[0] + 100.0)), -1))
    cut = late.take(slice(0, int(np.searchsorted(late.arrival_s, late.arrival_s[0] + 1300.0))))
    part = demand(cut, 300.0)
    assert part.windows == 5
    np.testing.assert_allclose(part.text_rps[0, 1:4], whole.text_rps[0, 1:4])
    for at in (0, 4):
        assert part.text_rps[0, at] == pytest.approx(whole.text_rps[0, at], rel=0.3)
    for window_s in (29.0, 86401.0):
        with pytest.raises(InputError, match="from 30 to 86400"):
            demand(trace, window_s)


def test_scenarios_keep_the_mean_and_drop_the_worst(trace: Trace) -> None:
    base = demand(trace, 300.0)
    drawn = scenarios(base, 400, seed=1)
    assert drawn.text_rps.shape == (400, base.windows)
    assert drawn.text_rps.mean() == pytest.approx(base.text_rps.mean(), rel=0.03)
    milder = scenarios(base, 400, seed=1, allowed_violation=0.05)
    assert np.all(milder.image_rps.max(axis=0) <= drawn.image_rps.max(axis=0))
    assert milder.image_rps.max() < drawn.image_rps.max()


def test_a_budget_raises_at_most_that_many_loads_at_a_time() -> None:
    one, spread = np.ones((1, 1)), np.full(1, 0.5)
    base = Demand(300.0, one, 2 * one, 2 * one, spread, spread)
    raised = {
        budget: sorted(zip(found.text_rps[:, 0], found.image_rps[:, 0], strict=True))
        for budget in (0.0, 1.0, 1.5, 2.0)
        for found in [budgeted(base, budget)]
    }
    assert raised[0.0] == [(1.0, 2.0)]
    assert raised[1.0] == [(1.0, 2.5), (1.5, 2.0)]
    assert set(raised[1.5]) >= {(1.25, 2.5), (1.5, 2.25)}
    assert raised[2.0] == [(1.5, 2.5)]


def test_a_mix_keeps_an_instance_busy_for_the_sum_of_its_parts() -> None:
    kinds = (Kind("EPD", 1, GPU),)
    curves = tuple(Curve(0, name, 1, 9.0, (rate,), (0.5,), (0.5,)) for name, rate in (("text", 4.0), ("image", 2.0)))
    table = CapacityTable(MODEL, kinds, curves, 0.95, 2.0, {}, "by hand")
    text, image, images = (np.array([[each]]) for each in (2.0, 1.0, 4.0))
    loads = Demand(300.0, text, image, images, np.zeros(1), np.zeros(1))
    data = plan_data(loads, table, {GPU: 1}, topologies=["monolith"])
    # 4 images/s are as much as 2 image requests/s of 2 images: busy 2/4 + 2/2 of the time
    assert data.rate[0, 0, 0, 0] == pytest.approx(3.0 / 1.5)


HUNDREDTHS = st.integers(0, 3000).map(lambda each: each / 100)


@given(st.lists(HUNDREDTHS, min_size=1, max_size=6), st.lists(HUNDREDTHS, min_size=1, max_size=4))
def test_a_fleet_of_one_kind_is_the_smallest_pool_that_is_enough(gains: list[float], needed: list[float]) -> None:
    by_size = np.broadcast_to(np.cumsum(gains)[:, None, None], (len(gains), 1, len(needed)))
    found = pooled_rates(by_size, np.array([needed]))[0]
    for rate, load in zip(found, needed, strict=True):
        enough = [n for n in range(1, len(gains) + 1) if n * by_size[n - 1, 0, 0] >= load]
        if enough:
            assert rate <= by_size[enough[0] - 1, 0, 0]
            assert enough[0] * rate >= load
            assert enough[0] == 1 or (enough[0] - 1) * rate < load or load == 0
        else:
            assert rate == by_size[-1, 0, 0]


def test_instances_of_a_pool_serve_more_than_alone(table: CapacityTable) -> None:
    more = []
    for at in range(len(table.kinds)):
        one, two = table.pools(at, "image")
        assert (one.instances, two.instances) == (1, 2)
        served = [capacity_of(table, at, "image", 1.0, 1.0, size) for size in (1, 2, 3)]
        assert served[0] <= served[1] == served[2]
        more.append(served[1] / served[0])
    assert np.mean(more) > 1.05


def test_kinds_are_letters_times_sizes_times_batches_times_gpu_types() -> None:
    hardware = Hardware.of("A100-80GB,H100", "A100-80GB=2,H100=none", "A100-80GB=1,H100=2", "2,4", "32,256", "1,8")
    assert hardware.servers == (2, None)
    kinds = allowed_kinds(PlanRequest(hardware=hardware))
    assert len(kinds) == len(set(kinds)) == 2 * (2 * 2 + 2 * 2 + 2 * 2)
    assert {(kind.stages, kind.batch) for kind in kinds if kind.stages == "E"} == {("E", 1), ("E", 8)}


def test_a_fleet_of_two_gpu_types_is_planned_priced_and_replayed(trace: Trace, tmp_path: Path) -> None:
    hardware = Hardware.of("A100-80GB,H100", "2", "A100-80GB=1,H100=1.5", "1,2", None, None)
    request = PlanRequest(hardware=hardware, table_path=tmp_path / "table.json", topologies=("E+PD",))
    both = measure(trace, MODEL, allowed_kinds(request), request.objectives(), requests=200, points=8, sizes=(1,))
    write_table(tmp_path / "table.json", both)
    study = plan_for(scale_rate(trace, 10.0, 0), request)
    assert {kind.price for kind in study.data.kinds} == {1.0, 1.5}
    assert sum(study.gpu_hours().values()) > 0
    dear = replace(hardware, prices=(1.0, 100.0), servers=(None, None))
    assert set(plan_for(trace, replace(request, hardware=dear)).gpu_hours()) == {"A100-80GB"}
    cheap = replace(dear, prices=(100.0, 1.0))
    only = plan_for(trace, replace(request, hardware=cheap))
    assert set(only.gpu_hours()) == {"H100"}
    kinds = [study.data.kinds.index(each) for each in study.data.kinds if each.stages == "PD"][::2]
    ready = np.maximum(study.plan.ready, np.isin(np.arange(len(study.data.kinds)), [*kinds, 0]))
    mixed = replace(study, result=replace(study.result, solution=Plan(study.plan.option, ready)))
    configuration, result = replay(mixed, trace)
    assert not configuration.cluster.one_gpu
    assert len(result.ttft_s) == len(trace)
    assert result.met.mean() > 0.5
    assert 1.0 < result.price < 1.5


def test_a_fleet_on_gpus_without_a_price_is_refused() -> None:
    today = preset("vllm", MODEL, GPU, 16)
    request = PlanRequest(hardware=Hardware(("A100-80GB", "H100"), (2, 2), (1.8, 2.5)))
    assert pool_prices(today, request) == [1.8]
    with pytest.raises(InputError, match="vllm runs on A100-80GB, of which no price is given"):
        pool_prices(today, PlanRequest(hardware=Hardware(("H100",), (2,), (2.5,))))


def test_kinds_that_are_kept_are_not_measured_again(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen: list[str] = []
    little = trace.take(slice(0, 400))
    first = PlanRequest(hardware=Hardware(parallel=(4,)), topologies=("monolith",))
    one = capacity_table(little, first, seen.append)
    assert seen == ["measuring EPD TP-4 batch 256 on A100-80GB"]
    both = capacity_table(little, replace(first, hardware=Hardware(parallel=(4, 8))), seen.append)
    assert seen[1:] == ["measuring EPD TP-8 batch 256 on A100-80GB"]
    assert both.of_kinds(one.kinds).curves == one.curves
    assert capacity_table(little, first, seen.append).curves == one.curves


def test_the_command_plans_and_keeps_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = str(tmp_path / "table.json"), tmp_path / "plan.json"
    words = ["solve", "provision", "synthetic", "--hours", "1", "--table", table, "--target", "0.9"]
    words += ["--window", "900", "--out", str(out)]
    assert run([*words, "--rate", "2"]) == 0
    shown = capsys.readouterr().out
    assert "What to run when" in shown
    assert "gap" in shown
    first = json.loads(out.read_text())
    assert run([*words, "--rate", "2", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["plan"] == second["plan"]
    assert first["result"]["fingerprint"] == second["result"]["fingerprint"]
    assert second["result"]["gap"] <= 0.01
    assert run([*words, "--rate", "2", "--budget", "1", "--kappa", "1.5", "--json"]) == 0
    robust = json.loads(capsys.readouterr().out)
    assert robust["result"]["objective"] > second["result"]["objective"]
    assert run([*words, "--rate", "60", "--servers", "1"]) == 3
    message = capsys.readouterr().err
    assert "more servers of A100-80GB" in message
    assert "turned away" in message


def test_bad_input_to_the_command_has_its_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text("{}")
    words = ["solve", "provision", "synthetic", "--hours", "1"]
    assert run([*words, "--table", str(tmp_path / "bad.json")]) == 2
    assert run([*words, "--window", "5"]) == 2
    assert run([*words, "--topology", "E+PPD"]) == 2
    assert capsys.readouterr().err.count("slackwise:") == 3
