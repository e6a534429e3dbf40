"""Fleet plans: each rule alone against brute force on two or three elements, both backends, verdicts and gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import (
    CheckError,
    EmptyError,
    GapError,
    InfeasibleError,
    InputError,
    LimitError,
    UnboundedError,
    ZeroDemandError,
)
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.provisioning.data import Kind, PlanData, Terms, options
from slackwise.solver.provisioning.dominance import useful
from slackwise.solver.provisioning.explain import explain, sentence
from slackwise.solver.provisioning.floors import floors
from slackwise.solver.provisioning.model import build, provision
from slackwise.solver.provisioning.packing import divisible, patterns, servers_needed
from slackwise.solver.provisioning.paths import fleet_path
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.validator import check, violations
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.result import INFEASIBLE, OPTIMAL, UNBOUNDED, Limits
from tests.solver.plans import GPU, brute_force, one_class, split_data

EXACT = Limits(gap=0.0)

FAMILIES = {
    "capacity": one_class([2.0], [3.0, 1.0]),
    "capacity, no load in a window": one_class([2.0], [0.0, 1.0]),
    "capacity in every scenario": one_class([2.0], [[3.0, 1.0], [1.0, 3.0]]),
    "headroom": one_class([2.0], [2.0, 2.0], terms=Terms(headroom=0.1, switch_gpu_s=0.0, least=0)),
    "two kinds": one_class([1.0, 2.3], [3.0, 5.0], [1, 2]),
    "least instances": one_class([2.0], [0.0, 1.0], terms=Terms(switch_gpu_s=0.0, least=2)),
    "switching": one_class([2.0], [3.0, 1.0, 3.0], terms=Terms(switch_gpu_s=400.0, least=0)),
    "switching from a fleet": one_class([2.0], [3.0, 1.0], terms=Terms(least=0), initial={0: 1}),
    "start-up paid": one_class([2.0], [3.0, 1.0, 3.0], start_s=400.0),
    "start-up delay": one_class([2.0], [1.0, 3.0, 1.0], start_s=200.0, initial={0: 1}),
    "start-up within the lead": replace(one_class([2.0], [3.0, 3.0], start_s=200.0, initial={0: 1}), lead_s=300.0),
    "minimum up": one_class([2.0], [1.0, 3.0, 0.0], terms=Terms(switch_gpu_s=0.0, min_up_windows=2, least=0)),
    "servers": one_class([1.0, 2.3], [4.5, 3.9], [2, 4], servers=1),
    "servers hold who starts": one_class([2.0, 1.0], [2.0, 3.0], [4, 4], servers=1, start_s=300.0),
    "servers by pattern": one_class([1.0, 2.1], [4.0, 3.0], [3, 4], servers=2),
}
"""A plan for each family of constraints in which that family binds."""


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("backend", ["highs", "cp-sat"])
def test_each_rule_alone_gives_the_optimum_of_brute_force(name: str, backend: str) -> None:
    data = FAMILIES[name]
    expected, _ = brute_force(data)
    found = provision(data, EXACT, backend, options(data)[0])
    assert found.status == OPTIMAL
    assert found.objective == pytest.approx(expected)
    assert found.bound == pytest.approx(expected, rel=1e-6)


RULES_THAT_BIND: dict[str, dict[str, Any]] = {
    "headroom": {"headroom": 0.0},
    "least instances": {"least": 0},
    "switching": {"switch_gpu_s": 0.0},
    "minimum up": {"min_up_windows": 1},
}


@pytest.mark.parametrize("name", RULES_THAT_BIND)
def test_without_its_rule_a_plan_is_cheaper(name: str) -> None:
    data = FAMILIES[name]
    without = replace(data, terms=replace(data.terms, **RULES_THAT_BIND[name]))
    assert brute_force(without)[0] < brute_force(data)[0]


@pytest.mark.parametrize("seed", range(4))
def test_the_split_is_chosen_with_the_fleet(seed: int) -> None:
    data = split_data(seed, windows=1)
    expected, plan = brute_force(data)
    joint, branched = provision(data, EXACT), provision_week(data, EXACT)
    assert plan is not None
    assert joint.objective == pytest.approx(expected)
    assert branched.objective == pytest.approx(expected)
    assert joint.solution.option.topology in TOPOLOGIES


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), windows=st.integers(2, 12), span=st.integers(1, 3), past=st.booleans())
def test_branching_and_blocks_give_what_one_mip_gives(seed: int, windows: int, span: int, past: bool) -> None:
    data = replace(split_data(seed, windows), terms=Terms(min_up_windows=span))
    if past:
        data = replace(data, initial={0: 2, 1: 2, 2: 2})
    whole, parts = provision(data, EXACT), provision_week(data, Limits(gap=0.001), block=3)
    if whole.objective is None:
        assert parts.status == INFEASIBLE
        return
    assert parts.objective is not None
    assert parts.bound <= whole.objective * (1 + 1e-6)
    assert whole.objective <= parts.objective * (1 + 1e-6)
    assert parts.gap is not None
    assert parts.gap <= 0.001 or parts.status != OPTIMAL


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), past=st.booleans())
def test_floors_paths_and_relaxations_never_exceed_the_optimum(seed: int, past: bool) -> None:
    data = split_data(seed, windows=3)
    if past:
        data = replace(data, initial={0: 1, 1: 1, 2: 2})
    for option in options(data):
        lowest = floors(data, option)
        best = provision(data, EXACT, option=option)
        if best.objective is None:
            continue
        path = fleet_path(data, option, lowest)
        assert lowest.total(data) <= best.objective * (1 + 1e-9)
        assert path.bound <= best.objective * (1 + 1e-9)
        assert lowest.total(data) <= path.bound * (1 + 1e-9)
        assert path.plan is None or path.plan.cost(data) >= best.objective * (1 - 1e-9)


def test_dropping_dominated_kinds_loses_no_more_than_it_says() -> None:
    data = one_class([2.0, 3.9, 2.0], [3.0, 5.0], [1, 2, 1], start_s=0.5)
    data = replace(data, kinds=(data.kinds[0], *(replace(each, start_s=0.2) for each in data.kinds[1:])))
    data = replace(data, terms=Terms(least=0), window_s=60.0)
    kept = useful(data, options(data)[0], tolerance=0.01)
    assert kept.kinds == (0,)
    assert 0 < kept.loss < 0.01
    best = brute_force(data, most=3)[0]
    with_kept = provision(data, EXACT, option=options(data)[0])
    assert with_kept.objective is not None
    assert best <= with_kept.objective <= best / (1 - kept.loss) + 1e-9
    assert with_kept.bound <= best


def test_rows_and_columns_have_names_that_say_what_they_are() -> None:
    model = build(split_data(0)).model
    columns, rows = [each.name for each in model.variables()], [each.name for each in model.linear_constraints()]
    assert all(columns)
    assert all(rows)
    assert len(set(columns)) == len(columns)
    assert len(set(rows)) == len(rows)
    assert any(each.startswith("ready[window=1, PD TP-2 batch 256 on A100-80GB") for each in columns)


def test_the_same_input_gives_the_same_bytes() -> None:
    data = split_data(3, windows=8)
    first, second = (provision_week(data, Limits(gap=0.001), block=4) for _ in range(2))
    assert first.to_json(times=False) == second.to_json(times=False)
    assert np.array_equal(first.solution.ready, second.solution.ready)
    assert first.fingerprint != provision_week(data, Limits(gap=0.01)).fingerprint


def test_nothing_fits_is_infeasible_and_explained_in_business_words() -> None:
    data = one_class([1.0], [2.0, 20.0, 20.0, 3.0], servers=2)
    with pytest.raises(InfeasibleError):
        provision_week(data).required()
    remedies = {each.slack: each for each in explain(data)}
    assert remedies["servers"].amount == 1
    assert remedies["servers"].sentence == f"with 1 more server of {GPU} in windows 1 to 2"
    assert remedies["load"].sentence == "with 20 % of the requests turned away in windows 1 to 2"
    assert "ttft" not in remedies  # rates do not rise with the level here
    assert sentence(remedies.values()).startswith("feasible with 1 more server")
    served = replace(data, servers={GPU: 3})
    assert provision_week(served, EXACT).status == OPTIMAL


def test_a_longer_objective_is_named_where_it_would_do() -> None:
    data = replace(split_data(1, servers=1), load=np.full((1, 2), 6.0))
    assert provision_week(data).status == INFEASIBLE
    longer = next(each for each in explain(data, ttft_s=2.0) if each.slack == "ttft")
    assert longer.amount > 1.0
    assert "TTFT at" in longer.sentence
    assert f"{longer.amount:.3g} times the objective" in longer.sentence


def test_a_rebate_without_end_is_unbounded() -> None:
    data = one_class([1.0], [1.0], servers=None)
    data = replace(data, kinds=(replace(data.kinds[0], price=-1.0),))
    found = provision(data, option=options(data)[0])
    assert found.status == UNBOUNDED
    with pytest.raises(UnboundedError):
        found.required()


def test_a_limit_before_any_solution_says_so_with_its_bound() -> None:
    found = provision_week(split_data(0, windows=40), Limits(seconds=0.0))
    with pytest.raises(LimitError, match="or more"):
        replace(found, solution=None, status="limit").required()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"load": np.zeros((1, 0)), "rate": np.zeros((1, 1, 1, 0))}, EmptyError),
        ({"load": np.zeros((1, 1))}, ZeroDemandError),
        ({"rate": np.full((1, 1, 1, 1), np.nan)}, GapError),
        ({"rate": np.ones((1, 1, 1, 2))}, GapError),
        ({"topologies": ("E+PD",)}, GapError),
        ({"topologies": ("nonsense",)}, InputError),
        ({"servers": {}}, GapError),
        ({"window_s": 0.0}, InputError),
        ({"load": np.array([[-1.0]])}, InputError),
    ],
)
def test_bad_data_have_the_error_of_what_is_wrong(change: dict[str, object], error: type[Exception]) -> None:
    data = one_class([1.0], [1.0])
    with pytest.raises(error) as raised:
        replace(data, **change)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


BREACHES = {
    "fewer than 1": ("least instances", [[0], [2]]),
    "serves 2 requests/s in window 0": ("capacity", [[1], [1]]),
    "before it can be": ("start-up delay", [[2], [2], [1]]),
    "sooner than 2 windows": ("minimum up", [[1], [2], [0]]),
    "needs more than 1 servers": ("servers", [[0, 3], [0, 2]]),
}


@pytest.mark.parametrize("words", BREACHES)
def test_the_validator_names_every_broken_rule(words: str) -> None:
    name, counts = BREACHES[words]
    data = FAMILIES[name]
    data = replace(data, terms=replace(data.terms, least=1)) if name == "least instances" else data
    plan = Plan(options(data)[0], np.array(counts))
    assert any(words in each for each in violations(data, plan))
    with pytest.raises(CheckError):
        check(data, plan)


def test_the_validator_refuses_shares_that_sum_to_more_than_the_objective() -> None:
    data = split_data(0)
    option = replace(options(data)[-1], levels={"E": 2, "PD": 2})
    assert any("sum to more than 1" in each for each in violations(data, Plan(option, np.full((2, 3), 2))))
    assert any("outside topology" in each for each in violations(data, Plan(options(data)[-1], np.full((2, 3), 2))))


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 5), min_size=2, max_size=2))
def test_patterns_pack_what_a_sum_of_gpus_would_let_through(counts: list[int]) -> None:
    sizes = (4, 3)
    fits = {tuple(np.zeros(2, int))}
    servers = 0
    while not any(all(have >= want for have, want in zip(each, counts, strict=True)) for each in fits):
        servers += 1
        fits = {tuple(np.add(each, pattern)) for each in fits for pattern in patterns(sizes, 8)}
    assert servers_needed(sizes, counts, 8) == servers


def test_sizes_that_divide_each_other_pack_without_loss() -> None:
    assert divisible([1, 2, 4, 8], 8)
    assert not divisible([3, 4], 8)
    assert servers_needed([3], [3], 8) == 2
    assert servers_needed([8, 4, 2, 1], [1, 1, 1, 2], 8) == 2


def test_a_kind_of_no_known_stages_is_refused_with_the_closest() -> None:
    with pytest.raises(InputError, match="unknown kind of instance"):
        Kind("EPX", 1, GPU)


def test_plans_know_their_price_by_term() -> None:
    data = FAMILIES["switching from a fleet"]
    plan = Plan(options(data)[0], np.array([[2], [1]]))
    assert plan.terms(data) == {"serving": 900.0, "starting": 0.0, "switching": 60.0}
    assert plan.to_json(data)["ready"] == [[2], [1]]
    assert isinstance(data, PlanData)
