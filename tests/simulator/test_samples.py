"""A run looked at while it goes on is the same run; what lies idle in vain is told."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.simulator import Simulation
from slackwise.simulator.samples import Samples, fragmentation
from slackwise.simulator.state import DECODING, ENCODING, PREFILLING
from tests.simulator.cases import (
    DECODER_ONLY,
    OBJECTIVES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    shrink_memory,
    trace_of,
)


def run_sampled(run: Simulation, samples: int) -> Samples:
    """A run to its end, looked at."""
    watch = run.watch(samples)
    run.run_until()
    return watch.samples(run.state)


def test_looking_changes_nothing_and_runs_to_the_end() -> None:
    plain, sampled = (random_simulation(Shape("E+P+D", requests=60), 4) for _ in range(2))
    plain.run_until()
    samples = run_sampled(sampled, 50)
    assert sampled.done
    assert sampled.state.progress.tobytes() == plain.state.progress.tobytes()
    assert samples.waiting.shape == samples.idle.shape == (50, len(plain.state.instances))
    assert (np.diff(samples.time_s) > 0).all()
    members = [set(np.flatnonzero(samples.of_group(each))) for each in (ENCODING, PREFILLING, DECODING)]
    assert [len(each) for each in members] == plain.state.groups["count"].tolist()


def test_the_share_of_samples_that_see_an_instance_idle_is_its_idle_time() -> None:
    rows = [(0.37 * at, 0, 2000, 20) for at in range(200)]
    run = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES)
    samples = run_sampled(run, 2000)
    span_s = float(run.arrival_s[-1])
    assert samples.idle.mean() == pytest.approx(1 - run.state.engines.busy_s[0] / span_s, abs=0.02)


def test_a_queue_beside_an_idle_instance_is_idle_in_vain() -> None:
    rows = [(0.02 * at, 0, 2000, 2) for at in range(100)]
    found = {}
    for routing in ("busiest_instance", "least_requests"):
        run = Simulation(trace_of(rows), configuration(monolith(instances=4), routing=routing), OBJECTIVES)
        found[routing] = fragmentation(run_sampled(run, 400))["prefill"]["idle_gpus"]
    assert found["least_requests"] == 0.0
    assert 0.3 < found["busiest_instance"] <= 0.75  # three of four idle whenever someone waits


def test_free_memory_that_is_not_where_it_is_asked_for_is_stranded() -> None:
    """Two instances of 1,100 tokens, each with a request of 600 and more; 500 wait at the first."""
    rows = [(0.0, 0, 600, 300), (0.0, 0, 600, 300), (0.1, 0, 500, 600), (1.0, 0, 1, 1)]
    chosen = configuration(monolith(instances=2), routing="round_robin")
    run = Simulation(trace_of(rows), chosen, OBJECTIVES, image_context="keep")
    shrink_memory(run, spare_tokens=0)
    assert run.state.instances.kv_capacity_tokens.tolist() == [1100, 1100]
    samples = run_sampled(run, 10)  # at 0.05, 0.15 ... 0.95 s
    assert samples.kv_needed_tokens[:, 0].tolist() == [0, *[500] * 9]
    assert fragmentation(samples)["prefill"]["stranded_kv"] == pytest.approx(0.9 * 500 / 2200)


def test_encoders_have_no_memory_to_strand() -> None:
    run = Simulation(trace_of([(0.0, 1, 50, 3), (1.0, 0, 9, 2)]), configuration(apart(DECODER_ONLY)), OBJECTIVES)
    found = fragmentation(run_sampled(run, 5))
    assert found == {"encode": {"idle_gpus": 0.0}, "prefill": {"idle_gpus": 0.0, "stranded_kv": 0.0}}


def test_no_look_at_all_is_refused() -> None:
    run = random_simulation(Shape(requests=3), 0)
    with pytest.raises(InputError, match="at least once, not 0 times"):
        run.watch(0)
    with pytest.raises(InputError, match="nothing was looked at yet"):
        run.watch(5).samples(run.state)


def test_instances_that_are_off_are_not_idle() -> None:
    run = Simulation(
        trace_of([(float(at), 0, 50, 2) for at in range(20)]), configuration(monolith(instances=3)), OBJECTIVES
    )
    run.drain(0, 2)
    samples = run_sampled(run, 100)
    assert samples.ready.sum(axis=1).tolist() == [1] * 100
    assert not samples.idle[:, 1:].any()
