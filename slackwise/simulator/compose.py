"""What an iteration of an LLM instance takes: prompt chunks and images, within its budgets and its free KV cache."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.policies.features import PREFILL
from slackwise.simulator import heap
from slackwise.simulator.ask import ask
from slackwise.simulator.encode import take_jobs
from slackwise.simulator.log import ADMITTED, note
from slackwise.simulator.queueing import awaits_images, rank_request, reconsider, rerank_requests, tokens_here
from slackwise.simulator.stamps import earliest
from slackwise.simulator.state import CHUNKING
from slackwise.simulator.tables import (
    decode_heap,
    engine_of,
    instance_of,
    pool_of,
    progress_of,
    queue_heap,
    queued_at,
    request_of,
    slot_of,
)


@part
def open_step(s: Any, instance: int, decodes: int) -> None:
    """Start composing a step that also decodes `decodes` tokens."""
    engine, seen, pool = engine_of(s, instance), instance_of(s, instance), pool_of(s, engine_of(s, instance).pool)
    engine.work, engine.step_tokens, engine.step_tiles, engine.step_pairs, engine.step_images = 0, 0, 0, 0.0, 0
    seen.token_budget_left = pool.max_step_tokens - decodes
    seen.encoder_budget_left = pool.encoder_budget_tokens


@part
def close_step(s: Any, instance: int) -> None:
    """Show full budgets again to whoever looks between two compositions."""
    pool = pool_of(s, engine_of(s, instance).pool)
    instance_of(s, instance).token_budget_left = pool.max_step_tokens
    instance_of(s, instance).encoder_budget_left = pool.encoder_budget_tokens


@part
def free_kv(s: Any, instance: int) -> int:
    """KV tokens left after this step's decodes have stored theirs."""
    engine = engine_of(s, instance)
    return instance_of(s, instance).kv_capacity_tokens - engine.kv_used_tokens - engine.decodes


@part
def first_kv(s: Any, request: int) -> int:
    """KV tokens that the first chunk stores besides its own: those of images outside the sequence."""
    progress = progress_of(s, request)
    return progress.image_kv_tokens if progress.prefilled_tokens == 0 else 0


@part
def reused_kv(s: Any, request: int) -> int:
    """KV tokens of a reused prefix, which a request stores when it is admitted."""
    progress = progress_of(s, request)
    return progress.prefilled_tokens + progress.image_kv_tokens if progress.prefilled_tokens > 0 else 0


@part
def whole_kv(s: Any, request: int) -> int:
    """KV tokens of a request that waits, once all of its prompt is computed."""
    return progress_of(s, request).target_tokens + progress_of(s, request).image_kv_tokens


@part
def images_needed(s: Any, request: int, tokens: int) -> int:
    """Images to encode before `tokens` more prompt tokens can be computed: images come first in the prompt.

    A cross-attention model needs all of them before the first text token.
    """
    progress, entry = progress_of(s, request), request_of(s, request)
    per_image = progress.sequence_tokens_per_image
    if per_image == 0:
        return entry.images_left
    covered = (progress.prefilled_tokens + tokens + per_image - 1) // per_image
    return min(entry.images_left, max(0, covered - (entry.images - entry.images_left)))


@part
def images_allowed(s: Any, instance: int, request: int, now: float) -> int:
    """Images that the chunking policy, the step's encoder budget (its first image always fits) and the cache allow."""
    seen, entry = instance_of(s, instance), request_of(s, request)
    asked = max(1, int(ask(s, CHUNKING, entry, seen, now)))
    fit = seen.encoder_budget_left // entry.tokens_per_image
    if engine_of(s, instance).step_tiles == 0:
        fit = max(1, fit)
    return min(asked, max(0, fit), cache_room(s, instance, request))


@part
def cache_room(s: Any, instance: int, request: int) -> int:
    """Images of a request whose embeddings fit the encoder cache; one always fits an empty cache (vLLM V1)."""
    held = engine_of(s, instance).encoder_cache_tokens
    room = pool_of(s, engine_of(s, instance).pool).encoder_cache_tokens - held
    return max(1 if held == 0 else 0, room // request_of(s, request).tokens_per_image)


@part
def plan_chunk(s: Any, instance: int, request: int, kv_free: int, now: float) -> tuple[int, int]:
    """(prompt tokens, images) that a request may take in the step being composed, with `kv_free` KV tokens left."""
    progress, entry, seen = progress_of(s, request), request_of(s, request), instance_of(s, instance)
    left = progress.target_tokens - progress.prefilled_tokens
    tokens = min(left, seen.token_budget_left, pool_of(s, engine_of(s, instance).pool).max_chunk_tokens)
    tokens = max(0, min(tokens, kv_free - first_kv(s, request)))
    if progress.images_missing > 0:
        return 0 if awaits_images(s, request) else min(tokens, tokens_here(s, request)), 0
    if entry.images_left == 0 or seen.token_budget_left <= 0:
        return tokens, 0
    needed = images_needed(s, request, tokens)
    if needed == 0:
        return tokens, 0
    images = min(needed, images_allowed(s, instance, request, now))
    if images < needed:
        ready = entry.images - entry.images_left + images
        tokens = max(0, min(tokens, ready * progress.sequence_tokens_per_image - progress.prefilled_tokens))
    return tokens, images


@part
def take(s: Any, instance: int, request: int, tokens: int, images: int) -> None:
    """Add a chunk to the step being composed and reserve its KV cache."""
    engine, seen, progress, entry = (
        engine_of(s, instance),
        instance_of(s, instance),
        progress_of(s, request),
        request_of(s, request),
    )
    extra = 0
    if tokens > 0:
        engine.kv_used_tokens += tokens + first_kv(s, request)
        extra = progress.extra_tokens if progress.prefilled_tokens == 0 else 0
    engine.step_tokens += tokens + extra
    engine.step_pairs += tokens * (progress.prefilled_tokens + 0.5 * tokens)
    engine.step_tiles += images * entry.tiles_per_image
    engine.step_images += entry.images
    engine.encoder_cache_tokens += images * entry.tokens_per_image
    progress.images_cached += images
    seen.token_budget_left -= tokens
    seen.encoder_budget_left -= images * entry.tokens_per_image
    seen.in_service_prompt_tokens += tokens
    seen.in_service_image_tokens += images * entry.tokens_per_image
    seen.in_service_tiles += images * entry.tiles_per_image
    work = slot_of(s, instance, engine.work)
    work.ident, work.tokens, work.images = request, tokens, images
    engine.work += 1


@part
def leave_queue(s: Any, instance: int) -> int:
    """Take the head of the queue as running; return it."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    request = heap.pop(queue_heap(s, instance), engine.queued)
    engine.queued -= 1
    seen.waiting -= 1
    seen.running += 1
    note(s, ADMITTED, request, instance, 0, 0)
    progress = progress_of(s, request)
    if seen.stages & PREFILL:
        progress.prefill_begun_s = earliest(progress.prefill_begun_s, s.now_s)
    else:
        progress.decode_begun_s = earliest(progress.decode_begun_s, s.now_s)
    progress.admitted = engine.admissions
    engine.admissions += 1
    return request


@part
def admit(s: Any, instance: int) -> None:
    """Move the head of the queue to the unfinished prefills."""
    request, engine = leave_queue(s, instance), engine_of(s, instance)
    engine.kv_used_tokens += reused_kv(s, request)
    slot_of(s, instance, engine.in_flight).in_flight = request
    engine.in_flight += 1


@part
def sort_in_flight(s: Any, instance: int, now: float) -> None:
    """Bring the unfinished prefills into rank order (insertion sort: there are hardly ever two)."""
    for at in range(engine_of(s, instance).in_flight):
        request = slot_of(s, instance, at).in_flight
        rank = rank_request(s, instance, request, now)
        place = at
        while place > 0 and out_of_order(slot_of(s, instance, place - 1), rank, request):
            slot_of(s, instance, place).in_flight = slot_of(s, instance, place - 1).in_flight
            slot_of(s, instance, place).rank = slot_of(s, instance, place - 1).rank
            place -= 1
        slot_of(s, instance, place).in_flight = request
        slot_of(s, instance, place).rank = rank


@part
def out_of_order(slot: Any, rank: float, request: int) -> bool:
    """Whether the unfinished prefill in `slot` comes after `request` of `rank`."""
    return slot.rank > rank or (slot.rank == rank and slot.in_flight > request)


@part
def continue_prefills(s: Any, instance: int, now: float) -> None:
    """Give the unfinished prefills their next chunks."""
    if engine_of(s, instance).in_flight > 1:
        sort_in_flight(s, instance, now)
    for at in range(engine_of(s, instance).in_flight):
        request = slot_of(s, instance, at).in_flight
        tokens, images = plan_chunk(s, instance, request, free_kv(s, instance), now)
        if tokens > 0 or images > 0:
            take(s, instance, request, tokens, images)


@part
def may_admit(s: Any, instance: int) -> bool:
    """Whether a request waits and a sequence is free."""
    engine = engine_of(s, instance)
    return engine.queued > 0 and engine.decodes + engine.in_flight < pool_of(s, engine.pool).max_sequences


@part
def admit_chunks(s: Any, instance: int, now: float) -> None:
    """Admit waiting requests in rank order while their prompts fit the KV cache, and a chunk the step (vLLM V1).

    The first that does not fit ends it.
    """
    engine = engine_of(s, instance)
    while may_admit(s, instance) and instance_of(s, instance).token_budget_left > 0:
        if s.admitting == 1 and reconsider(s, instance, now):
            continue
        request = queued_at(s, instance, 0).ident
        tokens, images = plan_chunk(s, instance, request, 1 << 30, now)
        if tokens == 0 and images == 0:
            return
        if whole_kv(s, request) > free_kv(s, instance) - pool_of(s, engine.pool).watermark_tokens:
            return
        admit(s, instance)
        take(s, instance, request, tokens, images)


@part
def admit_prompts(s: Any, instance: int, now: float) -> None:
    """Admit whole prompts with all their images in rank order while they fit (vLLM 0.7: prefill first, unmixed)."""
    engine, seen = engine_of(s, instance), instance_of(s, instance)
    while may_admit(s, instance):
        if s.admitting == 1 and reconsider(s, instance, now):
            continue
        request = queued_at(s, instance, 0).ident
        tokens = progress_of(s, request).target_tokens - progress_of(s, request).prefilled_tokens
        if engine.work > 0 and tokens > seen.token_budget_left:
            return
        spare = free_kv(s, instance) - pool_of(s, engine.pool).watermark_tokens
        if tokens + first_kv(s, request) + reused_kv(s, request) > spare:
            return
        admit(s, instance)
        take(s, instance, request, tokens, request_of(s, request).images_left)


@part
def admit_decodes(s: Any, instance: int) -> None:
    """Where nothing is prefilled: requests whose KV cache has come join the decodes in rank order while it fits."""
    engine = engine_of(s, instance)
    while may_admit(s, instance):
        request = queued_at(s, instance, 0).ident
        tokens = progress_of(s, request).target_tokens + progress_of(s, request).image_kv_tokens
        if tokens + 1 > free_kv(s, instance):
            return
        leave_queue(s, instance)
        engine.kv_used_tokens += tokens
        start_decode(s, instance, request)


@part
def start_decode(s: Any, instance: int, request: int) -> None:
    """A prefilled request joins the decodes."""
    engine, progress = engine_of(s, instance), progress_of(s, request)
    progress.finish_step = engine.decode_steps + progress.output_tokens - progress.generated
    heap.push(decode_heap(s, instance), engine.decodes, progress.finish_step, request, request)
    engine.decodes += 1
    engine.decode_kv_tokens += progress.target_tokens + progress.image_kv_tokens
    engine.category_decodes[progress.category] += 1
    if pool_of(s, engine.pool).prefill_first == 1 or instance_of(s, instance).stages & PREFILL == 0:
        slot_of(s, instance, engine.fresh).fresh = request
        engine.fresh += 1


@part
def order_queue(s: Any, instance: int, now: float) -> None:
    """Bring the queue into the order of this moment, where it changes with time."""
    if engine_of(s, instance).queued > 0 and pool_of(s, engine_of(s, instance).pool).fixed_order == 0:
        rerank_requests(s, instance, now)


@part
def compose_mixed(s: Any, instance: int, preempted: int, now: float) -> None:
    """Decodes, encode jobs, unfinished prefills, then waiting requests (vLLM V1).

    None is admitted in a step that preempted one, unless nothing else would run.
    """
    engine = engine_of(s, instance)
    prefills, admits = instance_of(s, instance).stages & PREFILL, preempted == 0
    admits = admits or engine.decodes + engine.in_flight == 0
    if admits and not prefills:
        order_queue(s, instance, now)
        admit_decodes(s, instance)
    open_step(s, instance, engine.decodes)
    take_jobs(s, instance, now)
    if prefills:
        continue_prefills(s, instance, now)
        if admits:
            order_queue(s, instance, now)
            admit_chunks(s, instance, now)
    close_step(s, instance)


@part
def compose_prefill_first(s: Any, instance: int, now: float) -> None:
    """Whole prompts if any can be admitted (vLLM 0.7), else nothing: the step decodes."""
    open_step(s, instance, 0)
    order_queue(s, instance, now)
    admit_prompts(s, instance, now)
    close_step(s, instance)
