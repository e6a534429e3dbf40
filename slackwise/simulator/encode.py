"""Separate encoders: a request is cut into jobs, each routed on its own, run whole and in queue order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from slackwise.jit import part
from slackwise.simulator import heap
from slackwise.simulator.admission import DEMOTE, DROP, demote, fail, verdict
from slackwise.simulator.ask import ask
from slackwise.simulator.cache import job_is_cached, remember
from slackwise.simulator.dispatch import choose, order_of, refresh_backlog, refresh_composing
from slackwise.simulator.index import note_change
from slackwise.simulator.stamps import earliest
from slackwise.simulator.state import CHUNKING, DROPPED, ENCODE_BATCHING, ENCODING
from slackwise.simulator.tables import (
    costs_of,
    engine_of,
    group_of,
    instance_of,
    job_heap,
    job_of,
    pool_of,
    progress_of,
    queued_job_at,
    request_of,
    slot_of,
)
from slackwise.simulator.transfer import FOUND, note_server, send


@part
def cut(s: Any, request: int, now: float) -> int:
    """Cut the images of a request that are in no job as the chunking policy says; the first of the linked jobs."""
    seen, progress, encoder = request_of(s, request), progress_of(s, request), group_of(s, ENCODING).lead
    first, last, before, whole = -1, -1, progress.jobs_cut, seen.images_left
    seen.images_left = progress.uncut_images
    while seen.images_left > 0:
        asked = ask(s, CHUNKING, seen, instance_of(s, encoder), now)
        images = min(seen.images_left, max(1, int(asked)))
        job = take_job(s, request, images, progress.jobs_cut)
        job_of(s, job).first = seen.images - seen.images_left if before == 0 else -1
        if last >= 0:
            job_of(s, last).next = job
        else:
            first = job
        last = job
        progress.jobs_cut += 1
        seen.images_left -= images
    seen.images_left, progress.uncut_images = whole, 0
    progress.jobs_left += progress.jobs_cut - before
    progress.lanes = group_of(s, ENCODING).ready
    progress.job_s = costs_of(s, engine_of(s, encoder).pool).encode_step_s + job_of(s, first).images * progress.image_s
    seen.encode_estimate_s = critical_path(s, request)
    if s.overlap_tokens > 0:
        progress.images_missing, progress.first_job = seen.images, first
    return first


@part
def take_job(s: Any, request: int, images: int, ordinal: int) -> int:
    """A free job, filled in."""
    s.free_jobs -= 1
    job = job_of(s, s.free_jobs).free
    entry = job_of(s, job)
    entry.request, entry.images, entry.ordinal, entry.next, entry.landed = request, images, ordinal, -1, 0
    return job


@part
def free_job(s: Any, job: int) -> None:
    """The job is over."""
    job_of(s, s.free_jobs).free = job
    s.free_jobs += 1


@part
def critical_path(s: Any, request: int) -> float:
    """Predicted seconds of the encode work left: rounds of jobs over the encoders, each as long as the largest job.

    The encoders are those that were ready when the request was cut.
    """
    progress = progress_of(s, request)
    return math.ceil(progress.jobs_left / progress.lanes) * progress.job_s


@part
def describe_job(s: Any, job: int) -> None:
    """Put the job into the request's record, where policies look for it."""
    seen = request_of(s, job_of(s, job).request)
    progress_of(s, job_of(s, job).request).job_first = job_of(s, job).first
    seen.job_images = job_of(s, job).images
    seen.job_image_tokens = job_of(s, job).images * seen.tokens_per_image
    seen.job_tiles = job_of(s, job).images * seen.tiles_per_image


@part
def rank_job(s: Any, encoder: int, job: int, now: float) -> float:
    """Rank of a queued job; policies of fixed order are asked at time 0, so that ranks of different times compare."""
    describe_job(s, job)
    if progress_of(s, job_of(s, job).request).demoted == 1:
        return np.inf
    at = 0.0 if pool_of(s, engine_of(s, encoder).pool).fixed_job_order == 1 else now
    entry, seen = request_of(s, job_of(s, job).request), instance_of(s, encoder)
    return ask(s, ENCODE_BATCHING, entry, seen, at)


@part
def enqueue_job(s: Any, job: int, now: float) -> int:
    """Route a job and queue it; return its encoder."""
    request = job_of(s, job).request
    describe_job(s, job)
    encoder = choose(s, ENCODING, request, now)
    seen, entry, engine = instance_of(s, encoder), request_of(s, request), engine_of(s, encoder)
    if job_is_cached(s, encoder, job):
        find_job(s, encoder, job, now)
        return encoder
    entry.queued_s = now
    seen.waiting += 1
    seen.pending_images += entry.job_images
    seen.pending_image_tokens += entry.job_image_tokens
    seen.pending_tiles += entry.job_tiles
    refresh_backlog(s, encoder)
    key = rank_job(s, encoder, job, now)
    heap.push(job_heap(s, encoder), engine.queued_jobs, key, order_of(request, job_of(s, job).ordinal), job)
    engine.queued_jobs += 1
    s.longest_queue = max(s.longest_queue, engine.queued_jobs)
    return encoder


@part
def find_job(s: Any, encoder: int, job: int, now: float) -> None:
    """The encoder has the embeddings of a job: it is done without work."""
    job_of(s, job).encoder = encoder
    note_change(s, encoder)
    s.jobs_found += 1
    send(s, job, job_of(s, job).request, FOUND, now)


@part
def rerank_jobs(s: Any, encoder: int, now: float) -> None:
    """Rank the whole queue anew."""
    for at in range(engine_of(s, encoder).queued_jobs):
        queued_job_at(s, encoder, at).key = rank_job(s, encoder, queued_job_at(s, encoder, at).ident, now)
    heap.heapify(job_heap(s, encoder), engine_of(s, encoder).queued_jobs)


@part
def rerank_siblings(s: Any, request: int, now: float) -> None:
    """Rank anew the queued jobs of a request whose remaining encode work has changed."""
    encoders = group_of(s, ENCODING)
    for encoder in range(encoders.first, encoders.first + encoders.count):
        for at in range(engine_of(s, encoder).queued_jobs):
            if job_of(s, queued_job_at(s, encoder, at).ident).request == request:
                rerank_jobs(s, encoder, now)
                break


@part
def take_jobs(s: Any, encoder: int, now: float) -> None:
    """Add waiting jobs in queue order to the step being composed while they fit; its first job always does."""
    engine, seen, pool = engine_of(s, encoder), instance_of(s, encoder), pool_of(s, engine_of(s, encoder).pool)
    if engine.queued_jobs > 0 and pool.fixed_job_order == 0:
        rerank_jobs(s, encoder, now)
    while engine.queued_jobs > 0 and engine.work < pool.max_step_jobs:
        job = queued_job_at(s, encoder, 0).ident
        if s.admitting == 1 and s.overlap_tokens == 0 and reconsider_job(s, encoder, job, now):
            continue
        entry, images = request_of(s, job_of(s, job).request), job_of(s, job).images
        tokens = images * entry.tokens_per_image
        if engine.work > 0 and tokens > seen.encoder_budget_left:
            return
        heap.pop(job_heap(s, encoder), engine.queued_jobs)
        engine.queued_jobs -= 1
        progress = progress_of(s, job_of(s, job).request)
        progress.encode_begun_s = earliest(progress.encode_begun_s, now)
        engine.step_tiles += images * entry.tiles_per_image
        seen.encoder_budget_left -= tokens
        seen.in_service_image_tokens += tokens
        seen.in_service_tiles += images * entry.tiles_per_image
        seen.waiting -= 1
        seen.running += 1
        slot_of(s, encoder, engine.work).ident = ~job
        engine.work += 1


@part
def reconsider_job(s: Any, encoder: int, job: int, now: float) -> bool:
    """Ask the admission policy about the head of the queue; True if the queue has another head now.

    A request that is dropped leaves every queue; its jobs that run are finished for nothing.
    """
    request = job_of(s, job).request
    describe_job(s, job)
    said = verdict(s, request, encoder, now)
    if said == DROP:
        withdraw_jobs(s, request, encoder)
        fail(s, request, DROPPED, now)
        return True
    if said == DEMOTE and progress_of(s, request).demoted == 0:
        demote(s, request, encoder)
        demote_jobs(s, request)
        return True
    return False


@part
def withdraw_jobs(s: Any, request: int, composing: int) -> None:
    """Take the waiting jobs of a request off every encoder, of which `composing` composes a step."""
    encoders = group_of(s, ENCODING)
    for encoder in range(encoders.first, encoders.first + encoders.count):
        engine, kept = engine_of(s, encoder), 0
        for at in range(engine.queued_jobs):
            entry, other = queued_job_at(s, encoder, at), queued_job_at(s, encoder, kept)
            if job_of(s, entry.ident).request == request:
                withdraw_job(s, encoder, entry.ident)
            else:
                other.key, other.order, other.ident = entry.key, entry.order, entry.ident
                kept += 1
        if kept < engine.queued_jobs:
            engine.queued_jobs = kept
            heap.heapify(job_heap(s, encoder), kept)
            if encoder == composing:
                refresh_composing(s, encoder)
            else:
                refresh_backlog(s, encoder)


@part
def withdraw_job(s: Any, encoder: int, job: int) -> None:
    """Take a waiting job off the record of its encoder, and free it."""
    uncount_job(s, encoder, job)
    instance_of(s, encoder).waiting -= 1
    progress_of(s, job_of(s, job).request).jobs_left -= 1
    free_job(s, job)


@part
def uncount_job(s: Any, encoder: int, job: int) -> None:
    """The job is no work to do any more."""
    seen, images, entry = instance_of(s, encoder), job_of(s, job).images, request_of(s, job_of(s, job).request)
    seen.pending_images -= images
    seen.pending_image_tokens -= images * entry.tokens_per_image
    seen.pending_tiles -= images * entry.tiles_per_image


@part
def demote_jobs(s: Any, request: int) -> None:
    """Put the waiting jobs of a request behind all others."""
    encoders = group_of(s, ENCODING)
    for encoder in range(encoders.first, encoders.first + encoders.count):
        for at in range(engine_of(s, encoder).queued_jobs):
            if job_of(s, queued_job_at(s, encoder, at).ident).request == request:
                queued_job_at(s, encoder, at).key = np.inf
        heap.heapify(job_heap(s, encoder), engine_of(s, encoder).queued_jobs)


@part
def clear_jobs(s: Any, encoder: int) -> None:
    """Take the finished step's jobs off the instance's record."""
    seen = instance_of(s, encoder)
    for at in range(engine_of(s, encoder).work):
        if slot_of(s, encoder, at).ident < 0:
            uncount_job(s, encoder, ~slot_of(s, encoder, at).ident)
            seen.running -= 1


@part
def finish_job(s: Any, encoder: int, job: int, now: float) -> bool:
    """Book a job as done and, unless its embeddings travel alone, free it; True if it was the last of its request."""
    request = job_of(s, job).request
    progress, entry = progress_of(s, request), request_of(s, request)
    entry.images_left -= job_of(s, job).images
    progress.jobs_left -= 1
    job_of(s, job).encoder = encoder
    note_server(s, request, encoder)
    if s.caching == 1:
        images = job_of(s, job).images
        remember(s, encoder, request, job_of(s, job).first, images, images * entry.tokens_per_image)
    if s.overlap_tokens == 0:
        free_job(s, job)
    if progress.failure != 0:
        return False
    left_s = critical_path(s, request)
    changed = left_s != entry.encode_estimate_s
    entry.encode_estimate_s = left_s
    if progress.jobs_left == 0 and progress.uncut_images == 0:
        progress.encoded_s, progress.encoder = now, encoder
        return True
    if changed and pool_of(s, engine_of(s, encoder).pool).ranks_estimates == 1:
        rerank_siblings(s, request, now)
    return False
