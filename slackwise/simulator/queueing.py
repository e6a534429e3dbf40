"""Requests at an instance of the LLM: routed there, waiting in rank order, preempted."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.policies.features import ENCODE, PREFILL
from slackwise.simulator import heap
from slackwise.simulator.admission import DEMOTE, DROP, demote, fail, turned_away, verdict
from slackwise.simulator.ask import ask
from slackwise.simulator.cache import reuse_prefix
from slackwise.simulator.dispatch import choose, order_of, park, refresh_backlog, refresh_composing
from slackwise.simulator.index import note_change
from slackwise.simulator.leap import leap_seconds, steps_to_reach
from slackwise.simulator.log import PREEMPTED, QUEUED, note
from slackwise.simulator.stamps import earliest
from slackwise.simulator.state import BATCHING, DROPPED, PREFILLING
from slackwise.simulator.tables import (
    costs_of,
    decode_at,
    decode_heap,
    engine_of,
    group_of,
    instance_of,
    pool_of,
    progress_of,
    queue_heap,
    queued_at,
    request_of,
    slot_of,
)
from slackwise.simulator.timeline import replay
from slackwise.simulator.transfer import TO_QUEUE, send


@part
def assign(s: Any, request: int, now: float) -> bool:
    """Route a request to a prefill instance and count it there, also while its embeddings travel.

    If none is ready the request waits until one is, and False is returned; as it is if the request is dropped.
    """
    if group_of(s, PREFILLING).ready == 0:
        park(s, PREFILLING, request)
        return False
    entry = request_of(s, request)
    entry.job_images, entry.job_image_tokens, entry.job_tiles = 0, 0, 0
    instance = choose(s, PREFILLING, request, now)
    progress_of(s, request).instance = instance
    if s.admitting == 1 and turned_away(s, request, instance, now):
        note_change(s, instance)
        return False
    seen = instance_of(s, instance)
    seen.waiting += 1
    count_pending_prompt(s, instance, request, progress_of(s, request).target_tokens)
    if seen.stages & ENCODE:
        seen.pending_images += entry.images_left
        seen.pending_tiles += entry.images_left * entry.tiles_per_image
    refresh_backlog(s, instance)
    return True


@part
def count_pending_prompt(s: Any, instance: int, request: int, tokens: int) -> None:
    """Count a request's prefill as work to do."""
    seen, entry = instance_of(s, instance), request_of(s, request)
    seen.pending_text_tokens += entry.text_tokens
    seen.pending_image_tokens += entry.image_tokens
    seen.pending_prompt_tokens += tokens


@part
def rank_request(s: Any, instance: int, request: int, now: float) -> float:
    """Rank of a request; policies of fixed order are asked at time 0, so that ranks of different times compare."""
    if progress_of(s, request).demoted == 1:
        return np.inf
    at = 0.0 if pool_of(s, engine_of(s, instance).pool).fixed_order == 1 else now
    return ask(s, BATCHING, request_of(s, request), instance_of(s, instance), at)


@part
def enqueue(s: Any, instance: int, request: int, now: float) -> None:
    """Put a request into the instance's queue."""
    queued = engine_of(s, instance).queued
    if s.caching == 1 and instance_of(s, instance).stages & PREFILL:
        reuse_prefix(s, instance, request, now)
        refresh_backlog(s, instance)
    request_of(s, request).queued_s = now
    key = rank_request(s, instance, request, now)
    heap.push(queue_heap(s, instance), queued, key, order_of(request, 0), request)
    engine_of(s, instance).queued = queued + 1
    s.longest_queue = max(s.longest_queue, queued + 1)


@part
def reconsider(s: Any, instance: int, now: float) -> bool:
    """Ask the admission policy about the head of the queue; True if the queue has another head now."""
    head = queued_at(s, instance, 0)
    request, progress = head.ident, progress_of(s, head.ident)
    if progress.generated > 0 or progress.images_missing > 0:
        return False
    said = verdict(s, request, instance, now)
    if said == DROP:
        heap.pop(queue_heap(s, instance), engine_of(s, instance).queued)
        engine_of(s, instance).queued -= 1
        unassign(s, instance, request)
        refresh_composing(s, instance)
        fail(s, request, DROPPED, now)
        return True
    if said == DEMOTE and progress.demoted == 0:
        demote(s, request, instance)
        head.key = np.inf
        heap.sift_down(queue_heap(s, instance), 0, engine_of(s, instance).queued)
        return True
    return False


@part
def unassign(s: Any, instance: int, request: int) -> None:
    """Take a request that waits for its prefill off the record of its instance."""
    seen, entry, progress = instance_of(s, instance), request_of(s, request), progress_of(s, request)
    seen.waiting -= 1
    seen.pending_text_tokens -= entry.text_tokens
    seen.pending_image_tokens -= entry.image_tokens
    seen.pending_prompt_tokens -= progress.target_tokens - progress.prefilled_tokens
    if seen.stages & ENCODE:
        seen.pending_images -= entry.images_left
        seen.pending_tiles -= entry.images_left * entry.tiles_per_image


@part
def rerank_requests(s: Any, instance: int, now: float) -> None:
    """Rank the whole queue anew."""
    for at in range(engine_of(s, instance).queued):
        queued_at(s, instance, at).key = rank_request(s, instance, queued_at(s, instance, at).ident, now)
    heap.heapify(queue_heap(s, instance), engine_of(s, instance).queued)


@part
def deliver(s: Any, request: int, now: float) -> None:
    """Queue a request at its instance, which now has all it needs for it."""
    instance = progress_of(s, request).instance
    note(s, QUEUED, request, instance, 0, 0)
    progress = progress_of(s, request)
    if instance_of(s, instance).stages & PREFILL:
        progress.queued_s = earliest(progress.queued_s, now)
    else:
        progress.decode_queued_s = earliest(progress.decode_queued_s, now)
    if progress.images_missing == 0:
        request_of(s, request).transfer_estimate_s = 0.0
    enqueue(s, instance, request, now)
    engine = engine_of(s, instance)
    if engine.decodes + engine.in_flight < pool_of(s, engine.pool).max_sequences:
        interrupt(s, instance, now)


@part
def tokens_here(s: Any, request: int) -> int:
    """Prompt tokens not yet computed before the first missing image."""
    progress = progress_of(s, request)
    images = request_of(s, request).images - progress.images_missing
    return images * progress.sequence_tokens_per_image - progress.prefilled_tokens


@part
def awaits_images(s: Any, request: int) -> bool:
    """Whether a request has too little to prefill until more of its embeddings come (overlap)."""
    return progress_of(s, request).images_missing > 0 and tokens_here(s, request) < s.overlap_tokens


@part
def interrupt(s: Any, instance: int, now: float) -> None:
    """Let an instance see new work: an idle one begins after the other events of this time, a leap is cut."""
    engine = engine_of(s, instance)
    if engine.step_end_s == np.inf:
        engine.step_start_s = engine.step_end_s = now
        engine.leap_steps = 0
        replay(s, instance)
    elif engine.leaping == 1:
        cut_leap(s, instance, now)


@part
def cut_leap(s: Any, instance: int, now: float) -> None:
    """End the running leap at its first step boundary at or after `now`."""
    engine = engine_of(s, instance)
    kv_s = costs_of(s, engine.pool).kv_s_per_token * engine.pace
    base, tokens, decodes = engine.decode_base_s, engine.decode_kv_tokens, engine.decodes
    steps = steps_to_reach(now - engine.step_start_s, base, kv_s, tokens, decodes)
    if steps < engine.leap_steps:
        engine.leap_steps = steps
        engine.step_end_s = engine.step_start_s + leap_seconds(steps, base, kv_s, tokens, decodes)
        replay(s, instance)


@part
def latest_decode(s: Any, instance: int) -> int:
    """Place in the heap of the decode admitted last, -1 if none decodes."""
    latest, at_latest = -1, -1
    for at in range(engine_of(s, instance).decodes):
        admitted = progress_of(s, decode_at(s, instance, at).ident).admitted
        if admitted > latest:
            latest, at_latest = admitted, at
    return at_latest


@part
def latest_in_flight(s: Any, instance: int) -> int:
    """Place in the list of the unfinished prefill admitted last, -1 if there is none."""
    latest, at_latest = -1, -1
    for at in range(engine_of(s, instance).in_flight):
        admitted = progress_of(s, slot_of(s, instance, at).in_flight).admitted
        if admitted > latest:
            latest, at_latest = admitted, at
    return at_latest


@part
def preempt_latest(s: Any, instance: int, now: float) -> None:
    """Preempt the request admitted last: free its KV cache and queue it to be computed again (vLLM, recomputation)."""
    decode, prefill = latest_decode(s, instance), latest_in_flight(s, instance)
    if decode >= 0 and prefill >= 0:
        last_decode = progress_of(s, decode_at(s, instance, decode).ident).admitted
        last_prefill = progress_of(s, slot_of(s, instance, prefill).in_flight).admitted
        if last_prefill > last_decode:
            decode = -1
    if decode >= 0:
        request = decode_at(s, instance, decode).ident
        stop_decode(s, instance, decode, now)
    else:
        request = slot_of(s, instance, prefill).in_flight
        stop_prefill(s, instance, prefill)
    requeue(s, instance, request, now)


@part
def stop_decode(s: Any, instance: int, at: int, now: float) -> None:
    """Take a decode off the instance; what it generated becomes part of its prompt."""
    engine = engine_of(s, instance)
    request = decode_at(s, instance, at).ident
    progress = progress_of(s, request)
    generated = progress.output_tokens - (progress.finish_step - engine.decode_steps)
    held = progress.target_tokens + generated - progress.generated + progress.image_kv_tokens
    engine.kv_used_tokens -= held
    engine.decode_kv_tokens -= held
    heap.remove(decode_heap(s, instance), engine.decodes, at)
    engine.decodes -= 1
    engine.category_decodes[progress.category] -= 1
    if generated > progress.generated:
        progress.last_token_s = engine.last_decode_s
    forget_fresh(s, instance, request)
    progress.generated, progress.prefilled_tokens = generated, 0
    progress.target_tokens = request_of(s, request).prompt_tokens + generated
    if instance_of(s, instance).stages & PREFILL:
        count_pending_prompt(s, instance, request, progress.target_tokens)


@part
def stop_prefill(s: Any, instance: int, at: int) -> None:
    """Take an unfinished prefill off the instance."""
    engine = engine_of(s, instance)
    request = slot_of(s, instance, at).in_flight
    progress = progress_of(s, request)
    if progress.prefilled_tokens > 0:
        engine.kv_used_tokens -= progress.prefilled_tokens + progress.image_kv_tokens
    instance_of(s, instance).pending_prompt_tokens += progress.prefilled_tokens
    progress.prefilled_tokens = 0
    free_embeddings(s, instance, request, 0)
    drop_in_flight(s, instance, at)


@part
def free_embeddings(s: Any, instance: int, request: int, kept: int) -> None:
    """Leave at most `kept` images of a request in the encoder cache."""
    progress = progress_of(s, request)
    freed = progress.images_cached - min(progress.images_cached, kept)
    progress.images_cached -= freed
    engine_of(s, instance).encoder_cache_tokens -= freed * request_of(s, request).tokens_per_image


@part
def drop_in_flight(s: Any, instance: int, at: int) -> None:
    """Take entry `at` out of the list of unfinished prefills, keeping the order of the rest."""
    engine = engine_of(s, instance)
    for later in range(at, engine.in_flight - 1):
        slot_of(s, instance, later).in_flight = slot_of(s, instance, later + 1).in_flight
    engine.in_flight -= 1


@part
def forget_fresh(s: Any, instance: int, request: int) -> None:
    """Take a request out of the list of decodes that had no decode step yet."""
    engine = engine_of(s, instance)
    for at in range(engine.fresh):
        if slot_of(s, instance, at).fresh == request:
            slot_of(s, instance, at).fresh = slot_of(s, instance, engine.fresh - 1).fresh
            engine.fresh -= 1
            return


@part
def requeue(s: Any, instance: int, request: int, now: float) -> None:
    """Queue a preempted request again, to be prefilled from the start; elsewhere if this instance does not prefill."""
    progress, entry, seen = progress_of(s, request), request_of(s, request), instance_of(s, instance)
    note(s, PREEMPTED, request, instance, 0, 0)
    progress.preemptions += 1
    entry.prompt_tokens_left = progress.target_tokens
    entry.prefill_estimate_s = progress.prefill_s * progress.target_tokens / entry.prompt_tokens
    seen.running -= 1
    seen.kv_used_tokens = engine_of(s, instance).kv_used_tokens
    if seen.stages & PREFILL:
        seen.waiting += 1
        refresh_backlog(s, instance)
        enqueue(s, instance, request, now)
    else:
        if assign(s, request, now):
            send(s, request, request, TO_QUEUE, now)
