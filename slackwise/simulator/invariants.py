"""What must hold of a state between any two events; `Simulation.run_until(t, check=True)` asks after each.

Everything that the kernel counts as it goes is counted here again from its lists (recount.py). An invariant is one
function whose docstring is the sentence it holds; it yields what breaks it. Named invariants follow BLIS, the simulator
of llm-d (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from slackwise.errors import CheckError
from slackwise.simulator.fleet import gpus_held
from slackwise.simulator.overlap import UNDER_WAY
from slackwise.simulator.recount import (
    alike,
    at_work,
    chunks,
    decoding,
    delivered,
    embeddings,
    facts,
    generated,
    held_by_decodes,
    held_by_prefills,
    held_for_others,
    kept,
    leaving,
    live_jobs,
    numbers,
    places,
    prefilling,
    queued_jobs,
    running_jobs,
)
from slackwise.simulator.state import DOWN, DRAINING, FAILURES, OFF, READY, STARTING, State
from slackwise.simulator.transfer import FOUND, PART


def check(state: State, since_s: float = -np.inf) -> None:
    """Raise CheckError naming the first broken invariant of `state`, which was last looked at at `since_s`."""
    if state.clock[0].now_s < since_s:
        raise CheckError(f"clocks never go back: {since_s} s was followed by {state.clock[0].now_s} s")
    for invariant in INVARIANTS:
        for breach in invariant(state):
            sentence = (invariant.__doc__ or "").strip().splitlines()[0].rstrip(".")
            raise CheckError(f"{sentence}: {breach}, at {state.clock[0].now_s} s")


def next_event_s(state: State) -> float:
    """Time of the next order, arrival, delivery or step end, in seconds; infinite if nothing is left to do."""
    clock = state.clock[0]
    arrival = state.arrivals.ready_s[clock.next_arrival] if clock.next_arrival < clock.request_count else np.inf
    delivery = state.transfers.key[0] if clock.transfers > 0 else np.inf
    return float(min(arrival, delivery, state.engines.step_end_s.min()))


def requests_conserved(state: State) -> Iterator[str]:
    """Every request is in exactly one place: it finishes, or has failed for one reason."""
    where = places(state)
    times = np.bincount(np.concatenate(list(where.values())), minlength=len(state.requests))
    for request in np.flatnonzero(times != 1):
        yield f"request {request} is in {[name for name, those in where.items() if request in those] or 'none'}"
    if state.clock[0].finished != len(where["finished"]):
        yield f"{state.clock[0].finished} requests counted as finished, not {len(where['finished'])}"
    if state.clock[0].failed != len(where["failed"]):
        yield f"{state.clock[0].failed} requests counted as failed, not {len(where['failed'])}"
    reason, when_s = state.progress.failure, state.progress.failed_s
    for request in np.flatnonzero((reason != 0) == np.isnan(when_s)):
        yield f"request {request} failed for '{FAILURES[reason[request]]}' at {when_s[request]} s"


def jobs_conserved(state: State) -> Iterator[str]:
    """Every encode job is queued, running or travelling once, and the jobs of a request hold its images left."""
    every = range(len(state.instances))
    lists = [part for each in every for part in (queued_jobs(state, each), running_jobs(state, each))]
    lists.append(delivered(state, FOUND))
    to_do, live = np.concatenate([*lists, numbers([])]), live_jobs(state)
    done = np.concatenate([delivered(state, PART), live[state.jobs.landed[live] != UNDER_WAY]])
    times = np.bincount(np.concatenate([to_do, done]), minlength=len(state.jobs))
    times[live] -= 1
    for job in np.flatnonzero(times):
        yield f"job {job} is listed {times[job] + (job in live)} times, {'' if job in live else 'not '}in use"
    yield from _jobs_hold(state, to_do, "jobs_left", state.progress, np.ones(len(to_do)))
    yield from _jobs_hold(
        state, to_do, "images_left", state.requests, state.jobs.images[to_do], state.progress.uncut_images
    )
    if state.clock[0].overlap_tokens > 0:
        yield from _jobs_hold(state, live, "images_missing", state.progress, state.jobs.images[live])


def _jobs_hold(state: State, jobs: Any, name: str, table: Any, weights: Any, besides: Any = 0) -> Iterator[str]:
    of = state.jobs.request[jobs]
    summed = np.bincount(of, weights=weights, minlength=len(state.requests)) + besides
    wrong = (summed[of] != table[name][of]) & (state.progress.failure[of] == 0)
    for request in np.unique(of[wrong]):
        yield f"{name} of request {request} is {table[name][request]}, its jobs hold {summed[request]}"


def memory_within_capacity(state: State) -> Iterator[str]:
    """The KV cache in use is what its requests hold, and never exceeds the capacity."""
    for each in range(len(state.instances)):
        engine = state.engines[each]
        decodes = int(held_by_decodes(state, each).sum())
        yield from _unequal(each, "decode_kv_tokens", engine.decode_kv_tokens, decodes)
        held = decodes + held_by_prefills(state, each) + held_for_others(state, each)
        yield from _unequal(each, "kv_used_tokens", engine.kv_used_tokens, held)
        end = engine.kv_used_tokens + (engine.leap_steps * engine.decodes if engine.decoding else 0)
        if end > state.instances.kv_capacity_tokens[each]:
            yield f"instance {each} will use {end} of {state.instances.kv_capacity_tokens[each]} tokens"


def encoder_cache_within_capacity(state: State) -> Iterator[str]:
    """The encoder cache holds what prefill has yet to use, and never exceeds its capacity by more than one image."""
    for each in range(len(state.instances)):
        held, pool = state.engines.encoder_cache_tokens[each], state.pools[state.engines.pool[each]]
        yield from _unequal(each, "encoder_cache_tokens", held, embeddings(state, each))
        one = state.progress.images_cached[prefilling(state, each)].sum() == 1
        if held > pool.encoder_cache_tokens and not one:
            yield f"instance {each} holds embeddings of {held} of {pool.encoder_cache_tokens} tokens"


def caches_agree(state: State) -> Iterator[str]:
    """What an instance keeps for repeats fits its cache, and is in the list of its content and in the order of use."""
    used = np.ones(len(state.cached), bool)
    used[state.cached.free[: state.clock[0].free_cached]] = False
    entries = state.cached[used]
    held = np.bincount(entries.instance, weights=entries.tokens, minlength=len(state.instances))
    for each in range(len(state.instances)):
        yield from _unequal(each, "cache_tokens", state.engines.cache_tokens[each], held[each])
        if held[each] > state.pools.cache_tokens[state.engines.pool[each]]:
            yield f"instance {each} keeps {held[each]:.0f} tokens, more than its cache holds"
        if len(kept(state, each)) != (entries.instance == each).sum():
            yield f"the order of use of instance {each} has {len(kept(state, each))} entries"
    for request in np.flatnonzero(state.progress.cached >= 0):
        if len(alike(state, int(request))) != (entries.content == request).sum():
            yield f"the list of content {request} has {len(alike(state, int(request)))} entries"


def limits_kept(state: State) -> Iterator[str]:
    """No step exceeds the sequences, tokens and image tokens that the rules allow."""
    for each in range(len(state.instances)):
        engine, pool = state.engines[each], state.pools[state.engines.pool[each]]
        work, seen = chunks(state, each), state.instances[each]
        if engine.decodes + engine.in_flight > pool.max_sequences:
            yield f"instance {each} runs {engine.decodes + engine.in_flight} of {pool.max_sequences} sequences"
        tokens = int(work.tokens.sum()) + engine.decodes * engine.decoding
        alone = engine.decodes * engine.decoding if pool.prefill_first == 0 else tokens * (engine.work == 1)
        if engine.work > 0 and tokens > max(pool.max_step_tokens, alone):
            yield f"instance {each} takes {tokens} tokens of {pool.max_step_tokens}"
        jobs = len(running_jobs(state, each))
        one = jobs == 1 if jobs else at_work(state, each).images.sum() == 1
        if seen.in_service_image_tokens > pool.encoder_budget_tokens and not one and pool.prefill_first == 0:
            yield f"instance {each} encodes {seen.in_service_image_tokens} of {pool.encoder_budget_tokens} image tokens"


def records_agree(state: State) -> Iterator[str]:
    """What policies see of an instance is what its lists say."""
    for each in range(len(state.instances)):
        for name, expected in facts(state, each).items():
            yield from _unequal(each, name, state.instances[name][each], expected)


def backlogs_agree(state: State) -> Iterator[str]:
    """Every backlog is the predicted time of the work that waits."""
    seen = state.instances
    tiles, tokens = (
        seen.pending_tiles - seen.in_service_tiles,
        seen.pending_prompt_tokens - seen.in_service_prompt_tokens,
    )
    expected = tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token
    for each in np.flatnonzero(seen.backlog_s != expected):
        yield from _unequal(int(each), "backlog_s", seen.backlog_s[each], expected[each])


def requests_agree(state: State) -> Iterator[str]:
    """What policies see of a request is how far it has come."""
    requests, progress = state.requests, state.progress
    left = progress.target_tokens - progress.prefilled_tokens
    for request in np.flatnonzero(requests.prompt_tokens_left != left):
        yield f"prompt_tokens_left of request {request} is {requests.prompt_tokens_left[request]}, not {left[request]}"
    out_of_range = (requests.images_left < 0) | (requests.images_left > requests.images) | (left < 0)
    for request in np.flatnonzero(out_of_range):
        yield f"request {request} has {requests.images_left[request]} images and {left[request]} tokens left"


def time_moves_on(state: State) -> Iterator[str]:
    """Nothing is booked before its time, and every event still to come lies ahead."""
    now = state.clock[0].now_s
    if next_event_s(state) < now:
        yield f"the next event is at {next_event_s(state)} s"
    for name in ("encoded_s", "first_token_s", "finish_s", "failed_s"):
        for request in np.flatnonzero(state.progress[name] > now):
            yield f"{name} of request {request} is {state.progress[name][request]}"
    busy = np.isfinite(state.engines.step_end_s)
    for each in np.flatnonzero(busy & ~(state.engines.step_start_s <= now)):
        yield f"the running step of instance {each} began at {state.engines.step_start_s[each]}"


def no_token_before_its_cause(state: State) -> Iterator[str]:
    """Arrival, preprocessed, last image encoded, first token, finish: each no earlier than the one before."""
    ready, progress = np.zeros(len(state.requests)), state.progress
    ready[state.arrivals.request] = state.arrivals.ready_s
    started, finished = ~np.isnan(progress.first_token_s), ~np.isnan(progress.finish_s)
    kept = (state.requests.images > 0) & (progress.crashes == 0)  # a crash may take the images with it
    wrong = {
        "failed before it was ready": progress.failed_s < ready,
        "ready before it arrived": ready < state.requests.arrival_s,
        "encoded before it was ready": progress.encoded_s < ready,
        "a token before it was ready": progress.first_token_s < ready,
        "a token before its images": started & kept & ~(progress.encoded_s <= progress.first_token_s),
        "a token with images left": started & kept & (state.requests.images_left > 0),
        "finished before its first token": finished & ~(progress.first_token_s <= progress.finish_s),
        "finished at once with tokens to come": finished
        & (progress.output_tokens > 1)
        & ~(progress.first_token_s < progress.finish_s),
    }
    for what, rows in wrong.items():
        for request in np.flatnonzero(rows):
            yield f"request {request}: {what}"


def tokens_conserved(state: State) -> Iterator[str]:
    """The TBT histogram holds every token after a request's first."""
    emitted = state.progress.generated.astype(np.int64)
    for each in range(len(state.instances)):
        emitted[decoding(state, each)] = generated(state, each, decoding(state, each))
    for category, tokens in enumerate(state.tbt.tokens.sum(axis=1)):
        expected = np.maximum(0, emitted - 1)[state.progress.category == category].sum()
        if tokens != expected:
            yield f"{tokens} gaps of class {category}, not {expected}"
    wrong = ~np.isnan(state.progress.finish_s) & (emitted != state.progress.output_tokens)
    for request in np.flatnonzero(wrong | (emitted > state.progress.output_tokens)):
        yield f"request {request} has emitted {emitted[request]} of {state.progress.output_tokens[request]} tokens"


def work_conserved(state: State) -> Iterator[str]:
    """No instance is idle while it has work, unless KV caches that others have yet to fetch or images hold it up."""
    engines = state.engines
    work = engines.queued + engines.queued_jobs + engines.in_flight + engines.decodes + engines.work
    for each in np.flatnonzero(np.isinf(engines.step_end_s) & (work > 0)):
        if len(leaving(state, int(each))) > 0 or state.progress.images_missing[prefilling(state, int(each))].any():
            continue
        yield f"instance {each} is idle with {engines.queued[each]} waiting and {engines.in_flight[each]} begun"


def order_kept(state: State) -> Iterator[str]:
    """Heaps have their first element on top, and the tournament the next step end."""
    heaps = {"transfers": state.transfers[: state.clock[0].transfers]}
    for each in range(len(state.instances)):
        heaps[f"queue of instance {each}"] = state.queues[each, : state.engines.queued[each]]
        heaps[f"jobs of instance {each}"] = state.job_queues[each, : state.engines.queued_jobs[each]]
        heaps[f"decodes of instance {each}"] = state.decodes[each, : state.engines.decodes[each]]
    for name, heap in heaps.items():
        child = np.arange(1, len(heap))
        over, under = heap[(child - 1) // 2], heap[child]
        if np.any((over.key > under.key) | ((over.key == under.key) & (over.order > under.order))):
            yield f"the heap of the {name}"
    first = int(np.argmin(state.engines.step_end_s))
    if state.matches.winner[1] != first:
        yield f"instance {state.matches.winner[1]} leads the tournament, not {first}"
    played = state.matches.key[state.clock[0].leaves :][: len(state.engines)]
    if np.any(played != state.engines.step_end_s) or state.matches.key[1] != state.engines.step_end_s[first]:
        yield "the tournament does not know when steps end"


def decisions_counted(state: State) -> Iterator[str]:
    """Every routing decision is counted once, with a draw of its own."""
    drawn, decided, assigned = state.clock[0].draws_used, state.groups.decisions.sum(), state.instances.assigned.sum()
    if not drawn == decided == assigned:
        yield f"{drawn} draws, {decided} decisions, {assigned} assigned"


def fleet_kept(state: State) -> Iterator[str]:
    """Only ready instances are routed to, whoever is off holds nothing, and the GPUs never exceed the cap."""
    engines, seen, cap = state.engines, state.instances, state.clock[0].gpu_cap
    if gpus_held(state) > cap:
        yield f"{gpus_held(state)} of {cap} GPUs are held"
    work = seen.waiting + seen.running + engines.kv_used_tokens + engines.work
    closed = np.isin(engines.status, (OFF, STARTING, DOWN))
    for each in np.flatnonzero(closed & ((work > 0) | np.isfinite(engines.step_end_s))):
        yield f"instance {each} has work though its status is {engines.status[each]}"
    for each in np.flatnonzero((engines.status == DRAINING) & (seen.assigned != engines.assigned_before)):
        yield f"instance {each} drains and was given {seen.assigned[each] - engines.assigned_before[each]} more"
    for each in np.flatnonzero((engines.status == DRAINING) & (work == 0) & np.isinf(engines.step_end_s)):
        yield f"instance {each} drains, is empty and was not released"


def ready_counted(state: State) -> Iterator[str]:
    """Ready instances are numbered through, and nobody is parked while one is ready."""
    for at, group in enumerate(state.groups):
        rows = np.arange(group.first, group.first + group.count)
        ready = rows[state.engines.status[rows] == READY]
        numbered = np.full(len(rows), -1)
        numbered[ready - group.first] = np.arange(len(ready))
        if group.ready != len(ready) or group.lead != (ready[0] if len(ready) else -1):
            yield f"group {at} counts {group.ready} ready from {group.lead}, not {ready.tolist()}"
        if not np.array_equal(state.instances.index[rows], numbered):
            yield f"group {at} numbers its instances {state.instances.index[rows].tolist()}"
        if len(rows) and np.any(state.instances.pool_size[rows] != len(ready)):
            yield f"group {at} of {len(ready)} shows pool_size {state.instances.pool_size[rows].tolist()}"
        if group.parked > 0 and len(ready):
            yield f"{group.parked} requests are parked at group {at} though {ready.tolist()} are ready"


INVARIANTS: tuple[Callable[[State], Iterator[str]], ...] = (
    requests_conserved,
    jobs_conserved,
    memory_within_capacity,
    encoder_cache_within_capacity,
    caches_agree,
    limits_kept,
    records_agree,
    backlogs_agree,
    requests_agree,
    time_moves_on,
    no_token_before_its_cause,
    tokens_conserved,
    work_conserved,
    order_kept,
    decisions_counted,
    fleet_kept,
    ready_counted,
)
"""In the order in which they are asked."""


def _unequal(instance: int, name: str, value: float, expected: float) -> Iterator[str]:
    if value != expected:
        yield f"{name} of instance {instance} is {value}, not {expected}"
