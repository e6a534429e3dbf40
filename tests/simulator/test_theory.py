"""What is known of queues holds of the simulator: exact recursions, mean waits, conservation, monotonicity.

Mean waits are random: they are held to the formula within four standard errors of batch means (a chance of 1 in 1,000
under Student's t with 19 degrees of freedom, and the seeds are fixed), and these errors to a few per cent of the wait,
so that a rule that is wrong by more would be seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.simulator import Simulation, isolated, simulate
from slackwise.simulator.invariants import next_event_s
from slackwise.streams import stream
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    OBJECTIVES,
    TOPOLOGIES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    random_trace,
    trace_of,
)
from tests.simulator.queueing_theory import (
    Seconds,
    batch_means,
    erlang_wait_s,
    exponential,
    general_wait_s,
    kiefer_wolfowitz,
    poisson,
    queue,
    services,
    waits,
)

ERRORS = 4.0


def agree(measured_s: Seconds, expected_s: float, precision: float) -> None:
    """The mean is the expected one within ERRORS standard errors, each within `precision` of it."""
    mean_s, error_s = batch_means(measured_s)
    assert error_s < precision * expected_s
    assert abs(mean_s - expected_s) < ERRORS * error_s


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_each_customer_waits_as_long_as_the_recursion_says(servers: int) -> None:
    arrival_s = poisson("recursion", 0.9 * servers, 3000)
    run = queue(arrival_s, exponential("recursion", 1.0, 3000), servers, routing="predicted_completion")
    expected_s = kiefer_wolfowitz(arrival_s, services(run), servers)
    assert (expected_s > 0).mean() > 0.5
    np.testing.assert_allclose(waits(run), expected_s, atol=1e-6)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_mean_wait_of_constant_services_is_that_of_m_d_1(load: float) -> None:
    run = queue(poisson("M/D/1", load, 300_000), np.ones(300_000))
    agree(waits(run), load / (2 * (1 - load)), precision=0.02)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.7), (8, 0.8)])
def test_the_mean_wait_of_exponential_services_is_that_of_m_m_c(servers: int, load: float) -> None:
    arrival_s = poisson("M/M/c", load * servers, 300_000)
    run = queue(arrival_s, exponential("M/M/c", 1.0, 300_000), servers, routing="predicted_completion")
    agree(waits(run), erlang_wait_s(load * servers, 1.0, servers), precision=0.04)


def test_random_routing_makes_as_many_m_m_1_queues_as_there_are_instances() -> None:
    run = queue(poisson("split", 2.4, 300_000), exponential("split", 1.0, 300_000), servers=4, routing="random")
    agree(waits(run), erlang_wait_s(0.6, 1.0, 1), precision=0.03)
    for each in range(4):
        agree(waits(run)[run.state.progress.instance == each], erlang_wait_s(0.6, 1.0, 1), precision=0.05)


@pytest.mark.parametrize("batching", ["fcfs", "sjf"])
def test_short_ones_first_wait_as_the_formula_of_priorities_says(batching: str) -> None:
    count, rate = 300_000, 0.4
    long = stream(0, "priority services").random(count) < 0.3
    run = queue(poisson("priority", rate, count), np.where(long, 4.0, 0.75), batching=batching)
    service_s = services(run)
    if batching == "fcfs":
        agree(waits(run), general_wait_s(rate, service_s), precision=0.02)
        return
    rest_s = rate * (service_s**2).mean() / 2  # of the service that is found running (Cobham 1954)
    short_load, load = rate * service_s[~long].sum() / count, rate * service_s.mean()
    agree(waits(run)[~long], rest_s / (1 - short_load), precision=0.02)
    agree(waits(run)[long], rest_s / (1 - short_load) / (1 - load), precision=0.04)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_time_average_of_requests_inside_is_the_rate_times_their_mean_time(topology: str) -> None:
    run = random_simulation(Shape(topology, requests=60, scarce=True), seed=7)
    begin_s = now_s = float(run.state.requests.arrival_s[0])
    area = 0.0  # seconds of all requests, by looking at how many are inside between any two events (Little 1961)
    while (event_s := next_event_s(run.state)) < np.inf:
        inside = run.state.clock[0].next_arrival - run.state.clock[0].finished
        area += inside * (event_s - now_s)
        run.run_until(event_s)
        now_s = event_s
    span_s = now_s - begin_s
    time_s = run.state.progress.finish_s - run.ready_s  # since they reached the router
    assert area / span_s == pytest.approx(len(time_s) / span_s * time_s.mean(), rel=1e-9)


def test_an_instance_is_busy_for_the_rate_times_the_mean_service() -> None:
    run = queue(poisson("busy", 1.5, 20_000), exponential("busy", 1.0, 20_000), servers=2)
    assert run.state.engines.busy_s.sum() == pytest.approx(services(run).sum(), rel=1e-9)
    arrived = np.bincount(run.state.progress.instance, minlength=2)
    assert run.state.instances.assigned.tolist() == run.state.instances.steps.tolist() == arrived.tolist()


def speed_up(run: Simulation, factor: float) -> None:
    """Let every step take `factor` of its time."""
    run.state.pools.linear_s *= factor
    for name in run.state.costs.dtype.names:
        run.state.costs[name] *= 1.0 if name == "text_only_share" else factor


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    factor=st.floats(0.1, 1.0),
    instances=st.integers(1, 3),
    engine=st.sampled_from(["vllm", "vllm-0.7"]),
)
def test_faster_steps_delay_nobody_who_is_served_one_at_a_time(
    seed: int, factor: float, instances: int, engine: str
) -> None:
    chosen = configuration(monolith(DECODER_ONLY, engine, instances), routing="round_robin")
    trace = random_trace(Shape(requests=40), stream(seed, "monotonicity"))
    slow, fast = (Simulation(trace, chosen, OBJECTIVES) for _ in range(2))
    speed_up(fast, factor)
    for run in (slow, fast):
        run.state.pools.max_sequences = 1
        run.run_until()
    assert (fast.state.progress.first_token_s <= slow.state.progress.first_token_s + 1e-9).all()
    assert (fast.state.progress.finish_s <= slow.state.progress.finish_s + 1e-9).all()


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    model=st.sampled_from([CROSS_ATTENTION, DECODER_ONLY]),
    instances=st.integers(1, 3),
    separate=st.booleans(),
)
def test_a_faster_gpu_never_lowers_attainment_under_fcfs(seed: int, model: str, instances: int, separate: bool) -> None:
    cluster = apart(model, encoders=2, llms=instances) if separate else monolith(model, instances=instances)
    trace = random_trace(Shape(requests=200), stream(seed, "faster GPU"))
    found = [
        simulate(trace, configuration(replace(cluster, gpu=gpu)), isolated(cluster)).met.mean()
        for gpu in ("A100-80GB", "H100")
    ]
    assert found[0] <= found[1]


def test_faster_steps_may_delay_one_who_is_batched() -> None:
    """Why the property above is of whole GPUs or of single service: batches have anomalies (Graham 1969).

    While the first is served for a second the two others come and share the second step; a first step of 0.98 s ends
    before they come, and the later of the two just misses the step of the other.
    """
    rows = [(0.0, 0, 1, 1), (0.99, 0, 1, 1), (0.995, 0, 1, 1)]
    finish_s = []
    for factor in (1.0, 0.98):
        run = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES)
        run.state.costs.step_s, run.state.pools.linear_s = factor, 0.0
        run.state.costs.text_only_share, run.state.costs.attention_s_per_pair = 1.0, 0.0
        run.run_until()
        finish_s.append(run.state.progress.finish_s.tolist())
    assert finish_s == [pytest.approx([1.0, 2.0, 2.0]), pytest.approx([0.98, 1.97, 2.95])]
