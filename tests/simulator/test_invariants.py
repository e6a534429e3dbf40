"""What must hold of a state holds after every event, under every policy; and a broken state is told by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.errors import CheckError
from slackwise.simulator import Simulation
from slackwise.simulator.invariants import INVARIANTS, check, next_event_s, ready_counted
from slackwise.simulator.recount import Numbers, Recount
from slackwise.simulator.state import DRAINING, OFF, State
from slackwise.simulator.transfer import KIND_BITS, TO_QUEUE
from tests.simulator.cases import (
    CROSS_ATTENTION,
    DECODER_ONLY,
    ENGINES,
    OBJECTIVES,
    Shape,
    apart,
    configuration,
    monolith,
    random_simulation,
    shrink_memory,
    trace_of,
)
from tests.simulator.test_equality import EVERY_POLICY, shapes

Corruption = Callable[[State], None]


@pytest.mark.parametrize(("role", "name"), EVERY_POLICY)
def test_every_invariant_holds_after_every_event_under_every_policy(role: str, name: str) -> None:
    encoding = role.startswith("encode") or role == "chunking"
    topology = "E+P+D" if role == "decode_routing" else "E+PD" if encoding else "monolith"
    shape = Shape(topology, requests=15, chatty=not encoding, scarce=not encoding, names={role: name})
    simulation = random_simulation(shape, seed=len(name))
    simulation.run_until(check=True)
    assert simulation.done


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("model", [CROSS_ATTENTION, DECODER_ONLY])
def test_every_invariant_holds_after_every_event_with_preemptions(engine: str, separate: bool, model: str) -> None:
    cluster = apart(model, engine, encoder="vllm") if separate else monolith(model, engine)
    rows = [(0.02 * at, int(at == 1), 40, 150) for at in range(20)]
    simulation = Simulation(trace_of(rows), configuration(cluster), OBJECTIVES)
    shrink_memory(simulation, spare_tokens=20)
    simulation.run_until(check=True)
    assert simulation.done
    assert simulation.state.progress.preemptions.sum() >= 5
    assert separate or simulation.state.progress.preemptions[1] > 0  # the one with an image


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(shape=shapes, troubled=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_every_invariant_holds_after_every_event_of_random_cases(shape: Shape, troubled: bool, seed: int) -> None:
    simulation = random_simulation(replace(shape, requests=min(shape.requests, 15), troubled=troubled), seed)
    simulation.run_until(check=True)
    assert simulation.served


def places(state: State) -> dict[str, Numbers]:
    return Recount(state).places()


def busy_simulation() -> Simulation:
    """A simulation at a time at which every place has requests in it (none parked or failed); all invariants hold."""
    generator = np.random.default_rng(3)
    rows = [(0.15 * at, int(at % 3), int(generator.integers(200, 4000)), 30 + 5 * at) for at in range(60)]
    simulation = Simulation(trace_of(rows), configuration(apart(DECODER_ONLY, encoders=2)), OBJECTIVES)
    simulation.state.pools.max_sequences = 4
    while any(len(found) == 0 for name, found in places(simulation.state).items() if name not in ("parked", "failed")):
        assert next_event_s(simulation.state) < np.inf, "no such time"
        simulation.run_until(next_event_s(simulation.state))
    check(simulation.state)
    return simulation


def test_the_busy_state_leaves_no_invariant_without_something_to_hold() -> None:
    state = busy_simulation().state
    assert (state.instances.pending_tiles > 0).any()
    assert state.engines.kv_used_tokens[2] > state.engines.decode_kv_tokens[2] > 0
    assert state.tbt.tokens.sum() > 0


def llm_engine(field: str, change: float) -> Corruption:
    def corrupt(state: State) -> None:
        state.engines[field][2] += change

    return corrupt


def seen(field: str, instance: int, change: float = 1) -> Corruption:
    def corrupt(state: State) -> None:
        state.instances[field][instance] += change

    return corrupt


def lose_a_waiting_request(state: State) -> None:
    state.engines.queued[2] -= 1


def put_a_request_in_two_places(state: State) -> None:
    state.transfers.ident[0] = int(state.queues.ident[2, 0]) << KIND_BITS | TO_QUEUE


def count_a_finish_too_many(state: State) -> None:
    state.clock[0].finished += 1


def lose_a_job(state: State) -> None:
    state.engines.work[int(np.argmax(state.engines.work[:2]))] -= 1


def queue_less_than_nothing(state: State) -> None:
    state.engines.queued_jobs[1] = -1


def queue_more_than_there_is_room(state: State) -> None:
    state.engines.queued[2] = state.queues.shape[1] + 1


def arrive_before_time(state: State) -> None:
    state.arrivals.ready_s[-1] = -1.0


def lose_an_image(state: State) -> None:
    state.requests.images_left[places(state)["encoding"][0]] -= 1


def shrink_the_memory(state: State) -> None:
    state.instances.kv_capacity_tokens[2] = state.engines.kv_used_tokens[2] - 1


def run_too_many_sequences(state: State) -> None:
    state.pools.max_sequences[1] = 1


def see_more_tokens_left(state: State) -> None:
    state.requests.prompt_tokens_left[places(state)["prefilling"][0]] += 1


def finish_in_the_future(state: State) -> None:
    state.progress.finish_s[places(state)["finished"][0]] = state.clock[0].now_s + 1


def wait_for_the_past(state: State) -> None:
    state.transfers.key[0] = state.clock[0].now_s - 1


def answer_before_the_images(state: State) -> None:
    state.progress.encoded_s[places(state)["decoding"]] = state.clock[0].now_s


def lose_a_token(state: State) -> None:
    state.tbt.tokens[0, np.argmax(state.tbt.tokens[0])] -= 1


def fall_idle(state: State) -> None:
    state.engines.step_end_s[2] = np.inf


def jump_the_queue(state: State) -> None:
    state.decodes.key[2, 0] = 1e9


def decide_without_counting(state: State) -> None:
    state.clock[0].draws_used += 1


def allow_fewer_tokens(state: State) -> None:
    state.pools.max_step_tokens[1] = 1


def encode_more_than_there_is(state: State) -> None:
    state.requests.images_left[places(state)["finished"][0]] = -1


def begin_in_the_future(state: State) -> None:
    state.engines.step_start_s[2] = state.clock[0].now_s + 1e-9


def answer_too_much(state: State) -> None:
    request = places(state)["finished"][0]
    state.progress.generated[request] += 1
    state.tbt.tokens[state.progress.category[request], 0] += 1


def follow_another(state: State) -> None:
    state.matches.winner[1] = int(np.argmax(state.engines.step_end_s))


def close_a_busy_instance(state: State) -> None:
    state.engines.status[2] = OFF
    state.groups.ready[1], state.groups.lead[1], state.instances.index[2] = 0, -1, -1
    state.instances.pool_size[2] = 0


def route_to_a_draining_one(state: State) -> None:
    state.engines.status[2] = DRAINING
    state.engines.assigned_before[2] = state.instances.assigned[2] - 1


def hold_too_many_gpus(state: State) -> None:
    state.clock[0].gpu_cap = 5


def miscount_the_ready(state: State) -> None:
    state.groups.ready[0] -= 1


def number_them_otherwise(state: State) -> None:
    state.instances.index[:2] = [1, 0]


def show_a_smaller_pool(state: State) -> None:
    state.instances.pool_size[0] = 1


def park_without_need(state: State) -> None:
    waiting = state.queues.ident[2, 0]
    state.groups.parked[1], state.groups.parked_first[1] = 1, waiting


CORRUPTIONS = {
    close_a_busy_instance: "whoever is off holds nothing.*instance 2 has work though its status is 0",
    route_to_a_draining_one: "instance 2 drains and was given 1 more",
    hold_too_many_gpus: "6 of 5 GPUs are held",
    miscount_the_ready: "group 0 counts 1 ready from 0",
    number_them_otherwise: "group 0 numbers its instances .1, 0.",
    show_a_smaller_pool: "group 0 of 2 shows pool_size .1, 2.",
    park_without_need: "is in .*parked.*queued",
    allow_fewer_tokens: "instance 2 takes .* tokens of 1",
    encode_more_than_there_is: "has -1 images and 0 tokens left",
    begin_in_the_future: "the running step of instance 2 began at",
    answer_too_much: "has emitted",
    follow_another: "leads the tournament",
    lose_a_waiting_request: "exactly one place.*request .* is in none",
    put_a_request_in_two_places: "exactly one place.*request .* is in ",
    count_a_finish_too_many: "counted as finished",
    queue_less_than_nothing: r"Every list is between empty and as long as its room: queued_jobs\[1\] is -1",
    queue_more_than_there_is_room: r"as long as its room: queued\[2\] is 4100, its room 4099",
    lose_a_job: "encode job is queued, running or travelling once",
    llm_engine("encoder_cache_tokens", 1): "encoder_cache_tokens of instance 2 is 1, not 0",
    arrive_before_time: "ready before it arrived",
    lose_an_image: "images_left of request",
    llm_engine("kv_used_tokens", 1): "kv_used_tokens of instance 2",
    llm_engine("decode_kv_tokens", -1): "decode_kv_tokens of instance 2",
    shrink_the_memory: "never exceeds the capacity: instance 2 will use",
    run_too_many_sequences: "No step exceeds the sequences",
    seen("waiting", 2): "an instance is what its lists say: waiting of instance 2",
    seen("running", 2): "running of instance 2",
    seen("pending_prompt_tokens", 2): "pending_prompt_tokens of instance 2",
    seen("in_service_tiles", 0): "an instance is what its lists say: in_service_tiles of instance 0",
    seen("pending_images", 1): "pending_images of instance 1",
    seen("backlog_s", 2, 1e-6): "Every backlog is the predicted time of the work that waits: backlog_s of instance 2",
    see_more_tokens_left: "What policies see of a request is how far it has come: prompt_tokens_left",
    finish_in_the_future: "Nothing is booked before its time.*finish_s of request",
    wait_for_the_past: "every event still to come lies ahead: the next event is at",
    answer_before_the_images: "a token before its images",
    lose_a_token: "holds every token after a request's first: .* gaps of class 0",
    fall_idle: "No instance is idle while it has work.*: instance 2",
    jump_the_queue: "the heap of the decodes of instance 2",
    decide_without_counting: "Every routing decision is counted once",
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: CORRUPTIONS[corrupt][-40:])
def test_a_broken_invariant_is_named(corrupt: Corruption) -> None:
    state = busy_simulation().state
    corrupt(state)
    with pytest.raises(CheckError, match=CORRUPTIONS[corrupt]):
        check(state)


def test_an_encoder_over_its_budget_is_named() -> None:
    rows = [(0.0, 1, 1000, 1)] * 5
    simulation = Simulation(trace_of(rows), configuration(apart(DECODER_ONLY, encoder="vllm")), OBJECTIVES)
    simulation.state.pools.encoder_budget_tokens[0] = 1 << 30
    while simulation.state.instances.running[0] < 2:
        simulation.run_until(next_event_s(simulation.state))
    check(simulation.state)
    simulation.state.pools.encoder_budget_tokens[0] = 2000
    with pytest.raises(CheckError, match=r"instance 0 encodes \d+ of 2000 image tokens"):
        check(simulation.state)


def quiet_simulation() -> Simulation:
    """One instance, idle, between two requests."""
    rows = [(0.0, 0, 500, 2), (60.0, 0, 500, 2)]
    simulation = Simulation(trace_of(rows), configuration(monolith()), OBJECTIVES)
    simulation.run_until(30.0)
    check(simulation.state)
    return simulation


def test_an_empty_instance_that_drains_and_is_kept_is_named() -> None:
    state = quiet_simulation().state
    state.engines.status[0], state.engines.assigned_before[0] = DRAINING, state.instances.assigned[0]
    state.groups.ready[1], state.groups.lead[1], state.instances.index[0] = 0, -1, -1
    state.instances.pool_size[0] = 0
    with pytest.raises(CheckError, match="instance 0 drains, is empty and was not released"):
        check(state)


def test_a_request_that_is_parked_though_an_instance_is_ready_is_named() -> None:
    state = quiet_simulation().state
    state.groups.parked[1], state.groups.parked_first[1], state.groups.parked_last[1] = 1, 1, 1
    assert list(ready_counted(Recount(state))) == ["1 requests are parked at group 1 though [0] are ready"]


def test_a_clock_that_goes_back_is_named() -> None:
    simulation = busy_simulation()
    with pytest.raises(CheckError, match="clocks never go back"):
        check(simulation.state, since_s=float(simulation.state.clock[0].now_s) + 1)


def test_the_checking_mode_stops_at_the_event_that_breaks_an_invariant() -> None:
    simulation = busy_simulation()
    simulation.state.instances.pending_tiles[0] += 1
    with pytest.raises(CheckError, match="pending_tiles of instance 0"):
        simulation.run_until(check=True)


def test_every_invariant_is_a_sentence() -> None:
    assert all((each.__doc__ or "").strip().endswith(".") for each in INVARIANTS)
