"""What instances keep for requests that come again: embeddings of encode jobs, prefixes of prompts.

Each instance has one cache of a fixed size, least recently used out first: a separate encoder keeps the embeddings of
the jobs it has run, a prefill instance the KV of the prompts it has prefilled, in memory set aside for that. An entry
is found through the list of its content, which the first request of that content heads.
"""

from __future__ import annotations

from typing import Any

from slackwise.jit import called, part
from slackwise.policies.features import ENCODE
from slackwise.simulator.state import DOWN, OFF
from slackwise.simulator.tables import (
    cached_at,
    engine_of,
    group_of,
    instance_of,
    job_of,
    pool_of,
    progress_of,
    request_of,
    shown_of,
)

KV_BLOCK_TOKENS = 16
"""A prefix is shared in whole blocks, and its last token is always computed (vLLM V1)."""


@called
def find(s: Any, instance: int, request: int, first: int, images: int) -> int:
    """The entry on an instance with these images of a request's content (none: its prompt), -1 if there is none."""
    at = progress_of(s, progress_of(s, request).content).cached
    while at >= 0:
        entry = cached_at(s, at)
        if entry.instance == instance and entry.first == first and entry.images == images:
            return at
        at = entry.alike
    return -1


@called
def remember(s: Any, instance: int, request: int, first: int, images: int, tokens: int) -> None:
    """Keep an entry as the newest of its instance; what is oldest makes room, and what never fits is not kept.

    Neither are images of jobs that were cut again after a crash (`first` -1), nor anything once the instance is gone.
    """
    if first < 0 or engine_of(s, instance).status == OFF or engine_of(s, instance).status == DOWN:
        return
    capacity = pool_of(s, engine_of(s, instance).pool).cache_tokens
    at = find(s, instance, request, first, images)
    if at >= 0:
        unlink(s, at)
    elif tokens > capacity:
        return
    else:
        while engine_of(s, instance).cache_tokens + tokens > capacity:
            forget(s, engine_of(s, instance).oldest)
        at = add(s, instance, request, first, images, tokens)
    append(s, at)


@part
def add(s: Any, instance: int, request: int, first: int, images: int, tokens: int) -> int:
    """A new entry in the list of its content."""
    s.free_cached -= 1
    at, content = cached_at(s, s.free_cached).free, progress_of(s, request).content
    entry = cached_at(s, at)
    entry.instance, entry.content, entry.first, entry.images, entry.tokens = instance, content, first, images, tokens
    entry.alike = progress_of(s, content).cached
    progress_of(s, content).cached = at
    engine_of(s, instance).cache_tokens += tokens
    return int(at)


@part
def forget(s: Any, at: int) -> None:
    """Drop an entry."""
    entry = cached_at(s, at)
    unlink(s, at)
    engine_of(s, entry.instance).cache_tokens -= entry.tokens
    head = progress_of(s, entry.content)
    if head.cached == at:
        head.cached = entry.alike
    else:
        before = head.cached
        while cached_at(s, before).alike != at:
            before = cached_at(s, before).alike
        cached_at(s, before).alike = entry.alike
    cached_at(s, s.free_cached).free = at
    s.free_cached += 1


@part
def append(s: Any, at: int) -> None:
    """Make an entry the newest of its instance."""
    entry, engine = cached_at(s, at), engine_of(s, cached_at(s, at).instance)
    entry.older, entry.newer = engine.newest, -1
    if engine.newest >= 0:
        cached_at(s, engine.newest).newer = at
    else:
        engine.oldest = at
    engine.newest = at


@part
def unlink(s: Any, at: int) -> None:
    """Take an entry out of the order of use of its instance."""
    entry, engine = cached_at(s, at), engine_of(s, cached_at(s, at).instance)
    if entry.older >= 0:
        cached_at(s, entry.older).newer = entry.newer
    else:
        engine.oldest = entry.newer
    if entry.newer >= 0:
        cached_at(s, entry.newer).older = entry.older
    else:
        engine.newest = entry.older


@part
def prefix_tokens(s: Any, request: int) -> int:
    """Prompt tokens that need not be computed if the same prompt is in the cache."""
    return (request_of(s, request).prompt_tokens - 1) // KV_BLOCK_TOKENS * KV_BLOCK_TOKENS


@called
def reuse_prefix(s: Any, instance: int, request: int, now: float) -> None:
    """Spare a request that is queued for prefill what the cache of its instance holds of its prompt."""
    progress, entry, seen = progress_of(s, request), request_of(s, request), instance_of(s, instance)
    tokens = prefix_tokens(s, request)
    if progress.images_missing > 0 or tokens == 0 or find(s, instance, request, 0, 0) < 0:
        return
    remember(s, instance, request, 0, 0, 0)
    progress.prefilled_tokens = tokens
    s.prefixes_found += 1
    entry.prompt_tokens_left -= tokens
    entry.prefill_estimate_s = progress.prefill_s * entry.prompt_tokens_left / entry.prompt_tokens
    seen.pending_prompt_tokens -= tokens
    if seen.stages & ENCODE and entry.images_left > 0:
        spare_images(s, instance, request, tokens, now)


@part
def spare_images(s: Any, instance: int, request: int, tokens: int, now: float) -> None:
    """Images that lie whole within the first `tokens` tokens of the prompt need no encoding."""
    progress, entry, seen = progress_of(s, request), request_of(s, request), instance_of(s, instance)
    covered = entry.images
    if progress.sequence_tokens_per_image > 0:
        covered = min(covered, tokens // progress.sequence_tokens_per_image)
    spared = entry.images_left - min(entry.images_left, entry.images - covered)
    entry.images_left -= spared
    entry.encode_estimate_s = entry.images_left * progress.image_s
    seen.pending_images -= spared
    seen.pending_tiles -= spared * entry.tiles_per_image
    if spared > 0 and entry.images_left == 0:
        progress.encoded_s, progress.encoder = now, instance


@called
def forget_all(s: Any, instance: int) -> None:
    """Empty the cache of an instance that gives up its GPUs."""
    while engine_of(s, instance).oldest >= 0:
        forget(s, engine_of(s, instance).oldest)


@called
def show_cached(s: Any, group: int, request: int, shown: int) -> None:
    """Write into the records that routers see what each of a group has of the work in question (`shown` 0: nothing)."""
    members, entry = group_of(s, group), request_of(s, request)
    for instance in range(members.first, members.first + members.count):
        shown_of(s, instance).cached_image_tokens = shown_of(s, instance).cached_prefix_tokens = 0
    at = progress_of(s, progress_of(s, request).content).cached if shown == 1 else -1
    while at >= 0:
        kept = cached_at(s, at)
        if members.first <= kept.instance < members.first + members.count:
            if entry.job_images == 0 and kept.images == 0:
                shown_of(s, kept.instance).cached_prefix_tokens = prefix_tokens(s, request)
            elif (
                kept.images > 0 and kept.images == entry.job_images and kept.first == progress_of(s, request).job_first
            ):
                shown_of(s, kept.instance).cached_image_tokens = kept.tokens
        at = kept.alike


@part
def job_is_cached(s: Any, encoder: int, job: int) -> bool:
    """Whether an encoder has the embeddings of a job."""
    of = job_of(s, job)
    return s.caching == 1 and find(s, encoder, of.request, of.first, of.images) >= 0
