"""Who is dropped or demoted, when, and what that frees; worked by hand on small cases."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from slackwise.policies.bundle import PolicyChoice
from slackwise.simulator import Objectives, Simulation, result_of, simulate
from slackwise.simulator.state import DROPPED
from slackwise.traces import Trace
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    ENGINES,
    TOPOLOGIES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    trace_of,
)
from tests.simulator.test_equality import given_orders, run_both
from tests.simulator.watched import ADMISSION_CORNERS, Watched, differences

HALF_A_SECOND = Objectives(0.5, 0.5, 9.0, 9.0)
BOUNDED = PolicyChoice("bounded_queue", {"waiting": 2})


def prompts(count: int, tokens: int, every_s: float = 0.0) -> Trace:
    """Text requests of one token each."""
    return trace_of([(at * every_s, 0, tokens, 1) for at in range(count)])


def test_who_cannot_be_in_time_alone_is_dropped_at_arrival_and_nothing_runs() -> None:
    run = Simulation(prompts(3, 100_000), configuration(monolith(), admission="drop_late"), HALF_A_SECOND)
    run.run_until(check=True)
    assert run.state.progress.failed_s.tolist() == [0.0, 0.0, 0.0]
    assert run.state.instances.steps.sum() == run.state.instances.waiting.sum() == 0
    assert result_of(run).failed == {"dropped": 3}


def test_late_requests_are_dropped_as_soon_as_they_head_the_queue_and_the_rest_is_in_time() -> None:
    trace = prompts(40, 2048)  # a whole step each
    kept = simulate(trace, configuration(monolith(DECODER_ONLY), admission="admit_all"), HALF_A_SECOND)
    saved = simulate(trace, configuration(monolith(DECODER_ONLY), admission="drop_late"), HALF_A_SECOND)
    in_time = int(kept.met.sum())
    assert 0 < in_time < 40
    assert saved.met.sum() == in_time
    assert saved.failed == {"dropped": 40 - in_time}
    assert np.isinf(saved.ttft_s[in_time:]).all()


def test_the_demoted_wait_until_nobody_else_does_and_then_in_order_of_arrival() -> None:
    burst = [(0.0, 0, 2048, 1)] * 20  # of whom the last cannot be in time
    later = [(0.4, 0, 2048, 1)] * 3  # who can
    trace, chosen = trace_of(burst + later), configuration(monolith(DECODER_ONLY), admission="relegate_late")
    run = Simulation(trace, chosen, HALF_A_SECOND)
    run.run_until(check=True)
    demoted, first_s = run.state.progress.demoted == 1, run.state.progress.first_token_s
    assert demoted[:20].any()
    assert not demoted[20:].any()
    assert first_s[20:].max() < first_s[demoted].min()
    assert (np.diff(first_s[demoted]) > 0).all()
    assert result_of(run).failed == {}


def test_a_bounded_queue_keeps_two_waiting_and_turns_the_rest_away() -> None:
    run = Simulation(prompts(10, 2048), configuration(monolith(), admission=BOUNDED), HALF_A_SECOND)
    run.run_until(check=True)
    assert run.state.progress.failure.tolist() == [0, 0] + [DROPPED] * 8
    assert run.state.instances.assigned[0] == 10  # all were routed there


def test_what_is_too_much_for_the_encoders_is_not_encoded() -> None:
    rows = [(0.0, 2, 1000, 1)] * 8
    chosen = configuration(apart(encoders=2), chunking="per_image", admission=BOUNDED)
    run = Simulation(trace_of(rows), chosen, HALF_A_SECOND)
    run.run_until(check=True)
    assert run.state.progress.failure.tolist() == [0, 0] + [DROPPED] * 6  # two jobs wait on each encoder
    assert np.isnan(run.state.progress.encoded_s[2:]).all()
    assert len(run.state.jobs) == run.state.clock[0].free_jobs


def test_nobody_is_dropped_who_has_been_given_a_token() -> None:
    rows = [(0.02 * at, 0, 40, 150) for at in range(20)]
    run = Simulation(trace_of(rows), configuration(monolith(), admission="drop_late"), Objectives(9.0, 9.0, 9.0, 9.0))
    instances = run.state.instances
    instances.kv_capacity_tokens[instances.kv_capacity_tokens > 0] = 250
    run.run_until(check=True)
    late = run.state.progress.finish_s > run.state.requests.deadline_s
    assert (run.state.progress.preemptions[late] > 0).any()
    assert (run.state.progress.failure[~np.isnan(run.state.progress.first_token_s)] == 0).all()


def crowded_encoders(encoders: int) -> Counter[str]:
    """Requests of four jobs each, of whom some become late between their first job and their last; what was met."""
    rows = [(0.05 * at, 4, 1000, 2) for at in range(24)]
    chosen = configuration(apart(encoders=encoders), chunking="per_image", admission="drop_late")
    run = Simulation(trace_of(rows), chosen, Objectives(1.0, 1.0, 9.0, 9.0))
    reference = Watched(run)
    run.run_until(check=True)
    reference.run(given_orders(run))
    assert differences(run, reference) == []
    return reference.met


def test_kernel_and_reference_agree_in_every_corner_of_admission() -> None:
    met: Counter[str] = Counter()
    for seed in range(45):
        admission = ("drop_late", "relegate_late", "bounded_queue")[seed % 3]
        topology, model = TOPOLOGIES[seed // 3 % 5], (CROSS_ATTENTION, DECODER_ONLY)[seed % 2]
        names = {"chunking": "per_image", "encode_batching": "sjf"} if seed % 4 else {}
        engine = ENGINES[seed // 5 % 3]
        shape = Shape(topology, model, engine, ENGINES[seed % 3], 40, bursts=True, names=names, admission=admission)
        simulation, reference = run_both(shape, seed)
        assert differences(simulation, reference) == []
        met.update(reference.met)
    for encoders in (2, 3):
        met.update(crowded_encoders(encoders))
    assert {corner: met[corner] for corner in ADMISSION_CORNERS if met[corner] < 3} == {}


@pytest.mark.parametrize("admission", ["drop_late", "relegate_late", "bounded_queue"])
@pytest.mark.parametrize("topology", ["E+PD", "E+P+D", "monolith"])
def test_every_invariant_holds_while_requests_are_given_up(admission: str, topology: str) -> None:
    cluster = random_simulation(Shape(topology, requests=1), seed=7).configuration.cluster
    checked = Simulation(
        trace_of([(0.1 * (at // 8), at % 4, 1500, 1 + at % 30) for at in range(60)]),
        configuration(cluster, chunking="per_image", admission=_tight(admission)),
        Objectives(0.3, 0.5, 0.1, 0.1),
    )
    checked.run_until(check=True)
    assert checked.done
    assert checked.state.clock[0].failed > 0 or checked.state.progress.demoted.any()


def _tight(admission: str) -> PolicyChoice:
    return BOUNDED if admission == "bounded_queue" else PolicyChoice(admission)
