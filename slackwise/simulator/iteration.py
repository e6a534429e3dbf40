"""Iterations of an instance: begin, leap, end."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import called, part
from slackwise.latency.costs import base_seconds, step_seconds
from slackwise.policies.features import DECODE
from slackwise.simulator import heap
from slackwise.simulator.cache import remember
from slackwise.simulator.compose import compose_mixed, compose_prefill_first, free_kv, start_decode
from slackwise.simulator.dispatch import refresh_backlog
from slackwise.simulator.encode import clear_jobs, finish_job
from slackwise.simulator.handover import hand_over
from slackwise.simulator.histogram import bucket, record_steps
from slackwise.simulator.leap import leap_seconds
from slackwise.simulator.lifecycle import retire_if_empty
from slackwise.simulator.log import FINISHED, FIRST_TOKEN, RESUMED, note, note_chunk, note_step
from slackwise.simulator.overlap import send_part
from slackwise.simulator.queueing import assign, awaits_images, drop_in_flight, free_embeddings, preempt_latest
from slackwise.simulator.state import DRAINING
from slackwise.simulator.tables import (
    costs_of,
    decode_at,
    decode_heap,
    engine_of,
    instance_of,
    job_of,
    pool_of,
    progress_of,
    request_of,
    slot_of,
    tbt_of,
)
from slackwise.simulator.timeline import replay
from slackwise.simulator.transfer import send_embeddings


@part
def begin(s: Any, instance: int, now: float) -> None:
    """Compose the next step and set its end; idle if there is nothing to do."""
    engine = engine_of(s, instance)
    engine.work, engine.decoding, preempted = 0, 1, 0
    if pool_of(s, engine.pool).prefill_first == 1:
        compose_prefill_first(s, instance, now)
        engine.decoding = 1 if engine.work == 0 else 0
    if engine.work == 0:
        while engine.decodes > 0 and free_kv(s, instance) < 0:
            preempt_latest(s, instance, now)
            preempted += 1
    if pool_of(s, engine.pool).prefill_first == 0:
        compose_mixed(s, instance, preempted, now)
        while engine.work == 0 and engine.decodes == 0 and engine.in_flight > 1 and lacks_memory(s, instance):
            preempt_latest(s, instance, now)
            preempted += 1
            compose_mixed(s, instance, preempted, now)
    if engine.work > 0:
        start_mixed(s, instance, now)
    elif engine.decodes > 0:
        start_leap(s, instance, preempted, now)
    else:
        engine.step_end_s = np.inf
        if engine.status == DRAINING:
            retire_if_empty(s, instance, now)
    refresh_backlog(s, instance)
    replay(s, instance)


@part
def lacks_memory(s: Any, instance: int) -> bool:
    """Whether an unfinished prefill could go on if it had memory: not all of them wait for images."""
    for at in range(engine_of(s, instance).in_flight):
        if not awaits_images(s, slot_of(s, instance, at).in_flight):
            return True
    return False


@part
def start_mixed(s: Any, instance: int, now: float) -> None:
    """Set the end of a step that encodes or prefills."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    decodes = engine.decodes if engine.decoding == 1 else 0
    kv_tokens = engine.decode_kv_tokens if engine.decoding == 1 else 0
    tokens = engine.step_tokens + decodes
    costs, linear_s, tiles = costs_of(s, engine.pool), pool_of(s, engine.pool).linear_s, engine.step_tiles
    text_only = engine.step_images == 0 and (decodes == 0 or text_decodes(s, instance))
    seconds = step_seconds(costs, linear_s, tokens, kv_tokens, engine.step_pairs, tiles, text_only)
    encode_s = 0.0
    if engine.step_tiles > 0:
        encode_s = costs.encode_step_s + costs.encode_s_per_tile * engine.step_tiles
        engine.encode_busy_s += encode_s * engine.slow
    if engine.step_tokens > 0:
        engine.prefill_busy_s += (seconds - encode_s) * engine.slow
    engine.leap_steps, engine.leaping, engine.pace = 1, 0, engine.slow
    engine.step_start_s, engine.step_end_s = now, now + seconds * engine.slow
    seen.busy_since_s, seen.busy_until_s = now, now + seconds


@part
def text_decodes(s: Any, instance: int) -> bool:
    """Whether no running decode has an image."""
    return engine_of(s, instance).category_decodes[0] == engine_of(s, instance).decodes


@part
def start_leap(s: Any, instance: int, preempted: int, now: float) -> None:
    """Set the end of a run of decode-only steps: up to the first finish or the end of the KV cache.

    Whoever waits cannot be admitted before: sequences, budget and KV cache only get scarcer. Where the order of the
    queue changes with time its head may change too, and an admission policy may drop it: such an instance takes one
    step at a time while anyone waits.
    """
    engine, pool = engine_of(s, instance), engine_of(s, instance).pool
    steps = int(decode_at(s, instance, 0).key) - engine.decode_steps
    steps = min(steps, 1 + free_kv(s, instance) // engine.decodes)
    if engine.queued > 0 and (preempted > 0 or s.admitting == 1 or pool_of(s, pool).fixed_order == 0):
        steps = 1
    text_only = text_decodes(s, instance)
    base_s = base_seconds(costs_of(s, pool), pool_of(s, pool).linear_s, engine.decodes, text_only)
    engine.decode_base_s, engine.pace = base_s * engine.slow, engine.slow
    engine.leap_steps, engine.leaping = steps, 1
    engine.step_start_s = now
    kv_s = costs_of(s, pool).kv_s_per_token * engine.pace
    engine.step_end_s = now + leap_seconds(steps, engine.decode_base_s, kv_s, engine.decode_kv_tokens, engine.decodes)


@part
def end(s: Any, instance: int, now: float) -> None:
    """Book what the finished step or leap did."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    note_step(s, instance)
    engine.busy_s += now - engine.step_start_s
    seen.steps += engine.leap_steps
    s.steps += engine.leap_steps
    if engine.decoding == 1 and engine.decodes > 0:
        end_decodes(s, instance, now)
    seen.in_service_prompt_tokens, seen.in_service_image_tokens, seen.in_service_tiles = 0, 0, 0
    clear_jobs(s, instance)
    for at in range(engine.work):
        ident = slot_of(s, instance, at).ident
        note_chunk(s, instance, at)
        if ident >= 0:
            end_chunk(s, instance, at, now)
        else:
            end_job(s, instance, ~ident, now)
    changed = engine.work > 0
    while engine.decodes > 0 and int(decode_at(s, instance, 0).key) == engine.decode_steps:
        finish_decode(s, instance, now)
        changed = True
    if changed:
        seen.kv_used_tokens = engine.kv_used_tokens
    engine.work = 0
    refresh_backlog(s, instance)


@called
def end_job(s: Any, instance: int, job: int, now: float) -> None:
    """Book an encode job; its embeddings travel at once (overlap) or with those of the whole request."""
    request, last = job_of(s, job).request, finish_job(s, instance, job, now)
    if s.overlap_tokens > 0:
        send_part(s, job, now)
    elif last:
        progress_of(s, request).to_send = 1
        if assign(s, request, now):
            send_embeddings(s, request, now)


@part
def end_decodes(s: Any, instance: int, now: float) -> None:
    """Every decode has one token more for each step taken."""
    engine = engine_of(s, instance)
    steps, decodes = engine.leap_steps, engine.decodes
    if engine.work > 0:
        record_tokens(s, instance, now - engine.step_start_s, 0.0, 1)
    else:
        kv_s = costs_of(s, engine.pool).kv_s_per_token * engine.pace
        first = engine.decode_base_s + kv_s * engine.decode_kv_tokens
        record_tokens(s, instance, first, kv_s * decodes, steps)
    engine.decode_steps += steps
    engine.decode_kv_tokens += steps * decodes
    engine.kv_used_tokens += steps * decodes
    engine.last_decode_s = now


@part
def record_tokens(s: Any, instance: int, first_s: float, growth_s: float, steps: int) -> None:
    """Add the tokens of a leap to the TBT histogram; the first one also waited while prefills stalled the decodes."""
    engine = engine_of(s, instance)
    if pool_of(s, engine.pool).prefill_first == 0 and engine.fresh == 0:
        record_steps(s, instance, first_s, growth_s, steps)
        return
    for at in range(engine.fresh):
        progress = progress_of(s, slot_of(s, instance, at).fresh)
        record_one(s, progress.category, engine.step_start_s - progress.last_token_s + first_s)
        engine.category_decodes[progress.category] -= 1
    stall = engine.step_start_s - engine.last_decode_s
    record_steps(s, instance, stall + first_s, 0.0, 1)
    for at in range(engine.fresh):
        engine.category_decodes[progress_of(s, slot_of(s, instance, at).fresh).category] += 1
    engine.fresh = 0
    record_steps(s, instance, first_s + growth_s, growth_s, steps - 1)


@part
def record_one(s: Any, category: int, seconds: float) -> None:
    """Add one token of a class to the TBT histogram."""
    tbt_of(s, category, bucket(seconds)).tokens += 1


@part
def end_chunk(s: Any, instance: int, at: int, now: float) -> None:
    """Book the images and prompt tokens of one request's chunk."""
    request, tokens, images = (
        slot_of(s, instance, at).ident,
        slot_of(s, instance, at).tokens,
        slot_of(s, instance, at).images,
    )
    progress, entry, seen = progress_of(s, request), request_of(s, request), instance_of(s, instance)
    if images > 0:
        entry.images_left -= images
        entry.encode_estimate_s = entry.images_left * progress.image_s
        seen.pending_images -= images
        seen.pending_tiles -= images * entry.tiles_per_image
        if entry.images_left == 0:
            progress.encoded_s, progress.encoder = now, instance
    if tokens > 0:
        progress.prefilled_tokens += tokens
        entry.prompt_tokens_left -= tokens
        entry.prefill_estimate_s = progress.prefill_s * entry.prompt_tokens_left / entry.prompt_tokens
        seen.pending_prompt_tokens -= tokens
        if progress.images_cached > 0:
            free_embeddings(s, instance, request, images_unused(s, request))
        if progress.prefilled_tokens == progress.target_tokens:
            finish_prefill(s, instance, request, now)


@part
def images_unused(s: Any, request: int) -> int:
    """Images encoded whose tokens prefill has not all computed; cross-attention uses all with its first chunk."""
    progress, entry = progress_of(s, request), request_of(s, request)
    if progress.sequence_tokens_per_image == 0:
        return 0
    used = progress.prefilled_tokens // progress.sequence_tokens_per_image
    return max(0, entry.images - entry.images_left - used)


@part
def finish_prefill(s: Any, instance: int, request: int, now: float) -> None:
    """The last chunk gives a token; the request decodes on, or is done."""
    engine, seen, progress = engine_of(s, instance), instance_of(s, instance), progress_of(s, request)
    for at in range(engine.in_flight):
        if slot_of(s, instance, at).in_flight == request:
            drop_in_flight(s, instance, at)
            break
    seen.pending_text_tokens -= request_of(s, request).text_tokens
    seen.pending_image_tokens -= request_of(s, request).image_tokens
    if s.caching == 1:
        remember(s, instance, request, 0, 0, request_of(s, request).prompt_tokens + progress.image_kv_tokens)
    if progress.generated == 0:
        note(s, FIRST_TOKEN, request, instance, 0, 0)
        progress.first_token_s = now
    else:
        note(s, RESUMED, request, instance, 0, 0)
        record_one(s, progress.category, now - progress.last_token_s)
    progress.generated += 1
    progress.last_token_s = now
    if progress.generated >= progress.output_tokens:
        engine.kv_used_tokens -= progress.target_tokens + progress.image_kv_tokens
        finish(s, instance, request, now)
    elif seen.stages & DECODE:
        start_decode(s, instance, request)
    else:
        hand_over(s, instance, request, now)


@part
def finish_decode(s: Any, instance: int, now: float) -> None:
    """The decode that ends first is done."""
    engine = engine_of(s, instance)
    request = heap.pop(decode_heap(s, instance), engine.decodes)
    engine.decodes -= 1
    progress = progress_of(s, request)
    held = progress.target_tokens + progress.output_tokens - progress.generated + progress.image_kv_tokens
    engine.decode_kv_tokens -= held
    engine.kv_used_tokens -= held
    engine.category_decodes[progress.category] -= 1
    progress.generated = progress.output_tokens
    finish(s, instance, request, now)


@part
def finish(s: Any, instance: int, request: int, now: float) -> None:
    """The request is complete."""
    note(s, FINISHED, request, instance, 0, progress_of(s, request).output_tokens)
    progress_of(s, request).finish_s = now
    instance_of(s, instance).running -= 1
    s.finished += 1
