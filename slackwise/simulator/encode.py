"""A pool of separate encoders: requests are cut into jobs, each routed on its own, run whole and in queue order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.latency.costs import step_seconds
from slackwise.simulator import heap
from slackwise.simulator.dispatch import choose, order_of, refresh_backlog
from slackwise.simulator.tables import (
    costs_of,
    engine_of,
    instance_of,
    job_of,
    pool_of,
    progress_of,
    queue_heap,
    queued_at,
    request_of,
    slot_of,
)
from slackwise.simulator.timeline import replay


@part
def cut(s: Any, request: int, now: float, policies: Any) -> int:
    """Cut the images of a request into jobs as the chunking policy says; return the first of the linked jobs."""
    seen = request_of(s, request)
    pool = s.encode_pool
    encoder = pool_of(s, pool).first
    first, last, count = -1, -1, 0
    while seen.images_left > 0:
        asked = policies.chunking(seen, instance_of(s, encoder), now, policies.chunking_params)
        images = min(seen.images_left, max(1, int(asked)))
        s.free_jobs -= 1
        job = job_of(s, s.free_jobs).free
        job_of(s, job).request, job_of(s, job).images, job_of(s, job).ordinal, job_of(s, job).next = (
            request,
            images,
            count,
            -1,
        )
        if last >= 0:
            job_of(s, last).next = job
        else:
            first = job
        last = job
        count += 1
        seen.images_left -= images
    seen.images_left = seen.images
    progress_of(s, request).jobs_left = count
    progress_of(s, request).job_s = (
        costs_of(s, pool).encode_step_s + job_of(s, first).images * progress_of(s, request).image_s
    )
    seen.encode_estimate_s = critical_path(s, request)
    return first


@part
def critical_path(s: Any, request: int) -> float:
    """Predicted seconds of the encode work left: rounds of jobs over the encoders, each as long as the largest job."""
    left = progress_of(s, request).jobs_left
    lanes = pool_of(s, s.encode_pool).members
    return math.ceil(left / lanes) * progress_of(s, request).job_s


@part
def describe_job(s: Any, job: int) -> None:
    """Put the job into the request's record, where policies look for it."""
    seen = request_of(s, job_of(s, job).request)
    seen.job_images = job_of(s, job).images
    seen.job_image_tokens = job_of(s, job).images * seen.tokens_per_image
    seen.job_tiles = job_of(s, job).images * seen.tiles_per_image


@part
def rank_job(s: Any, encoder: int, job: int, now: float, policies: Any) -> float:
    """Rank of a queued job; policies of fixed order are asked at time 0, so that ranks of different times compare."""
    describe_job(s, job)
    at = 0.0 if pool_of(s, engine_of(s, encoder).pool).fixed_order == 1 else now
    return policies.encode_batching(
        request_of(s, job_of(s, job).request), instance_of(s, encoder), at, policies.encode_batching_params
    )


@part
def enqueue_job(s: Any, job: int, now: float, policies: Any) -> int:
    """Route a job and queue it; return its encoder."""
    request = job_of(s, job).request
    describe_job(s, job)
    encoder = choose(s, s.encode_pool, request, now, policies.encode_routing, policies.encode_routing_params)
    seen, entry = instance_of(s, encoder), request_of(s, request)
    seen.pending_images += entry.job_images
    seen.pending_image_tokens += entry.job_image_tokens
    seen.pending_tiles += entry.job_tiles
    refresh_backlog(s, encoder)
    queued = engine_of(s, encoder).queued
    key = rank_job(s, encoder, job, now, policies)
    heap.push(queue_heap(s, encoder), queued, key, order_of(request, job_of(s, job).ordinal), job)
    engine_of(s, encoder).queued = queued + 1
    s.longest_queue = max(s.longest_queue, queued + 1)
    return encoder


@part
def rerank_jobs(s: Any, encoder: int, now: float, policies: Any) -> None:
    """Rank the whole queue anew."""
    for at in range(engine_of(s, encoder).queued):
        queued_at(s, encoder, at).key = rank_job(s, encoder, queued_at(s, encoder, at).ident, now, policies)
    heap.heapify(queue_heap(s, encoder), engine_of(s, encoder).queued)


@part
def rerank_siblings(s: Any, request: int, now: float, policies: Any) -> None:
    """Rank anew the queued jobs of a request whose remaining encode work has changed."""
    pool = s.encode_pool
    for encoder in range(pool_of(s, pool).first, pool_of(s, pool).first + pool_of(s, pool).members):
        for at in range(engine_of(s, encoder).queued):
            if job_of(s, queued_at(s, encoder, at).ident).request == request:
                rerank_jobs(s, encoder, now, policies)
                break


@part
def begin_encode(s: Any, encoder: int, now: float, policies: Any) -> None:
    """Take jobs in queue order while they fit the step, and set its end; idle if none waits."""
    seen, engine = instance_of(s, encoder), engine_of(s, encoder)
    if engine.queued == 0:
        engine.step_end_s = np.inf
        replay(s, encoder)
        return
    pool = engine.pool
    if pool_of(s, pool).fixed_order == 0:
        rerank_jobs(s, encoder, now, policies)
    tokens, tiles = 0, 0
    engine.work = 0
    while engine.queued > 0 and engine.work < pool_of(s, pool).max_step_jobs:
        job = queued_at(s, encoder, 0).ident
        entry = request_of(s, job_of(s, job).request)
        images = job_of(s, job).images
        if engine.work > 0 and tokens + images * entry.tokens_per_image > pool_of(s, pool).encoder_budget_tokens:
            break
        heap.pop(queue_heap(s, encoder), engine.queued)
        engine.queued -= 1
        tokens += images * entry.tokens_per_image
        tiles += images * entry.tiles_per_image
        slot_of(s, encoder, engine.work).ident = job
        engine.work += 1
    seen.waiting -= engine.work
    seen.running = engine.work
    seen.in_service_image_tokens, seen.in_service_tiles = tokens, tiles
    seconds = step_seconds(costs_of(s, pool), pool_of(s, pool).linear_s, 0, 0, 0.0, tiles, False)
    seen.busy_since_s, seen.busy_until_s = now, now + seconds
    engine.step_start_s, engine.step_end_s = now, now + seconds
    refresh_backlog(s, encoder)
    replay(s, encoder)


@part
def clear_step(s: Any, encoder: int) -> None:
    """Take the finished step's work off the encoder's record."""
    seen, engine = instance_of(s, encoder), engine_of(s, encoder)
    engine.busy_s += engine.step_end_s - engine.step_start_s
    engine.encode_busy_s += engine.step_end_s - engine.step_start_s
    for at in range(engine.work):
        seen.pending_images -= job_of(s, slot_of(s, encoder, at).ident).images
    seen.pending_image_tokens -= seen.in_service_image_tokens
    seen.pending_tiles -= seen.in_service_tiles
    seen.in_service_image_tokens, seen.in_service_tiles, seen.running = 0, 0, 0
    seen.steps += 1
    refresh_backlog(s, encoder)


@part
def finish_job(s: Any, encoder: int, job: int, now: float, policies: Any) -> bool:
    """Book a job as done and free it; True if it was the last of its request."""
    request = job_of(s, job).request
    progress = progress_of(s, request)
    request_of(s, request).images_left -= job_of(s, job).images
    progress.jobs_left -= 1
    job_of(s, s.free_jobs).free = job
    s.free_jobs += 1
    left_s = critical_path(s, request)
    changed = left_s != request_of(s, request).encode_estimate_s
    request_of(s, request).encode_estimate_s = left_s
    if progress.jobs_left == 0:
        progress.encoded_s = now
        progress.encoder = encoder
        return True
    if changed:
        rerank_siblings(s, request, now, policies)
    return False
