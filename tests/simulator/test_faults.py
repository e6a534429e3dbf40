"""What goes wrong: drawn alike for all policies, survived or counted with its reason, as the reference has it."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import InputError
from slackwise.simulator import Cluster, Configuration, Objectives, Pool, Result, Simulation, result_of
from slackwise.simulator.faults import CRASH, LINK, SLOW, Fault, Faults, factors, fault_events, fault_orders
from slackwise.simulator.state import DOWN, DRAIN, OFF, READY, START
from slackwise.traces import Trace
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    ENGINES,
    GPU,
    TOPOLOGIES,
    Shape,
    apart,
    monolith,
    policies_of,
    random_simulation,
    trace_of,
)
from tests.simulator.test_equality import EVERY_POLICY, given_orders, run_both, shapes
from tests.simulator.watched import FAULT_CORNERS, Watched, differences

LOOSE = Objectives(1e3, 1e3, 1e3, 1e3)


def faulty(trace: Trace, cluster: Cluster, faults: Faults, *events: Fault, **names: str) -> Simulation:
    """A simulation of a cluster under faults."""
    run = Simulation(trace, Configuration("test", cluster, policies_of(**names), faults=faults), LOOSE)
    run.inject(events)
    return run


def checked(run: Simulation) -> Result:
    """The result of the run, with every invariant looked at and the reference held equal."""
    reference = Watched(run)
    run.run_until(check=True)
    reference.run(given_orders(run))
    assert differences(run, reference) == []
    return result_of(run)


# ---- crash


def test_a_request_whose_instance_crashes_is_computed_again_and_keeps_the_tokens_it_was_given() -> None:
    trace, crash = trace_of([(0.0, 0, 2000, 200)]), Fault(0.5, 0, CRASH, 3.0)
    alone = checked(faulty(trace, monolith(), Faults()))
    crashed = faulty(trace, monolith(), Faults(), crash)
    result = checked(crashed)
    assert alone.end_to_end_s[0] > 0.6
    assert result.ttft_s[0] == alone.ttft_s[0] < 0.5  # given before
    assert result.end_to_end_s[0] > 3.5 + alone.end_to_end_s[0] - 0.5  # the prompt and the tokens given again
    assert result.tbt_tokens.sum() == 199  # none twice
    assert crashed.state.progress.crashes[0] == 1
    assert result.failed == {}


def test_a_crash_sends_everybody_to_the_instance_that_is_left() -> None:
    trace = trace_of([(0.01 * at, 0, 2000, 30) for at in range(20)])
    run = faulty(trace, monolith(instances=2), Faults(), Fault(0.4, 0, CRASH, 1000.0))
    run.run_until(0.4)
    assert run.state.engines.status.tolist() == [DOWN, READY]
    assert run.state.instances.waiting[0] == run.state.instances.running[0] == 0
    assert run.state.instances.kv_used_tokens[0] == run.state.engines.kv_used_tokens[0] == 0
    result = checked(faulty(trace, monolith(instances=2), Faults(), Fault(0.4, 0, CRASH, 1000.0)))
    assert result.failed == {}
    assert result.verdict.word == "finished"


@pytest.mark.parametrize(("retries", "failed"), [(0, {"crashed": 1}), (1, {"crashed": 1}), (2, {})])
def test_a_request_survives_so_many_crashes_and_then_fails(retries: int, failed: dict[str, int]) -> None:
    crashes = [Fault(at_s, 0, CRASH, 0.05) for at_s in (0.1, 0.2)]
    result = checked(faulty(trace_of([(0.0, 0, 20_000, 5)]), monolith(), Faults(retries=retries), *crashes))
    assert result.failed == failed
    assert result.met.tolist() == [not failed]


def test_images_encoded_apart_are_not_encoded_again_but_their_embeddings_travel_again() -> None:
    trace, cluster = trace_of([(0.0, 2, 4000, 200)]), apart(CROSS_ATTENTION)
    run = faulty(trace, cluster, Faults(), Fault(0.8, 1, CRASH, 1.0))
    run.run_until(1.8)
    progress = run.state.progress[0]
    near = progress.encode_server == run.state.engines.server[1]
    assert run.state.clock[0].transfers == 1
    assert run.state.transfers.key[0] == 1.8 + (progress.near_transfer_s if near else progress.transfer_s) > 1.8
    run.run_until(check=True)
    assert run.state.progress.crashes[0] == 1
    assert run.state.instances.assigned.tolist() == [1, 2]  # one encode job, two prefills
    assert result_of(run).failed == {}


def test_images_that_the_crashed_instance_encoded_for_itself_are_encoded_again() -> None:
    run = faulty(trace_of([(0.0, 3, 4000, 300)]), monolith(DECODER_ONLY), Faults(), Fault(2.0, 0, CRASH, 1.0))
    run.run_until(2.0)
    assert run.state.requests.images_left[0] == 3
    run.run_until()
    assert run.state.progress.encoded_s[0] > 3.0
    assert run.state.progress.first_token_s[0] < 2.0


def test_jobs_of_a_crashed_encoder_are_cut_and_routed_again() -> None:
    trace = trace_of([(0.0, 8, 1000, 2)])
    run = faulty(trace, apart(encoders=2), Faults(), Fault(0.1, 0, CRASH, 1000.0), chunking="per_image")
    run.run_until(0.1)
    assert run.state.instances.waiting[0] == run.state.instances.pending_images[0] == 0
    assert run.state.instances.pending_images[1] == run.state.requests.images_left[0] > 2
    result = checked(faulty(trace, apart(encoders=2), Faults(), Fault(0.1, 0, CRASH, 9.0), chunking="per_image"))
    assert result.failed == {}


def test_a_crash_while_draining_releases_the_instance() -> None:
    trace = trace_of([(0.01 * at, 0, 2000, 30) for at in range(20)])
    run = faulty(trace, monolith(instances=2), Faults(), Fault(0.4, 0, CRASH, 1.0))
    run.run_until(0.3)
    assert run.drain(0) != []
    drained = int(np.flatnonzero(run.state.engines.status != READY)[0])
    if drained == 0:
        run.run_until(0.4)
        assert run.state.engines.status[0] == OFF
    run.run_until(check=True)
    assert result_of(run).failed == {}


# ---- slow steps and links


def test_a_straggler_takes_so_many_times_as_long_from_its_next_step_on() -> None:
    trace = trace_of([(0.0, 0, 100, 500)])
    run = faulty(trace, monolith(), Faults())
    alone = checked(run)
    slowed = checked(faulty(trace, monolith(), Faults(), Fault(0.0, 0, SLOW, 1e6, 3.0)))
    assert slowed.end_to_end_s[0] == pytest.approx(3 * alone.end_to_end_s[0], rel=1e-9)
    half_s = 0.5 * float(alone.end_to_end_s[0])
    late = checked(faulty(trace, monolith(), Faults(), Fault(half_s, 0, SLOW, 1e6, 3.0)))
    assert late.end_to_end_s[0] == pytest.approx(2 * alone.end_to_end_s[0], rel=0.01)
    spell = checked(faulty(trace, monolith(), Faults(), Fault(half_s, 0, SLOW, 0.3, 3.0)))
    assert spell.end_to_end_s[0] == pytest.approx(alone.end_to_end_s[0] + 0.2, rel=0.01)


def test_a_slow_link_makes_embeddings_and_kv_caches_travel_longer() -> None:
    cluster = Cluster(DECODER_ONLY, GPU, (Pool("E", 1), Pool("P", 1, 4), Pool("D", 1, 4)), link="tcp")
    trace = trace_of([(0.0, 2, 4000, 5)])
    plain = checked(faulty(trace, cluster, Faults()))
    run = faulty(trace, cluster, Faults(), Fault(0.0, 1, LINK, 1e6, 10.0))
    slow = checked(run)
    progress = run.state.progress[0]
    near = progress.encode_server == run.state.engines.server[1]
    at_once_s = progress.near_transfer_s if near else progress.transfer_s
    assert slow.ttft_s[0] - plain.ttft_s[0] == pytest.approx(9 * at_once_s, rel=1e-9)
    assert slow.end_to_end_s[0] - plain.end_to_end_s[0] > 9 * at_once_s  # the KV cache too


def test_of_several_spells_at_a_time_the_worst_counts() -> None:
    spells = [Fault(1.0, 0, SLOW, 4.0, 2.0), Fault(2.0, 0, SLOW, 1.0, 5.0), Fault(4.5, 0, SLOW, 2.0, 2.0)]
    assert factors(spells) == [(1.0, 2.0), (2.0, 5.0), (3.0, 2.0), (6.5, 1.0)]
    assert [order[0] for order in fault_orders([*spells, Fault(2.5, 1, CRASH, 9.0)])] == [1.0, 2.0, 2.5, 3.0, 6.5]


# ---- lost transfers


def test_a_lost_transfer_is_sent_again_after_the_timeout_and_lost_for_good_after_the_last_try() -> None:
    trace = trace_of([(0.5 * at, 1, 500, 3) for at in range(400)])
    whole = checked(faulty(trace.take(slice(0, 40)), apart(CROSS_ATTENTION), Faults()))
    run = faulty(trace, apart(CROSS_ATTENTION), Faults(loss=0.3, timeout_s=2.0, tries=3))
    run.run_until()
    result = result_of(run)
    assert result.failed["lost"] == pytest.approx(400 * 0.3**3, abs=4 * math.sqrt(400 * 0.3**3))
    kept = result.served[:40]
    later_s = (result.ttft_s[:40] - whole.ttft_s)[kept]
    lost_once = np.abs(later_s - 2.0) < 0.3
    assert 0.1 < lost_once.mean() < 0.4
    assert (later_s > -1e-9).all()


def test_no_transfer_arrives_if_all_are_lost_and_nothing_is_left_behind() -> None:
    cluster = Cluster(DECODER_ONLY, GPU, (Pool("EP", 1, 4), Pool("D", 1, 4)))
    run = faulty(trace_of([(0.0, 0, 500, 3)]), cluster, Faults(loss=1.0))
    result = checked(run)
    assert result.failed == {"lost": 1}
    assert np.isfinite(result.ttft_s[0])
    assert run.state.progress.failed_s[0] == pytest.approx(result.ttft_s[0] + 3.0)
    assert run.state.engines.kv_used_tokens.sum() == 0


# ---- late records, wrong estimates


def test_routers_see_records_as_old_as_their_samples() -> None:
    trace = trace_of([(0.002 * at, 0, 3000, 2) for at in range(12)])
    fresh = faulty(trace, monolith(instances=3), Faults())
    late = faulty(trace, monolith(instances=3), Faults(metrics_every_s=10.0))
    for run in (fresh, late):
        checked(run)
    assert fresh.state.instances.assigned.tolist() == [4, 4, 4]
    assert late.state.instances.assigned.tolist() == [12, 0, 0]  # as if all were idle


@pytest.mark.parametrize(("delay_s", "lag"), [(0.0, 0), (0.1, 1), (0.25, 3)])
def test_the_delay_is_rounded_up_to_whole_samples(delay_s: float, lag: int) -> None:
    trace = trace_of([(0.02 * at, 0, 3000, 2) for at in range(60)])
    run = faulty(trace, monolith(instances=3), Faults(metrics_every_s=0.1, metrics_delay_s=delay_s))
    assert len(run.state.samples) == lag + 1
    checked(run)
    assert run.state.clock[0].sampled > 10


def test_estimates_are_wrong_by_a_log_normal_and_nothing_else_changes() -> None:
    trace = trace_of([(0.01 * at, at % 3, 900, 20) for at in range(3000)])
    faults = Faults(estimate_sigma=0.5, estimate_bias=0.2)
    plain, wrong = (faulty(trace, monolith(DECODER_ONLY), each) for each in (Faults(), faults))
    ratio = np.log(wrong.state.requests.prefill_estimate_s / plain.state.requests.prefill_estimate_s)
    assert ratio.mean() == pytest.approx(0.2, abs=0.04)
    assert ratio.std() == pytest.approx(0.5, abs=0.03)
    assert (wrong.state.requests.estimate_sigma == 0.5).all()
    for name in ("deadline_s", "transfer_estimate_s", "prompt_tokens"):
        np.testing.assert_array_equal(wrong.state.requests[name], plain.state.requests[name])
    for run in (plain, wrong):
        run.run_until()
    np.testing.assert_array_equal(wrong.state.progress.finish_s, plain.state.progress.finish_s)  # under fcfs


# ---- drawn faults


def test_faults_are_drawn_by_instance_and_kind_whatever_the_policies_and_the_rest_of_the_cluster() -> None:
    faults = Faults(mtbf_s=200.0, repair_s=10.0, straggler_every_s=300.0, link_every_s=100.0)
    few, many = fault_events(faults, 2, 0.0, 1000.0, 7), fault_events(faults, 5, 0.0, 1000.0, 7)
    assert few == [each for each in many if each.instance < 2]
    assert {each.kind for each in few} == {CRASH, SLOW, LINK}
    assert fault_events(faults, 2, 0.0, 1000.0, 8) != few
    without = fault_events(Faults(mtbf_s=200.0, repair_s=10.0), 2, 0.0, 1000.0, 7)
    assert without == [each for each in few if each.kind == CRASH]
    crashes = [each.time_s for each in without if each.instance == 0]
    assert (np.diff(crashes) > 10.0).all()
    long = fault_events(Faults(mtbf_s=200.0, repair_s=10.0), 20, 0.0, 10_000.0, 1)
    assert len(long) == pytest.approx(20 * 10_000 / 210, rel=0.1)


def test_two_policies_face_the_same_faults() -> None:
    faults = Faults(mtbf_s=5.0, repair_s=1.0, loss=0.3, retries=100)
    trace = trace_of([(0.2 * at, at % 2, 800, 20) for at in range(100)])
    runs = [faulty(trace, apart(llms=3, encoders=2), faults, routing=name) for name in ("random", "least_requests")]
    orders = [run.state.orders.time_s[: run.state.clock[0].orders].tolist() for run in runs]
    assert orders[0] == orders[1] != []
    np.testing.assert_array_equal(*(run.state.progress.luck for run in runs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Faults(loss=1.5), "faults.loss = 1.5 is not allowed: 0 to 1"),
        (lambda: Faults(mtbf_s=0.0), "faults.mtbf_s = 0.0 is not allowed: 0 to inf, above 0"),
        (lambda: Faults(retries=1.5), "faults.retries = 1.5 must be a whole number"),  # type: ignore[arg-type]
        (lambda: Faults(repair_s=math.inf), "faults.repair_s = inf is not allowed"),
        (lambda: Faults(metrics_delay_s=1.0), "metrics_delay_s needs metrics_every_s"),
        (lambda: Fault(0.0, 0, "crush", 1.0), "unknown fault 'crush': did you mean 'crash'?"),
        (lambda: Fault(0.0, 0, CRASH, 0.0), "seconds above 0"),
        (lambda: Fault(0.0, 0, SLOW, 1.0, 0.0), "factor is above 0"),
    ],
)
def test_faults_that_cannot_be_are_refused(make: object, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        make()  # type: ignore[operator]


def test_faults_are_refused_of_an_instance_that_is_not_there_too_late_or_with_overlap() -> None:
    run = faulty(trace_of([(0.0, 0, 500, 3), (9.0, 0, 500, 3)]), monolith(), Faults())
    with pytest.raises(InputError, match="no instance 1: they go up to 0"):
        run.inject([Fault(1.0, 1, CRASH, 1.0)])
    run.run_until(5.0)
    with pytest.raises(InputError, match="a fault at 4 s comes too late: the run is at 5 s"):
        run.inject([Fault(4.0, 0, CRASH, 1.0)])
    overlapped = Cluster(DECODER_ONLY, GPU, (Pool("E", 1), Pool("PD", 1, 4)), overlap_tokens=100)
    for faults in (Faults(loss=0.1), Faults(mtbf_s=100.0)):
        with pytest.raises(InputError, match="together with overlap_tokens"):
            faulty(trace_of([(0.0, 1, 500, 3)]), overlapped, faults)


# ---- kernel and reference, invariants


def met_in(run: Simulation) -> Counter[str]:
    """What the reference meets in a run, which it has to agree with."""
    reference = Watched(run)
    run.run_until(check=True)
    reference.run(given_orders(run))
    assert differences(run, reference) == []
    return reference.met


def crash_while_draining() -> Counter[str]:
    """Of an instance with work, and again once it is released."""
    trace = trace_of([(0.01 * at, 0, 2000, 30) for at in range(20)])
    events = [Fault(0.4, 0, CRASH, 1.0), Fault(0.45, 0, CRASH, 1.0)]
    run = faulty(trace, monolith(instances=2), Faults(), *events)
    run.order(DRAIN, 0, at_s=0.3)
    return met_in(run)


def crash_while_loading() -> Counter[str]:
    """Of an instance that has been ordered."""
    trace = trace_of([(0.1 * at, 0, 2000, 30) for at in range(20)])
    cluster = Cluster(DECODER_ONLY, GPU, (Pool("EPD", 1, 4, most=2),))
    run = faulty(trace, cluster, Faults(), Fault(0.5, 1, CRASH, 0.7), Fault(0.6, 1, CRASH, 0.7))
    run.order(START, 1, 0.3, at_s=0.3)
    met = met_in(run)
    assert run.state.instances.assigned[1] > 0
    return met


def crash_with_embeddings_on_their_way() -> Counter[str]:
    """To an instance whose link is slow."""
    link = Fault(0.0, 1, LINK, 9.0, 900.0)
    run = faulty(trace_of([(0.0, 2, 1000, 5)]), apart(llms=2), Faults(), link, Fault(1.0, 1, CRASH, 1.0))
    return met_in(run)


def test_kernel_and_reference_agree_in_every_corner_of_the_faults() -> None:
    met: Counter[str] = Counter()
    for seed in range(40):
        topology, model = TOPOLOGIES[seed % 5], (CROSS_ATTENTION, DECODER_ONLY)[seed % 2]
        names = {"chunking": "per_image"} if seed % 3 else {}
        admission = ("admit_all", "drop_late", "relegate_late")[seed % 3]
        engine, changing = ENGINES[seed // 5 % 3], seed % 4 == 0
        shape = Shape(topology, model, engine, ENGINES[seed % 3], 30, seed % 4 == 1, bursts=seed % 2 == 0, names=names)
        shape = Shape(**vars(shape) | {"admission": admission, "troubled": True, "changing": changing})
        simulation, reference = run_both(shape, seed)
        assert differences(simulation, reference) == []
        met.update(reference.met)
    for case in (crash_while_draining, crash_while_loading, crash_with_embeddings_on_their_way):
        met.update(case())
    assert {corner: met[corner] for corner in FAULT_CORNERS if met[corner] < 1} == {}


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_kernel_and_reference_agree_under_faults_on_random_cases(shape: Shape, seed: int) -> None:
    simulation, reference = run_both(Shape(**vars(shape) | {"troubled": True}), seed)
    assert differences(simulation, reference) == []
    result = result_of(simulation)
    assert sum(result.failed.values()) + int(result.served.sum()) == len(result.arrival_s)
    assert result.verdict.word == "finished"


@pytest.mark.parametrize(("role", "name"), EVERY_POLICY[::4])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_invariant_holds_after_every_event_under_faults(role: str, name: str, seed: int) -> None:
    topology = {"decode": "E+P+D", "encode": "E+PD"}.get(role.split("_")[0], TOPOLOGIES[seed])
    shape = Shape(topology, requests=15, changing=seed == 0, names={role: name}, troubled=True)
    simulation = random_simulation(shape, seed + len(name))
    simulation.run_until(check=True)
    assert simulation.done


def test_a_run_under_faults_in_slices_and_after_a_snapshot_is_the_same_to_the_byte() -> None:
    shape = Shape("E+P+D", requests=40, chatty=True, troubled=True)
    whole, sliced = random_simulation(shape, 3), random_simulation(shape, 3)
    whole.run_until()
    middle_s = float(np.nanmedian(whole.state.progress.finish_s))
    sliced.run_until(middle_s)
    saved = sliced.snapshot()
    sliced.run_until()
    sliced.restore(saved)
    sliced.run_until()
    assert whole.state.progress.tobytes() == sliced.state.progress.tobytes()
    assert whole.state.instances.tobytes() == sliced.state.instances.tobytes()
