"""What must hold of a state between any two events; `Simulation.run_until(t, check=True)` asks after each.

Everything that the kernel counts as it goes is counted here again from its lists: recount.py gathers them, once a look
for all invariants and instances, tally.py adds them up, structure.py looks at the lists themselves. A look costs
O(requests + instances). An invariant is one function; its docstring is the sentence it holds, it yields what breaks it.
Named invariants follow BLIS, the simulator of llm-d (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from slackwise.errors import CheckError
from slackwise.simulator.fleet import gpus_held
from slackwise.simulator.overlap import UNDER_WAY
from slackwise.simulator.recount import Recount
from slackwise.simulator.state import DOWN, DRAINING, FAILURES, OFF, READY, STARTING, State
from slackwise.simulator.structure import lists_have_room, order_kept
from slackwise.simulator.tally import (
    by_instance,
    embeddings,
    facts,
    generated,
    held_by_decodes,
    held_by_prefills,
    held_for_others,
    images_cached,
)
from slackwise.simulator.transfer import FOUND, PART


def check(state: State, since_s: float = -np.inf) -> None:
    """Raise CheckError naming the first broken invariant of `state`, which was last looked at at `since_s`."""
    if state.clock[0].now_s < since_s:
        raise CheckError(f"clocks never go back: {since_s} s was followed by {state.clock[0].now_s} s")
    count = Recount(state)
    for invariant in INVARIANTS:
        for breach in invariant(count):
            sentence = (invariant.__doc__ or "").strip().splitlines()[0].rstrip(".")
            raise CheckError(f"{sentence}: {breach}, at {state.clock[0].now_s} s")


def next_event_s(state: State) -> float:
    """Time of the next order, arrival, delivery or step end, in seconds; infinite if nothing is left to do."""
    clock = state.clock[0]
    arrival = state.arrivals.ready_s[clock.next_arrival] if clock.next_arrival < clock.request_count else np.inf
    delivery = state.transfers.key[0] if clock.transfers > 0 else np.inf
    return float(min(arrival, delivery, state.engines.step_end_s.min()))


def requests_conserved(count: Recount) -> Iterator[str]:
    """Every request is in exactly one place: it finishes, or has failed for one reason."""
    state, where = count.state, count.places()
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


def jobs_conserved(count: Recount) -> Iterator[str]:
    """Every encode job is queued, running or travelling once, and the jobs of a request hold its images left."""
    state, live = count.state, count.live_jobs
    to_do = np.concatenate([count.queued_jobs.ident, count.running_jobs.ident, count.delivered(FOUND)])
    done = np.concatenate([count.delivered(PART), live[state.jobs.landed[live] != UNDER_WAY]])
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


def memory_within_capacity(count: Recount) -> Iterator[str]:
    """The KV cache in use is what its requests hold, and never exceeds the capacity."""
    engines, capacity = count.state.engines, count.state.instances.kv_capacity_tokens
    decodes = held_by_decodes(count)
    yield from _unequal("decode_kv_tokens", engines.decode_kv_tokens, decodes)
    yield from _unequal(
        "kv_used_tokens", engines.kv_used_tokens, decodes + held_by_prefills(count) + held_for_others(count)
    )
    end = engines.kv_used_tokens + np.where(engines.decoding != 0, engines.leap_steps * engines.decodes, 0)
    for each in np.flatnonzero(end > capacity):
        yield f"instance {each} will use {end[each]} of {capacity[each]} tokens"


def encoder_cache_within_capacity(count: Recount) -> Iterator[str]:
    """The encoder cache holds what prefill has yet to use, and never exceeds its capacity by more than one image."""
    held, room = count.state.engines.encoder_cache_tokens, _rule(count, "encoder_cache_tokens")
    yield from _unequal("encoder_cache_tokens", held, embeddings(count))
    for each in np.flatnonzero((held > room) & (images_cached(count) != 1)):
        yield f"instance {each} holds embeddings of {held[each]} of {room[each]} tokens"


def caches_agree(count: Recount) -> Iterator[str]:
    """What an instance keeps for repeats fits its cache, and is in the list of its content and in the order of use."""
    state, used = count.state, np.ones(len(count.state.cached), bool)
    used[state.cached.free[: state.clock[0].free_cached]] = False
    entries = state.cached[used]
    held, room = by_instance(count, entries.instance, entries.tokens), _rule(count, "cache_tokens")
    yield from _unequal("cache_tokens", state.engines.cache_tokens, held)
    for each in np.flatnonzero(held > room):
        yield f"instance {each} keeps {held[each]:.0f} tokens, more than its cache holds"
    listed = by_instance(count, count.kept.instance)
    for each in np.flatnonzero(listed != by_instance(count, entries.instance)):
        yield f"the order of use of instance {each} has {listed[each]:.0f} entries"
    alike = np.bincount(count.alike.instance, minlength=len(state.requests))
    for request in np.flatnonzero(alike != np.bincount(entries.content, minlength=len(state.requests))):
        yield f"the list of content {request} has {alike[request]} entries"


def limits_kept(count: Recount) -> Iterator[str]:
    """No step exceeds the sequences, tokens and image tokens that the rules allow."""
    engines = count.state.engines
    sequences, most = engines.decodes + engines.in_flight, _rule(count, "max_sequences")
    for each in np.flatnonzero(sequences > most):
        yield f"instance {each} runs {sequences[each]} of {most[each]} sequences"
    chunks, at = count.chunks
    decoded = engines.decodes * engines.decoding
    tokens, most = by_instance(count, at, chunks.tokens) + decoded, _rule(count, "max_step_tokens")
    alone = np.where(_rule(count, "prefill_first") == 0, decoded, tokens * (engines.work == 1))
    for each in np.flatnonzero((engines.work > 0) & (tokens > np.maximum(most, alone))):
        yield f"instance {each} takes {tokens[each]:.0f} tokens of {most[each]}"
    yield from _encoder_budgets_kept(count)


def _encoder_budgets_kept(count: Recount) -> Iterator[str]:
    taken, budget = count.state.instances.in_service_image_tokens, _rule(count, "encoder_budget_tokens")
    jobs, (work, at) = by_instance(count, count.running_jobs.instance), count.at_work
    one = np.where(jobs > 0, jobs == 1, by_instance(count, at, work.images) == 1)
    for each in np.flatnonzero((taken > budget) & ~one & (_rule(count, "prefill_first") == 0)):
        yield f"instance {each} encodes {taken[each]} of {budget[each]} image tokens"


def records_agree(count: Recount) -> Iterator[str]:
    """What policies see of an instance is what its lists say."""
    for name, expected in facts(count).items():
        yield from _unequal(name, count.state.instances[name], expected)


def backlogs_agree(count: Recount) -> Iterator[str]:
    """Every backlog is the predicted time of the work that waits."""
    seen = count.state.instances
    tiles, tokens = (
        seen.pending_tiles - seen.in_service_tiles,
        seen.pending_prompt_tokens - seen.in_service_prompt_tokens,
    )
    yield from _unequal("backlog_s", seen.backlog_s, tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token)


def requests_agree(count: Recount) -> Iterator[str]:
    """What policies see of a request is how far it has come."""
    requests, progress = count.state.requests, count.state.progress
    left = progress.target_tokens - progress.prefilled_tokens
    for request in np.flatnonzero(requests.prompt_tokens_left != left):
        yield f"prompt_tokens_left of request {request} is {requests.prompt_tokens_left[request]}, not {left[request]}"
    out_of_range = (requests.images_left < 0) | (requests.images_left > requests.images) | (left < 0)
    for request in np.flatnonzero(out_of_range):
        yield f"request {request} has {requests.images_left[request]} images and {left[request]} tokens left"


def time_moves_on(count: Recount) -> Iterator[str]:
    """Nothing is booked before its time, and every event still to come lies ahead."""
    state, now = count.state, count.state.clock[0].now_s
    if next_event_s(state) < now:
        yield f"the next event is at {next_event_s(state)} s"
    for name in ("encoded_s", "first_token_s", "finish_s", "failed_s"):
        for request in np.flatnonzero(state.progress[name] > now):
            yield f"{name} of request {request} is {state.progress[name][request]}"
    busy = np.isfinite(state.engines.step_end_s)
    for each in np.flatnonzero(busy & ~(state.engines.step_start_s <= now)):
        yield f"the running step of instance {each} began at {state.engines.step_start_s[each]}"


def no_token_before_its_cause(count: Recount) -> Iterator[str]:
    """Arrival, preprocessed, last image encoded, first token, finish: each no earlier than the one before."""
    state, progress = count.state, count.state.progress
    ready = np.zeros(len(state.requests))
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


def tokens_conserved(count: Recount) -> Iterator[str]:
    """The TBT histogram holds every token after a request's first."""
    progress = count.state.progress
    emitted = progress.generated.astype(np.int64)
    emitted[count.decoding.ident] = generated(count)
    gaps = np.bincount(progress.category, np.maximum(0, emitted - 1), len(count.state.tbt))
    for category, tokens in enumerate(count.state.tbt.tokens.sum(axis=1)):
        if tokens != gaps[category]:
            yield f"{tokens} gaps of class {category}, not {gaps[category]:.0f}"
    wrong = ~np.isnan(progress.finish_s) & (emitted != progress.output_tokens)
    for request in np.flatnonzero(wrong | (emitted > progress.output_tokens)):
        yield f"request {request} has emitted {emitted[request]} of {progress.output_tokens[request]} tokens"


def work_conserved(count: Recount) -> Iterator[str]:
    """No instance is idle while it has work, unless KV caches that others have yet to fetch or images hold it up."""
    engines, (prefills, at) = count.state.engines, count.prefilling
    work = engines.queued + engines.queued_jobs + engines.in_flight + engines.decodes + engines.work
    missing = by_instance(count, at, count.state.progress.images_missing[prefills] != 0)
    held_up = (by_instance(count, count.leaving.instance) > 0) | (missing > 0)
    for each in np.flatnonzero(np.isinf(engines.step_end_s) & (work > 0) & ~held_up):
        yield f"instance {each} is idle with {engines.queued[each]} waiting and {engines.in_flight[each]} begun"


def decisions_counted(count: Recount) -> Iterator[str]:
    """Every routing decision is counted once, with a draw of its own."""
    state = count.state
    drawn, decided, assigned = state.clock[0].draws_used, state.groups.decisions.sum(), state.instances.assigned.sum()
    if not drawn == decided == assigned:
        yield f"{drawn} draws, {decided} decisions, {assigned} assigned"


def fleet_kept(count: Recount) -> Iterator[str]:
    """Only ready instances are routed to, whoever is off holds nothing, and the GPUs never exceed the cap."""
    engines, seen = count.state.engines, count.state.instances
    held, cap = gpus_held(count.state), count.state.clock[0].gpu_cap
    if held > cap:
        yield f"{held} of {cap} GPUs are held"
    work = seen.waiting + seen.running + engines.kv_used_tokens + engines.work
    closed = np.isin(engines.status, (OFF, STARTING, DOWN))
    for each in np.flatnonzero(closed & ((work > 0) | np.isfinite(engines.step_end_s))):
        yield f"instance {each} has work though its status is {engines.status[each]}"
    for each in np.flatnonzero((engines.status == DRAINING) & (seen.assigned != engines.assigned_before)):
        yield f"instance {each} drains and was given {seen.assigned[each] - engines.assigned_before[each]} more"
    for each in np.flatnonzero((engines.status == DRAINING) & (work == 0) & np.isinf(engines.step_end_s)):
        yield f"instance {each} drains, is empty and was not released"


def ready_counted(count: Recount) -> Iterator[str]:
    """Ready instances are numbered through, and nobody is parked while one is ready."""
    state = count.state
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


INVARIANTS: tuple[Callable[[Recount], Iterator[str]], ...] = (
    lists_have_room,
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


def _unequal(name: str, values: Any, expected: Any) -> Iterator[str]:
    for each in np.flatnonzero(values != expected):
        yield f"{name} of instance {each} is {values[each]}, not {expected[each]:.15g}"


def _rule(count: Recount, name: str) -> Any:
    """What `name` of POOL says to every instance, shape (m,)."""
    return count.state.pools[name][count.state.engines.pool]
