"""Provisioning over a live fleet: the bundle's decision, guarded; views from reports; a bundle that changes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray.autoscaling import Autoscaling
from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import MOST_BYTES, Bundle, Store, parse_bundle
from slackwise.adapters.ray.provisioning import FAILED, HELD, POLICY, Guard
from slackwise.adapters.ray.telemetry import Telemetry
from slackwise.adapters.ray.views import ArrivalLog, PoolState, views_of
from slackwise.errors import InputError
from slackwise.policies.bundle import Policies
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.golden_plan import planned
from slackwise.policies.learned.actor import write_actor
from slackwise.policies.provisioning.pool import WINDOWS_S, PoolView, Rates
from slackwise.simulator import preset
from tests.actors import logits, provisioner

from .bundles import bundle

SIZES = (FleetPool("e", ENCODE, 1, 1, 1, 6), FleetPool("pd", PREFILL | DECODE, 1, 2, 1, 3))


def policies(*settings: str) -> Policies:
    return preset("modserve", "InternVL2.5-26B", "A100-80GB", 16).policies.changed(settings)


def fixed(image: int, text: int) -> Policies:
    return policies("provisioning=fixed_ratio", f"provisioning.image={image}", f"provisioning.text={text}")


def views(e: int, pd: int, starting: int = 0, draining: int = 0) -> tuple[PoolView, ...]:
    states = [PoolState(e, starting, draining, {}), PoolState(pd, 0, 0, {})]
    return views_of(SIZES, states, (), (0.0, 0.0), 8, 0.0)


def settled(guard: Guard, e: int, pd: int) -> list[tuple[int, int]]:
    """The fleets from (e, pd) on when every decision is carried out at once."""
    fleets = [(e, pd)]
    for _ in range(20):
        e, pd = guard.decide(views(*fleets[-1]), 0.0).targets
        if (e, pd) == fleets[-1]:
            break
        fleets.append((e, pd))
    return fleets


def test_the_fleet_reaches_what_the_policy_wants_one_instance_at_a_time() -> None:
    fleets = settled(Guard(fixed(4, 2), SIZES, 8), 1, 1)
    assert fleets[-1] == (4, 2)
    moves = [abs(a - c) + abs(b - d) for (a, b), (c, d) in pairwise(fleets)]
    assert set(moves) == {1}


def test_gpus_are_freed_before_they_are_taken_and_the_budget_holds_throughout() -> None:
    fleets = settled(Guard(fixed(6, 1), SIZES, 8), 2, 3)
    assert fleets[-1] == (6, 1)
    assert all(e + 2 * pd <= 8 for e, pd in fleets)
    assert fleets[1] == (2, 2), "text drains first: no GPU is free"


def test_nothing_moves_while_an_instance_starts_or_drains() -> None:
    guard = Guard(fixed(4, 2), SIZES, 8)
    for changing in (views(1, 1, starting=1), views(1, 1, draining=1)):
        decision = guard.decide(changing, 0.0)
        assert decision.reason == HELD
        assert decision.targets == tuple(view.working for view in changing)


def test_targets_keep_to_bounds_and_budget_whatever_the_policy_says() -> None:
    assert Guard(fixed(1024, 1024), SIZES, 8).decide(views(1, 1), 0.0).wanted == (4, 2)
    tight = tuple(FleetPool(each.name, each.stages, 1, each.tensor_parallel, 1, 2) for each in SIZES)
    assert Guard(fixed(1024, 1024), tight, 64).decide(views(1, 1), 0.0).wanted == (2, 2)


@pytest.mark.parametrize("answer", [RuntimeError("no"), (float("nan"), 1), (1,), ("many", 1), None])
def test_a_policy_that_fails_leaves_the_last_good_decision(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    guard = Guard(fixed(2, 1), SIZES, 8)
    assert guard.decide(views(1, 1), 0.0).wanted == (2, 1)

    def failing(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return type("Plan", (), {"targets": answer, "memory": ()})()

    monkeypatch.setattr("slackwise.adapters.ray.provisioning.planned", failing)
    decision = guard.decide(views(1, 1), 1.0)
    assert (decision.wanted, decision.reason) == ((2, 1), FAILED)
    assert decision.targets == (2, 1)
    assert decision.complaint


def test_the_decision_is_the_one_that_the_policy_gives_in_the_simulator() -> None:
    chosen = policies("provisioning=horizontal_autoscaler", "provisioning.metric=requests")
    busy = {"a": {"waiting": 30.0, "running": 4.0}}
    seen = views_of(SIZES, [PoolState(1, 0, 0, busy), PoolState(1, 0, 0, {})], (), (0.0, 0.0), 8, 0.0)
    decision = Guard(chosen, SIZES, 8).decide(seen, 0.0)
    assert decision.wanted == planned(chosen, seen, 0.0, ()).targets == (5, 1)
    assert (decision.targets, decision.reason) == ((2, 1), POLICY)


def test_a_rolling_milp_provisions_a_live_fleet() -> None:
    pytest.importorskip("ortools")
    pytest.importorskip("statsmodels")
    chosen = policies("provisioning=forecast_ilp", "provisioning.step_s=60")
    rates = tuple(
        Rates(window_s, images_per_s=4.0, image_tokens_per_s=900.0, text_tokens_per_s=10.0) for window_s in WINDOWS_S
    )
    states = [PoolState(1, 0, 0, {}), PoolState(1, 0, 0, {})]
    seen = views_of(SIZES, states, rates, (300.0, 2000.0), 12, 0.0)
    guard = Guard(chosen, SIZES, 12)
    decision = guard.decide(seen, 0.0)
    assert (decision.reason, decision.complaint) == (POLICY, "")
    assert decision.wanted[0] >= 3, "900 image tokens/s need three encoders of 300"
    assert decision.wanted == planned(chosen, seen, 0.0, ()).targets
    assert guard.memory, "it remembers what it saw"


def test_a_learned_actor_provisions_a_live_fleet(tmp_path: Path) -> None:
    write_actor(tmp_path / "actor.json", provisioner(logits(4, 2, 0)))
    chosen = policies(f"provisioning={tmp_path / 'actor.json'}")
    seen = views(2, 2)
    decision = Guard(chosen, SIZES, 12).decide(seen, 0.0)
    assert (decision.reason, decision.complaint) == (POLICY, "")
    assert decision.wanted == planned(chosen, seen, 0.0, ()).targets == (4, 2)


def test_rates_count_what_arrived_in_the_window_though_replicas_begin_again() -> None:
    log = ArrivalLog()
    log.look({"a": {"images": 100.0}}, 0.0)
    for second in range(1, 121):
        count = 100.0 + 2.0 * second if second < 100 else 2.0 * (second - 99)
        log.look({"a": {"images": count}}, float(second))
    minute, longer = log.rates(120.0)[:2]
    assert minute.images_per_s == pytest.approx(2.0)
    assert longer.images_per_s == pytest.approx(240 / 120), "what came before the first look was counted"


def test_bad_numbers_of_a_report_count_as_none() -> None:
    reports: Any = {"a": {"waiting": float("nan"), "running": "3", "backlog_s": -1.0, "busy": float("inf")}, "b": {}}
    view = views_of(SIZES[:1], [PoolState(2, 0, 0, reports)], (), (0.0,), 8, 0.0)[0]
    assert (view.waiting, view.running, view.backlog_s, view.utilisation, view.idle) == (0, 0, 0.0, 0.0, 2)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bundle(tmp_path_factory.mktemp("hot") / "winner.json").read_text(encoding="utf-8")


def changed(text: str, **changes: Any) -> str:
    return json.dumps(json.loads(text) | changes)


def test_a_new_bundle_is_taken_and_a_bad_one_is_not(text: str) -> None:
    current = Bundle(text)
    assert current.take(changed(text, scores={"name": "second"}))
    assert current.winner.scores == {"name": "second"}
    for bad in ("{", "[]", changed(text, policies={}), changed(text, surprise=1)):
        assert not current.take(bad)
        assert current.error
    assert (current.winner.scores, current.version) == ({"name": "second"}, 2)


def test_a_bundle_is_data_no_module_is_imported_and_its_size_is_limited(text: str) -> None:
    document = json.loads(text)
    document["policies"]["routing"] = {"name": "os:system", "knobs": {}}
    with pytest.raises(InputError, match="names a module"):
        parse_bundle(json.dumps(document))
    with pytest.raises(InputError, match="bytes"):
        parse_bundle(" " * (MOST_BYTES + 1))


def test_the_store_hands_out_a_text_once_and_keeps_it_when_a_bad_one_is_put(text: str) -> None:
    store = Store(text)
    assert store.get(0) == (1, text)
    assert store.get(1) == (1, None)
    with pytest.raises(InputError):
        store.put("{")
    assert store.get(0) == (1, text)
    assert store.put(text) == 2


class Context:
    """As much of Ray's AutoscalingContext as is read."""

    def __init__(self, name: str, running: int, target: int) -> None:
        self.deployment_name, self.running_replicas, self.target_num_replicas = name, ["r"] * running, target
        self.raw_metrics: dict[str, Any] = {}


@pytest.mark.parametrize("advisory", [False, True])
def test_a_call_of_rays_controller_returns_the_last_decision_or_nothing(
    monkeypatch: pytest.MonkeyPatch, text: str, advisory: bool
) -> None:
    monkeypatch.setattr(Autoscaling, "_run", lambda _: None)
    policy = Autoscaling("b", [vars(each) for each in SIZES], 8, advisory)
    contexts = {"key-e": Context("e", 1, 1), "key-pd": Context("pd", 1, 1), "key-i": Context("ingress", 1, 1)}
    assert policy(contexts) == ({}, {})
    current = Bundle(text)
    current.winner = replace(current.winner, policies=fixed(4, 2))
    policy._turn(Decider(current, SIZES, 8), Telemetry(), {})
    assert policy.shown["pools"]["e"]["wanted"] == 4
    assert policy.decision is not None
    assert policy.decision.wanted == (4, 2)
    assert policy(contexts)[0] == ({} if advisory else {"key-e": 2, "key-pd": 1})
    assert policy({"broken": object()}) == ({}, {})
