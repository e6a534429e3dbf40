"""Provisioning while a run goes on: what policies see, what becomes of their plans, under every registered policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.policies.features import ENCODE
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView
from slackwise.policies.registry import policies
from slackwise.simulator import (
    Cluster,
    Configuration,
    Objectives,
    Pool,
    Provisioning,
    Simulation,
    result_of,
    simulate,
    summary,
)
from slackwise.simulator.observation import Observer
from slackwise.simulator.service_rate import service_rates
from slackwise.simulator.state import READY
from tests.simulator.cases import CROSS_ATTENTION, DECODER_ONLY, GPU, OBJECTIVES, policies_of, trace_of
from tests.simulator.test_equality import given_orders
from tests.simulator.watched import Watched, differences

NAMES = [policy.name for policy in policies("provisioning")]
KINDS = {"monolith": ["EPD"], "E+PD": ["E", "PD"], "E+P+D": ["E", "P", "D"], "ED+P": ["ED", "P"]}
Rows = list[tuple[float, int, int, int]]


def waves(seconds: float = 240.0, seed: int = 3) -> Rows:
    """A trace with a burst of images in its middle third, and quiet before and after."""
    generator = np.random.default_rng(seed)
    rows, now = [], 0.0
    while now < seconds:
        burst = seconds / 3 < now < 2 * seconds / 3
        now += float(generator.exponential(0.15 if burst else 1.5))
        images = int(generator.integers(0, 4)) if burst else int(generator.random() < 0.2)
        rows.append((now, images, int(generator.integers(50, 3000)), int(generator.integers(1, 150))))
    return rows


def fleet(topology: str, name: str, **settings: Any) -> Configuration:
    """Two instances of each kind under a provisioning policy that is asked often."""
    pools = tuple(Pool(kind, 2, 1 if kind == "E" else 2) for kind in KINDS[topology])
    cluster = Cluster(DECODER_ONLY, GPU, pools)
    chosen = policies_of().changed([f"provisioning={name}"])
    provisioning = Provisioning(**{"interval_s": 2.0, "start_s": 3.0, "gpu_cap": cluster.gpus + 4} | settings)
    return Configuration("test", cluster, chosen, provisioning)


def scripted(*targets: tuple[int, ...], switch_s: float | None = None) -> Any:
    """A provisioner that follows a script, one line a turn, then keeps the last."""

    def provisioner(pools: Sequence[PoolView], now: float, memory: Memory) -> Plan:
        at = memory[0] if memory else 0
        return Plan(targets[min(at, len(targets) - 1)], (at + 1,), switch_s)

    return provisioner


def run_of(rows: Rows, configuration: Configuration, provisioner: Any, **options: Any) -> Simulation:
    return Simulation(trace_of(rows), configuration, OBJECTIVES, provisioner=provisioner, **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_keeps_every_invariant_and_agrees_with_the_reference(name: str) -> None:
    hold_both(fleet("E+PD", name, interval_s=0.5, start_s=0.7), waves(6.0), check=True)


@pytest.mark.parametrize("topology", ["monolith", "E+P+D", "ED+P"])
@pytest.mark.parametrize("name", ["modserve_ceil", "queue_ratio_move", "gain_cost"])
def test_kernel_and_reference_agree_on_other_topologies(name: str, topology: str) -> None:
    hold_both(fleet(topology, name, interval_s=1.0, start_s=1.5), waves(20.0), check=False)


def hold_both(configuration: Configuration, rows: Rows, check: bool) -> None:
    """Run the kernel and the reference on the same orders and compare."""
    simulation = Simulation(trace_of(rows), configuration, OBJECTIVES)
    reference = Watched(simulation)
    simulation.run_until(check=check)
    reference.run(given_orders(simulation))
    assert simulation.served
    assert differences(simulation, reference) == []
    assert max([0, *(tick.gpus for tick in result_of(simulation).fleet)]) <= configuration.cluster.gpus + 4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_fleet_in_one_run_in_slices_and_from_a_snapshot(name: str) -> None:
    def outcome(run: Simulation) -> tuple[Any, ...]:
        ticks = run.controller.memo.ticks if run.controller else ()
        return run.state.progress.tobytes(), run.state.engines.tobytes(), ticks

    whole, sliced = (Simulation(trace_of(waves()), fleet("E+PD", name), OBJECTIVES) for _ in range(2))
    whole.run_until()
    for until_s in np.arange(0.0, 130.0, 7.3):
        sliced.run_until(float(until_s))
    snapshot = sliced.snapshot()
    sliced.run_until()
    first = outcome(sliced)
    sliced.restore(snapshot)
    sliced.run_until()
    assert outcome(sliced) == first
    assert outcome(whole)[0] == first[0]
    assert outcome(whole)[2] == first[2]


@pytest.mark.parametrize("name", [each for each in NAMES if each not in ("fixed_ratio", "modserve_init")])
def test_every_policy_that_follows_the_load_changes_the_fleet(name: str) -> None:
    result = simulate(trace_of(waves(600.0)), fleet("E+PD", name), OBJECTIVES)
    assert sum(tick.started + tick.drained + tick.switched for tick in result.fleet) > 0
    found = summary(result)["fleet"]
    assert found["turns"] == len(result.fleet)
    assert found["started"] == sum(tick.started for tick in result.fleet)
    assert list(found["ready"]) == ["E", "PD"]


def test_a_fixed_fleet_takes_no_turns_and_costs_what_it_always_did() -> None:
    static = Configuration("static", fleet("E+PD", "fixed_ratio").cluster, policies_of())
    result = simulate(trace_of(waves(30.0)), static, OBJECTIVES)
    assert result.fleet == ()
    assert result.gpu_s == pytest.approx(6 * result.span_s)
    assert "fleet" not in summary(result)


def test_counts_of_fixed_ratio_are_brought_about() -> None:
    configuration = fleet("E+PD", "fixed_ratio")
    configuration = replace(configuration, policies=configuration.policies.changed(["provisioning.image=4"]))
    run = Simulation(trace_of(waves(30.0)), configuration, OBJECTIVES)
    run.run_until()
    assert [int((run.state.engines.status[run.state.engines.pool == pool] == READY).sum()) for pool in (0, 1)] == [4, 2]


def test_gpu_seconds_of_a_day_worked_by_hand() -> None:
    """Turns at 2, 4, 6 ... s after the first arrival at 10 s, starts of 3 s, one TP-2 instance to begin with."""
    pools = (Pool("EPD", 1, 2),)
    settings = Provisioning(interval_s=2.0, start_s=3.0, gpu_cap=6)
    configuration = Configuration("day", Cluster(DECODER_ONLY, GPU, pools), policies_of(), settings)
    rows = [(10.0 + at, 0, 50, 2) for at in range(30)]
    run = run_of(rows, configuration, scripted((1,), (3,), (3,), (2,), (3,), (1,)))
    run.run_until(check=True)
    # 12 s: 1; 14 s: two start, ready at 17 s; 18 s: one (idle) goes; 20 s: one starts; 22 s: its start is called off,
    # another goes; to the end: one
    end_s = float(run.state.progress.finish_s.max())
    assert run.state.engines.released_s.tolist()[1:] == [22.0, 22.0]
    held_s = (end_s - 10.0) + (22.0 - 14.0) + (18.0 - 14.0) + (22.0 - 20.0)
    assert result_of(run).gpu_s == pytest.approx(2 * held_s, rel=1e-12)
    ticks = result_of(run).fleet
    assert [tick.time_s for tick in ticks[:3]] == [12.0, 14.0, 16.0]
    assert [(tick.started, tick.drained) for tick in ticks[:6]] == [(0, 0), (2, 0), (0, 0), (0, 1), (1, 0), (0, 2)]
    assert [tick.ready for tick in ticks[:6]] == [(1,), (1,), (1,), (3,), (2,), (2,)]
    assert [tick.starting for tick in ticks[:6]] == [(0,), (0,), (2,), (0,), (0,), (1,)]


def test_a_start_takes_the_latency_model_s_time_unless_the_configuration_says_otherwise() -> None:
    configuration = fleet("monolith", "fixed_ratio", start_s=None, gpu_cap=8)
    run = run_of(waves(30.0), configuration, scripted((3,)))
    run.run_until(5.0)
    begun = run.state.engines.since_s[2]
    assert run.state.engines.ready_s[2] == pytest.approx(begun + run.costs[0].load_s)


def test_targets_are_kept_between_the_least_and_the_most() -> None:
    run = run_of(waves(10.0), fleet("E+PD", "fixed_ratio", least=2), scripted((0, 99)))
    run.run_until(check=True)
    tick = result_of(run).fleet[-1]
    assert tick.targets == (2, 4)  # 10 GPUs, of which 2 encoders keep 2
    assert tick.gpus <= 10


def test_the_cap_is_never_exceeded_and_whoever_lacks_most_goes_first() -> None:
    run = run_of(waves(12.0), fleet("E+PD", "fixed_ratio", gpu_cap=9), scripted((4, 3), (4, 4), (2, 4)))
    run.run_until(check=True)  # the checking mode looks at the cap after every event
    ticks = result_of(run).fleet
    # encoders first (half of them are missing); no room for text; one on what encoders left once they were empty
    assert [tick.started for tick in ticks[:2]] == [2, 0]
    assert sum(tick.started for tick in ticks[2:]) == 1
    assert max(tick.gpus for tick in ticks) == 8


def test_whoever_drains_is_called_back_before_anything_starts() -> None:
    rows = [(0.0, 0, 2000, 400)] * 8 + [(60.0, 0, 10, 1)]
    run = run_of(rows, fleet("monolith", "fixed_ratio"), scripted((2,), (1,), (2,)))
    run.run_until(6.0, check=True)
    ticks = result_of(run).fleet
    assert [(tick.started, tick.drained, tick.draining) for tick in ticks[:3]] == [
        (0, 0, (0,)),
        (0, 1, (0,)),
        (1, 0, (1,)),
    ]
    assert run.state.engines.status.tolist()[:2] == [READY, READY]


def test_the_last_ready_instance_stays_whatever_is_about_to_be_ready() -> None:
    def provisioner(pools: Sequence[PoolView], now: float, memory: Memory) -> Plan:
        return Plan((3,) if now < 3.0 else (1,))

    run = run_of(waves(20.0), fleet("monolith", "fixed_ratio", start_s=100.0), provisioner)
    run.order(2, 1)  # drained by someone else
    while not run.done:
        run.run_until(run.now_s + 0.5 if run.now_s > 0 else 1.0)
        assert (run.state.engines.status == READY).sum() >= 1 or run.done


def test_roles_are_switched_where_one_pool_shrinks_and_another_grows() -> None:
    run = run_of(waves(20.0), fleet("E+PD", "fixed_ratio", gpu_cap=6), scripted((2, 2), (4, 1), (2, 2), switch_s=0.5))
    run.run_until(check=True)
    ticks = result_of(run).fleet
    assert [tick.switched for tick in ticks[:4]] == [0, 1, 2, 0]
    assert sum(tick.started + tick.drained for tick in ticks) == 0
    again = run_of(waves(20.0), fleet("E+PD", "fixed_ratio", gpu_cap=6), scripted((2, 2), (4, 1)))
    again.run_until()
    assert sum(tick.switched for tick in result_of(again).fleet) == 0
    asked = fleet("E+PD", "fixed_ratio", gpu_cap=6, role_switch_s=1.0)
    forced = run_of(waves(20.0), asked, scripted((2, 2), (4, 1)))
    forced.run_until()
    assert sum(tick.switched for tick in result_of(forced).fleet) == 1


def test_what_a_policy_sees_is_what_there_is() -> None:
    rows = [(0.5 * at, at % 3, 600, 40) for at in range(100)]
    seen: list[tuple[float, tuple[PoolView, ...]]] = []

    def watch(pools: Sequence[PoolView], now: float, memory: Memory) -> Plan:
        seen.append((now, tuple(pools)))
        return Plan(tuple(pool.working for pool in pools))

    run = run_of(rows, fleet("E+PD", "fixed_ratio", interval_s=10.0), watch)
    run.run_until(20.0)
    now, (images, texts) = seen[1]
    assert now == 20.0
    assert (images.name, images.stages, images.gpus_per_instance, images.configured) == ("E", ENCODE, 1, 2)
    assert (texts.ready, texts.starting, texts.draining, texts.most, texts.gpu_cap) == (2, 0, 0, 4, 10)
    assert texts.running == run.state.instances.running[run.state.engines.pool == 1].sum()
    assert texts.start_s == 3.0
    minute = images.rates[0]
    assert minute.text_requests_per_s == pytest.approx(14 / 20)  # those of 0, 1.5, ... 19.5 s
    assert minute.images_per_s == pytest.approx((14 * 1 + 13 * 2) / 20)  # 27 of 41 arrived have images
    requests = run.state.requests[:41]
    assert minute.image_tokens_per_s == pytest.approx(requests.image_tokens.sum() / 20)
    assert images.rates[-1].median_images == np.median(requests.images[requests.images > 0])
    assert images.encode_s > 0 == texts.encode_s
    assert images.capacity_tokens_per_s == service_rates(run.configuration, OBJECTIVES)[0]
    assert 0 < images.utilisation < 1


def test_utilisation_is_the_share_of_the_interval_in_steps() -> None:
    rows = [(0.0, 0, 100, 2000), (50.0, 0, 10, 1)]
    run = run_of(rows, fleet("monolith", "fixed_ratio"), scripted((2,)))
    observer = Observer(run)
    run.run_until(1.0)
    first, seen = observer.look(observer.begin(), 1.0)
    run.run_until(2.0)
    second, _ = observer.look(seen, 2.0)
    assert first[0].utilisation == second[0].utilisation == pytest.approx(0.5)  # one of two decodes all the time
    assert (second[0].idle, second[0].running) == (1, 1)


def test_a_request_is_judged_once_at_its_first_token_or_at_its_deadline() -> None:
    objectives = Objectives(text_ttft_s=1.0, image_ttft_s=9.0, text_tbt_s=1.0, image_tbt_s=1e-9)
    rows = [(0.0, 0, 30_000, 40), (0.0, 0, 10, 40), (0.1, 1, 10, 40), (9.0, 0, 10, 1)]
    chosen = fleet("monolith", "fixed_ratio")
    run = Simulation(trace_of(rows), chosen, objectives, image_context="keep", provisioner=scripted((2,)))
    observer, seen, found = Observer(run), Observer(run).begin(), []
    for now in (0.9, 1.2, 8.0):
        run.run_until(now)
        views, seen = observer.look(seen, now)
        found.append((views[0].ttft_attainment, views[0].tbt_attainment))
    first_s, deadline_s = run.state.progress.first_token_s[:3], run.state.requests.deadline_s[:3]
    assert (first_s > deadline_s).tolist() == [True, False, False]
    assert first_s[0] > 1.2 > deadline_s[0] > 0.9 > first_s[1]
    assert 1.2 < first_s[2] < 8.0
    assert [each[0] for each in found] == [1.0, 0.0, 1.0]  # the late one once, at its deadline
    assert run.state.progress.finish_s[1] < 0.9
    assert found[0][1] == 1.0
    assert found[2][1] == 0.5  # of two that finish the one with an image is over its objective


def test_service_rates_follow_the_instance_and_the_objectives() -> None:
    configuration = Configuration("any", fleet("E+PD", "fixed_ratio").cluster, policies_of())
    loose, tight = (Objectives(5 * scale, 10 * scale, scale, scale) for scale in (1.0, 0.05))
    at_ease, pressed = (service_rates(configuration, each) for each in (loose, tight))
    assert all(one > other > 0 for one, other in zip(at_ease, pressed, strict=True))
    encoder = configuration.cluster.costs(configuration.cluster.pools[0])
    tiles = 5 * encoder.record["encode_s_per_tile"]  # of an image of 896 x 896 in one request
    assert at_ease[0] < 1280 / tiles  # tokens of an image over its time: never more than that
    cross = replace(configuration, cluster=replace(configuration.cluster, model=CROSS_ATTENTION))
    assert service_rates(cross, loose) != at_ease


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval_s": 0.0}, "interval_s = 0.0 must be positive"),
        ({"start_s": -1.0}, "start_s = -1.0 must be 0 or more"),
        ({"least": 0}, "least = 0 must be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Provisioning(**settings)


def test_a_cap_below_the_fleet_is_refused() -> None:
    with pytest.raises(InputError, match="gpu_cap = 5 is less than the 6 GPUs that the cluster begins with"):
        Simulation(trace_of(waves(10.0)), fleet("E+PD", "gain_cost", gpu_cap=5), OBJECTIVES)
