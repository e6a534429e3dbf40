"""The honest table: equal budgets, days that no search saw, and a verdict that its own numbers bear out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Configuration, isolated, preset, simulate
from slackwise.traces import Trace, scale_rate, synthesize
from slackwise.tuning import bounds, honest
from slackwise.tuning.bounds import BOUNDED, Bounds
from slackwise.tuning.candidates import (
    CANDIDATES,
    DEFAULT,
    LEARNED,
    PLANNED,
    TUNED,
    Candidate,
    Made,
    Setting,
    available,
    find_candidates,
)
from slackwise.tuning.goals import Goal
from slackwise.tuning.honest import Table, decision_us, honest_table, worst_class, worst_decile
from slackwise.tuning.suites import Suite
from slackwise.tuning.trials import Task

START = preset("vllm", "InternVL2.5-26B")
GOAL = Goal("attainment")
BUDGET = 6000
SEARCHED = ("random", "tpe", "cmaes", "ars", "ppo")
FEW = (Suite("same", "as it was"), Suite("load", "twice", lambda trace, seed: scale_rate(trace, 2.0, seed)))


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Few bins: a bound is computed for every row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "CELLS", 1e5)
        yield


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(synthesize(1, rows=1500, duration_h=0.2), isolated(START.cluster, scale="work"), (GOAL,))


@pytest.fixture(scope="module")
def kept() -> Trace:
    return synthesize(2, rows=2500, duration_h=0.3)


@pytest.fixture(scope="module")
def table(task: Task, kept: Trace) -> Table:
    names = ("edf", "modserve", "busiest_instance", "random", "tpe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(honest, "suites", lambda: FEW)
        candidates = find_candidates(names, lambda name: None)
        return honest_table(candidates, Setting(task, START, BUDGET), kept, suite_requests=1000, resamples=200)


@pytest.mark.parametrize("name", [name for name in CANDIDATES if name not in SEARCHED])
def test_every_rule_is_a_service_on_the_same_gpus(name: str, task: Task) -> None:
    made = CANDIDATES[name].make(Setting(task, START, BUDGET))
    assert made.configuration.cluster.gpus == START.cluster.gpus
    assert made.requests == 0


def test_the_default_is_what_users_run_and_comes_first(table: Table) -> None:
    assert table.rows[0].name == DEFAULT
    assert replace(table.rows[0].made.configuration, name="vllm") == START
    assert set(table.rows[0].gains.values()) == {0.0}


def test_searches_have_equal_budgets_and_rules_none(table: Table, task: Task) -> None:
    for name in ("random", "tpe"):
        assert BUDGET <= table.row(name).made.requests < BUDGET + len(task.trace)
    assert table.row("edf").made.requests == 0


def test_every_number_is_that_of_the_part_kept_back(table: Table, task: Task, kept: Trace) -> None:
    for row in table.rows:
        again = simulate(kept, row.made.configuration, task.objectives)
        assert row.value == again.met.mean()
        assert row.searched_value == simulate(task.trace, row.made.configuration, task.objectives).met.mean()
        assert (
            row.suites["as it was"]
            == simulate(kept.take(slice(0, 1000)), row.made.configuration, task.objectives).met.mean()
        )
        assert row.worst_decile <= row.value <= (row.bound.value or 1.0)
        assert row.worst_class[1] <= row.value
        assert row.gains["twice"] == row.suites["twice"] - table.rows[0].suites["twice"]


def test_the_best_rule_is_neither_a_control_nor_searched(table: Table) -> None:
    rules = [table.row(name) for name in (DEFAULT, "edf", "modserve")]
    assert table.heuristic == max(rules, key=lambda each: each.value).name
    assert set(table.to_heuristic) == {each.name for each in table.rows} - {table.heuristic}
    assert table.row("busiest_instance").value < 0.5


def test_the_verdict_follows_from_the_rows(table: Table) -> None:
    best = max((each for each in table.rows if each.candidate.complexity >= 0), key=lambda each: each.value)
    if table.verdict.winner is not None:
        assert table.verdict.winner == best.name
        assert table.verdict.over is not None
        assert table.verdict.over.low > 0
    else:
        assert table.verdict.named != best.name or best.candidate.complexity == 0


def test_the_document_is_json_with_a_row_for_everything(table: Table) -> None:
    found = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert [row["name"] for row in found["rows"]] == [each.name for each in table.rows]
    for row in found["rows"]:
        assert row["train_test_gap"] == row["searched_value"] - row["value"]
        assert row["regret"] == row["bound"] - row["value"] >= 0
        assert set(row["suites"]) == {each.name for each in FEW}


def test_another_kind_of_candidate_joins_by_an_entry(task: Task, kept: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honest, "suites", lambda: FEW[:1])
    edf = replace(START, policies=START.policies.changed(["batching=edf"]))
    known = {DEFAULT: CANDIDATES[DEFAULT], "mine": Candidate("mine", LEARNED, lambda setting: Made(edf, 7, "epoch 3"))}
    found = honest_table(
        find_candidates(["mine"], lambda name: None, known),
        Setting(task, START, 1),
        kept,
        suite_requests=500,
        resamples=100,
    )
    assert found.row("mine").made.requests == 7
    assert found.to_json()["rows"][1]["note"] == "epoch 3"


def test_a_bundle_is_a_candidate_and_an_unknown_name_is_refused() -> None:
    named = Configuration("winner", START.cluster, START.policies)
    found = find_candidates(["a/winner.json"], lambda name: named)
    assert list(found) == [DEFAULT, "winner"]
    planned = replace(named, policies=START.policies.changed(["provisioning=forecast_ilp"]))
    assert find_candidates(["any"], lambda name: planned)["winner"].complexity == PLANNED
    assert found["winner"].complexity == TUNED
    with pytest.raises(InputError, match="did you mean 'least_slack'"):
        find_candidates(["leastslack"], lambda name: None)


def test_the_worst_tenth_of_windows_is_the_mean_of_the_worst(task: Task) -> None:
    run = simulate(task.trace, START, task.objectives)
    late = replace(run, met=np.where(run.arrival_s - run.arrival_s[0] < 30.0, False, True))
    assert worst_decile(GOAL, late, 30.0) == 0.5  # the worst 2 of 24 windows
    assert worst_decile(GOAL, late, 1e6) == late.met.mean()
    assert worst_decile(Goal("ttft_mean_s"), run, 60.0) >= run.ttft_s.mean()


def test_the_worst_class_is_named(task: Task) -> None:
    run = simulate(task.trace, START, task.objectives)
    name, value = worst_class(GOAL, replace(run, met=run.category != 1))
    assert (name, value) == ("image", 0.0)


def test_decisions_take_time() -> None:
    assert 1.0 < decision_us(START.policies, 20, 2) < 10_000


@pytest.mark.parametrize("metric", BOUNDED)
def test_no_row_is_better_than_its_bound_which_names_its_rung(metric: str, kept: Trace, task: Task) -> None:
    wanted = Goal(metric)
    known = Bounds(wanted, kept, task)
    for name in ("default", "least_slack", "modserve"):
        configuration = CANDIDATES[name].make(Setting(task, START, BUDGET)).configuration
        result = simulate(kept, configuration, task.objectives)
        found = known.of(configuration, result)
        assert found.value is not None
        assert wanted.of(result) == found.value or wanted.better(found.value, wanted.of(result))
        assert found.rung.startswith("fluid LP" if metric == "gpu_s_per_good" else ("trivial", "time-indexed LP"))


def test_a_metric_without_a_rung_and_a_run_with_faults_have_no_bound(kept: Trace, task: Task) -> None:
    result = simulate(kept, START, task.objectives)
    assert Bounds(Goal("ttft_p99_s"), kept, task).of(START, result).value is None
    lossy = replace(START, faults=replace(START.faults, metrics_every_s=2.0))
    found = Bounds(GOAL, kept, task).of(lossy, result)
    assert found.value is None
    assert found.rung


def test_an_overloaded_fleet_has_a_bound_that_the_fluid_proves(kept: Trace, task: Task) -> None:
    """At 12 times the rate there is more work than instance-seconds: far from everyone can be in time."""
    heavy = scale_rate(kept, 12.0)
    result = simulate(heavy, START, task.objectives)
    found = Bounds(GOAL, heavy, task).of(START, result)
    assert found.rung == "time-indexed LP"
    assert found.value is not None
    assert result.met.mean() <= found.value < 0.99


@pytest.fixture(scope="module")
def dearer(task: Task, kept: Trace) -> Table:
    """Learners and planners beside the default."""
    pytest.importorskip("sb3_contrib")
    pytest.importorskip("ortools")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(honest, "suites", lambda: FEW[:1])
        names = ("least_slack", "ars", "ppo", "rolling_milp", "clairvoyant_milp")
        candidates = find_candidates(names, lambda name: None)
        return honest_table(candidates, Setting(task, START, 90_000), kept, suite_requests=500, resamples=100)


def test_learners_spend_the_budget_of_a_search_and_no_more(dearer: Table, task: Task) -> None:
    for name in ("ars", "ppo"):
        row = dearer.row(name)
        assert 0.4 * 90_000 < row.made.requests < 1.1 * 90_000
        assert row.made.configuration.policies.provisioning.actor is not None
        assert "one seed" in row.made.note


def test_what_knows_the_future_is_shown_and_never_wins(dearer: Table) -> None:
    row = dearer.row("clairvoyant_milp")
    assert not row.candidate.deployable
    assert row.suites == {}
    assert row.outcome.result.gpu_s < dearer.row("least_slack").outcome.result.gpu_s
    assert dearer.verdict.named != "clairvoyant_milp"
    found = dearer.to_json()
    assert [each["name"] for each in found["rows"] if not each["deployable"]] == ["clairvoyant_milp"]
    assert found["bound"]["deployable"] is False
    assert found["bound"]["value"] == max(each["bound"] for each in found["rows"])


def test_a_learner_without_the_budget_to_learn_has_no_row_and_a_reason(task: Task, kept: Trace) -> None:
    pytest.importorskip("sb3_contrib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(honest, "suites", lambda: FEW[:1])
        candidates = find_candidates(("ppo",), lambda name: None)
        found = honest_table(candidates, Setting(task, START, 10), kept, suite_requests=500, resamples=100)
    assert [each.name for each in found.rows] == [DEFAULT]
    assert "larger budget" in found.left_out["ppo"]


def test_another_seed_of_a_search_is_a_row_of_its_own(task: Task) -> None:
    found = find_candidates(["random", "random@0", "random@1"], lambda name: None)
    assert list(found) == [DEFAULT, "random", "random@0", "random@1"]
    made = {name: found[name].make(Setting(task, START, BUDGET)) for name in list(found)[1:]}
    assert made["random"] == made["random@0"] != made["random@1"]
    with pytest.raises(InputError, match="unknown candidate 'random@x'"):
        find_candidates(["random@x"], lambda name: None)


def test_rows_whose_extra_is_missing_are_left_out_with_the_line_that_installs_it() -> None:
    absent = Candidate("absent", LEARNED, CANDIDATES["ppo"].make, (("nobody_has_this", "rl"),))
    found, left_out = available(CANDIDATES | {"absent": absent})
    assert "absent" not in found
    assert left_out["absent"] == "nobody_has_this is not installed: pip install 'slackwise[rl]'"
    with pytest.raises(InputError, match="pip install 'slackwise\\[rl\\]'"):
        find_candidates(["absent"], lambda name: None, CANDIDATES | {"absent": absent})
