"""What goes wrong while a run goes on: the orders CRASH, SLOW, LINK and SAMPLE (faults.py draws them).

A crash takes everything off an instance. Requests are computed again from the start on another one: tokens that were
given become part of the prompt, as request migration does (NVIDIA Dynamo, 2025), jobs are cut and routed again. Images
that a separate encoder has encoded stay encoded, since their embeddings are kept in a store apart (as vLLM's shared
storage connector for encoder caches does, 2025), and travel again; those that the crashed instance encoded for itself
are lost with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import called, part
from slackwise.policies.features import ENCODE, PREFILL
from slackwise.simulator import heap
from slackwise.simulator.admission import fail
from slackwise.simulator.cache import forget_all
from slackwise.simulator.dispatch import park, refresh_backlog, unpark
from slackwise.simulator.encode import free_job, uncount_job, withdraw_jobs
from slackwise.simulator.handover import release
from slackwise.simulator.index import note_change
from slackwise.simulator.iteration import end_decodes
from slackwise.simulator.leap import leap_seconds, steps_to_reach
from slackwise.simulator.lifecycle import carry_out, count_ready, give, push_order, retire, waiting_group
from slackwise.simulator.log import CRASHED, note, note_lost_step
from slackwise.simulator.queueing import cut_leap, interrupt, stop_decode, stop_prefill, unassign
from slackwise.simulator.state import (
    CRASH,
    DECODING,
    DOWN,
    DRAINING,
    ENCODING,
    GAVE_OUT,
    LINK,
    OFF,
    OPEN,
    PREFILLING,
    SAMPLE,
    SLOW,
)
from slackwise.simulator.tables import (
    INSTANCE_BYTES,
    costs_of,
    decode_at,
    engine_of,
    entry_at,
    group_of,
    instance_of,
    job_of,
    long_at,
    order_at,
    progress_of,
    queue_heap,
    queued_at,
    queued_job_at,
    request_of,
    slot_of,
    transfer_at,
)
from slackwise.simulator.timeline import replay
from slackwise.simulator.transfer import FOUND, KIND, KIND_BITS, RELEASE


@part
def obey(s: Any, order: int, now: float) -> tuple[int, int]:
    """Carry out an order.

    A parked request that an instance is ready for now is returned with its group, else -1; the order comes again at
    once while there are more.
    """
    kind, instance = order_at(s, order).kind, order_at(s, order).instance
    if kind == SAMPLE:
        sample(s, order, now)
        return -1, -1
    if kind == CRASH:
        crash(s, instance, order_at(s, order).value, now)
    elif kind == SLOW:
        slow(s, instance, order_at(s, order).value, now)
    elif kind == LINK:
        engine_of(s, instance).link = order_at(s, order).value
    else:
        carry_out(s, order, now)
    group = waiting_group(s)
    if group < 0:
        return -1, -1
    request = unpark(s, group)
    if waiting_group(s) >= 0:
        push_order(s, order, now)
    return request, group


@part
def slow(s: Any, instance: int, factor: float, now: float) -> None:
    """Steps that begin from now on take `factor` times as long; the one that runs does not."""
    engine_of(s, instance).slow = factor
    if engine_of(s, instance).step_end_s < np.inf and engine_of(s, instance).leaping == 1:
        cut_leap(s, instance, now)


@called
def sample(s: Any, order: int, now: float) -> None:
    """Copy the records of all instances; routers see those of `count` samples before from now on."""
    record, words = order_at(s, order), s.instance_count * INSTANCE_BYTES // 8
    kept = record.count + 1
    target = s.samples_at + s.sampled % kept * s.instance_count * INSTANCE_BYTES
    for at in range(words):
        long_at(target + 8 * at).value = long_at(s.instances_at + 8 * at).value
    s.shown = max(0, s.sampled - record.count) % kept
    s.shown_at = s.samples_at + s.shown * s.instance_count * INSTANCE_BYTES
    s.sampled += 1
    if s.finished + s.failed < s.request_count:
        push_order(s, order, now + record.value)


@called
def crash(s: Any, instance: int, seconds: float, now: float) -> None:
    """Lose everything on an instance, which takes work again after `seconds`; one that drains is released instead."""
    engine = engine_of(s, instance)
    if engine.status == OFF or engine.status == DOWN:
        return
    stop_step(s, instance, now)
    gather_running(s, instance, now)
    gather_jobs(s, instance)
    gather_travelling(s, instance, now)
    gather_parked(s, instance)
    wipe(s, instance, now)
    if engine.status == DRAINING:
        retire(s, instance, now)
    else:
        engine.status, engine.ready_s = DOWN, now + seconds
        give(s, engine.ready_s, OPEN, instance, now)
        count_ready(s)
    displace_all(s, instance, now)
    refresh_backlog(s, instance)


@part
def stop_step(s: Any, instance: int, now: float) -> None:
    """Break the running step off: of a leap the steps that are over count, what else was in it is lost."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    if engine.step_end_s == np.inf or engine.leap_steps == 0:
        return
    steps, over_s = 0, 0.0
    if engine.leaping == 1:
        kv_s = costs_of(s, engine.pool).kv_s_per_token * engine.pace
        base, tokens, decodes = engine.decode_base_s, engine.decode_kv_tokens, engine.decodes
        steps = min(engine.leap_steps, steps_to_reach(now - engine.step_start_s, base, kv_s, tokens, decodes)) - 1
        over_s = leap_seconds(steps, base, kv_s, tokens, decodes)
    engine.leap_steps = steps
    note_lost_step(s, instance)
    engine.busy_s += now - engine.step_start_s
    if steps > 0:
        seen.steps += steps
        s.steps += steps
        end_decodes(s, instance, engine.step_start_s + over_s)


@part
def gather(s: Any, instance: int, request: int) -> None:
    """Add a request to those in the queue of a crashed instance, in any order."""
    engine = engine_of(s, instance)
    entry_at(queue_heap(s, instance), engine.queued).ident = request
    engine.queued += 1


@part
def gather_running(s: Any, instance: int, now: float) -> None:
    """Whatever runs waits again."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    while engine.decodes + engine.in_flight > 0:
        if engine.decodes > 0:
            request = decode_at(s, instance, 0).ident
            stop_decode(s, instance, 0, now)
        else:
            request = slot_of(s, instance, 0).in_flight
            stop_prefill(s, instance, 0)
        seen.running -= 1
        seen.waiting += 1
        gather(s, instance, request)


@part
def gather_jobs(s: Any, instance: int) -> None:
    """Jobs are lost; their requests get new ones for the same images."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    for at in range(engine.work):
        if slot_of(s, instance, at).ident < 0:
            seen.running -= 1
            lose_job(s, instance, ~slot_of(s, instance, at).ident)
    while engine.queued_jobs > 0:
        engine.queued_jobs -= 1
        seen.waiting -= 1
        lose_job(s, instance, queued_job_at(s, instance, engine.queued_jobs).ident)


@part
def lose_job(s: Any, instance: int, job: int) -> None:
    """The images of a job belong to none again."""
    progress = progress_of(s, job_of(s, job).request)
    uncount_job(s, instance, job)
    progress.jobs_left -= 1
    if progress.failure == 0:
        if progress.uncut_images == 0:
            gather(s, instance, job_of(s, job).request)
        progress.uncut_images += job_of(s, job).images
    free_job(s, job)


@part
def gather_travelling(s: Any, instance: int, now: float) -> None:
    """Call back what travels to the instance, and KV caches that travel from it."""
    kept = 0
    for at in range(s.transfers):
        entry = transfer_at(s, at)
        if entry.ident < 0 or not called_back(s, instance, entry.ident, now):
            other = transfer_at(s, kept)
            other.key, other.order, other.ident = entry.key, entry.order, entry.ident
            kept += 1
    s.transfers = kept
    heap.heapify(s.transfers_at, kept)


@part
def called_back(s: Any, instance: int, code: int, now: float) -> bool:
    """Whether a delivery is off with the crash of an instance; its request is gathered there, once."""
    if code & KIND == FOUND:
        return False
    request, progress = code >> KIND_BITS, progress_of(s, code >> KIND_BITS)
    if code & KIND == RELEASE:
        return progress.instance == instance or progress.holder == instance
    if progress.holder == instance:
        instance_of(s, progress.instance).waiting -= 1
        note_change(s, progress.instance)
        if engine_of(s, progress.instance).status == DRAINING:
            interrupt(s, progress.instance, now)
    elif progress.instance != instance:
        return False
    gather(s, instance, request)
    return True


@part
def gather_parked(s: Any, instance: int) -> None:
    """KV caches on the instance of requests that wait for a decode instance are lost too."""
    for _ in range(group_of(s, DECODING).parked):
        request = unpark(s, DECODING)
        if progress_of(s, request).holder == instance:
            gather(s, instance, request)
        else:
            park(s, DECODING, request)


@part
def wipe(s: Any, instance: int, now: float) -> None:
    """Empty memory, and no step."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    engine.kv_used_tokens, engine.decode_kv_tokens, engine.encoder_cache_tokens = 0, 0, 0
    engine.work, engine.fresh, engine.leaping, engine.leap_steps, engine.decoding = 0, 0, 0, 0, 0
    engine.step_end_s = np.inf
    seen.in_service_prompt_tokens, seen.in_service_image_tokens, seen.in_service_tiles = 0, 0, 0
    seen.kv_used_tokens = 0
    seen.busy_until_s = min(seen.busy_until_s, now)
    forget_all(s, instance)
    replay(s, instance)


@part
def displace_all(s: Any, instance: int, now: float) -> None:
    """Let everyone gathered wait to be routed again, in order of the trace."""
    engine, everyone = engine_of(s, instance), queue_heap(s, instance)
    s.longest_queue = max(s.longest_queue, engine.queued)
    for at in range(engine.queued):
        entry = queued_at(s, instance, at)
        entry.key, entry.order = float(entry.ident), 0
    heap.heapify(everyone, engine.queued)
    while engine.queued > 0:
        request = heap.pop(everyone, engine.queued)
        engine.queued -= 1
        displace(s, instance, request, now)


@part
def displace(s: Any, instance: int, request: int, now: float) -> None:
    """Let a request wait to be routed again, or give it up if that has happened too often."""
    progress = progress_of(s, request)
    note(s, CRASHED, request, instance, 0, 0)
    progress.crashes += 1
    group = stage_again(s, instance, request, now)
    if progress.crashes <= s.retries:
        park(s, group, request)
        return
    if group == ENCODING:
        withdraw_jobs(s, request, -1)
        progress.uncut_images = 0
    elif group == DECODING:
        release(s, request, now)
    fail(s, request, GAVE_OUT, now)


@part
def stage_again(s: Any, instance: int, request: int, now: float) -> int:
    """Take a request off the instance; the group that it has to be routed to again."""
    progress, seen = progress_of(s, request), instance_of(s, instance)
    if progress.uncut_images > 0:
        return ENCODING
    if progress.holder >= 0 and progress.holder != instance:
        seen.waiting -= 1
        return DECODING
    if progress.holder == instance:
        progress.holder = -1
    elif seen.stages & PREFILL:
        unassign(s, instance, request)
    else:
        seen.waiting -= 1
    start_over(s, instance, request)
    return PREFILLING


@part
def start_over(s: Any, instance: int, request: int) -> None:
    """Everything is to be computed again but images encoded apart, whose embeddings have to travel again."""
    progress, entry = progress_of(s, request), request_of(s, request)
    if entry.images > 0 and group_of(s, ENCODING).count > 0:
        progress.to_send = 1
        entry.transfer_estimate_s = progress.link_estimate_s
    elif instance_of(s, instance).stages & (ENCODE | PREFILL) == ENCODE | PREFILL:
        entry.images_left = entry.images
        entry.encode_estimate_s = entry.images * progress.image_s
        progress.encoded_s, progress.encoder = np.nan, -1
    progress.images_cached, progress.prefilled_tokens = 0, 0
    progress.target_tokens = entry.prompt_tokens + progress.generated
    entry.prompt_tokens_left = progress.target_tokens
    entry.prefill_estimate_s = progress.prefill_s * progress.target_tokens / entry.prompt_tokens
