"""What the lists of a state add up to at each instance: what its running counts should say. Shape (m,) throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.features import ENCODE, PREFILL
from slackwise.simulator.recount import Listed, Numbers, Recount, joined

Sums = NDArray[np.float64]
"""Whole numbers, exact below 2^53."""


def by_instance(count: Recount, instance: Numbers, weights: Any = None) -> Sums:
    """Sum of the weights, or number, of what is at each instance."""
    summed: Sums = np.bincount(instance, weights, len(count.state.instances)).astype(np.float64)
    return summed


def held_by_decodes(count: Recount) -> Sums:
    """KV tokens of the running decodes."""
    requests, instance = count.decoding
    progress = count.state.progress
    since = generated(count) - progress.generated[requests]
    return by_instance(count, instance, progress.target_tokens[requests] + since + progress.image_kv_tokens[requests])


def held_by_prefills(count: Recount) -> Sums:
    """KV tokens of the unfinished prefills, those of the running step included."""
    requests, instance = count.prefilling
    own = count.state.progress.prefilled_tokens[requests] + _step_tokens(count)
    return by_instance(count, instance, own + count.state.progress.image_kv_tokens[requests] * (own > 0))


def _step_tokens(count: Recount) -> Numbers:
    """Prompt tokens that the running step of its instance computes of each unfinished prefill."""
    work, at = count.chunks
    tokens = dict(zip(zip(at.tolist(), work.ident.tolist(), strict=True), work.tokens.tolist(), strict=True))
    requests, instance = count.prefilling
    prefills = zip(instance.tolist(), requests.tolist(), strict=True)
    return np.array([tokens.get(prefill, 0) for prefill in prefills], np.int64)


def held_for_others(count: Recount) -> Sums:
    """KV tokens of prefilled requests that decode elsewhere."""
    requests, instance = count.leaving
    progress = count.state.progress
    return by_instance(count, instance, progress.target_tokens[requests] + progress.image_kv_tokens[requests])


def images_cached(count: Recount) -> Sums:
    """Images in the encoder cache, those of the running step included."""
    requests, instance = count.prefilling
    return by_instance(count, instance, count.state.progress.images_cached[requests])


def embeddings(count: Recount) -> Sums:
    """Tokens in the encoder cache, those of the running step included."""
    requests, instance = count.prefilling
    tokens = count.state.requests.tokens_per_image[requests]
    return by_instance(count, instance, count.state.progress.images_cached[requests] * tokens)


def generated(count: Recount) -> Numbers:
    """Tokens that running decodes have emitted (of each decode); `progress.generated` is as of their last start."""
    requests, instance = count.decoding
    progress, steps = count.state.progress, count.state.engines.decode_steps
    emitted: Numbers = progress.output_tokens[requests] - (progress.finish_step[requests] - steps[instance])
    return emitted


def facts(count: Recount) -> dict[str, Sums]:
    """Counts of every instance, by feature of INSTANCE: its encode jobs and its requests together."""
    counted = [job_facts(count), request_facts(count), prefill_facts(count)]
    names = dict.fromkeys(name for each in counted for name in each)
    return {name: np.sum([each[name] for each in counted if name in each], axis=0) for name in names}


def job_facts(count: Recount) -> dict[str, Sums]:
    """What encode jobs add."""
    running = count.running_jobs
    pending = joined(count.queued_jobs, running)
    return {
        "waiting": by_instance(count, count.queued_jobs.instance),
        "running": by_instance(count, running.instance),
        "pending_images": _images(count, pending),
        "pending_image_tokens": _images(count, pending, "tokens_per_image"),
        "pending_tiles": _images(count, pending, "tiles_per_image"),
        "in_service_image_tokens": _images(count, running, "tokens_per_image"),
        "in_service_tiles": _images(count, running, "tiles_per_image"),
    }


def _images(count: Recount, jobs: Listed, each: str | None = None) -> Sums:
    """Images of encode jobs, or what they have of `each` of REQUEST."""
    images, requests = count.state.jobs.images[jobs.ident], count.state.jobs.request[jobs.ident]
    weight = 1 if each is None else count.state.requests[each][requests]
    return by_instance(count, jobs.instance, images * weight)


def request_facts(count: Recount) -> dict[str, Sums]:
    """What requests add, whatever they come for."""
    requests, (work, at) = count.state.requests, count.chunks
    return {
        "waiting": by_instance(count, count.waiting.instance),
        "running": by_instance(count, joined(count.prefilling, count.decoding).instance),
        "in_service_prompt_tokens": by_instance(count, at, work.tokens),
        "in_service_image_tokens": by_instance(count, at, work.images * requests.tokens_per_image[work.ident]),
        "in_service_tiles": by_instance(count, at, work.images * requests.tiles_per_image[work.ident]),
    }


def prefill_facts(count: Recount) -> dict[str, Sums]:
    """What prompts to compute add, where prompts are computed."""
    requests, progress, stages = count.state.requests, count.state.progress, count.state.instances.stages
    there, instance = joined(count.waiting, count.prefilling)
    here = stages[instance] & PREFILL != 0
    there, instance = there[here], instance[here]
    images_left = requests.images_left[there] * (stages[instance] & ENCODE != 0)
    prompt_left = progress.target_tokens[there] - progress.prefilled_tokens[there]
    return {
        "pending_text_tokens": by_instance(count, instance, requests.text_tokens[there]),
        "pending_image_tokens": by_instance(count, instance, requests.image_tokens[there]),
        "pending_prompt_tokens": by_instance(count, instance, prompt_left),
        "pending_images": by_instance(count, instance, images_left),
        "pending_tiles": by_instance(count, instance, images_left * requests.tiles_per_image[there]),
    }
