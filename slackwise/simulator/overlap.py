"""Encode-prefill overlap (RServe, 2025): prefill runs on the part of the prompt whose embeddings are there.

With separate encoders the embeddings of each job travel as soon as they exist. The request is routed to its LLM
instance when its first job is done, joins the queue there when the images that came without a gap hold the smallest
chunk, and is prefilled up to the first missing image. Models with cross-attention need all images before the first
token: not for them.
"""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator.queueing import assign, awaits_images, deliver, interrupt
from slackwise.simulator.tables import engine_of, job_of, pool_of, progress_of, request_of
from slackwise.simulator.transfer import PART, part_s, send

UNDER_WAY, LANDED, HELD = 0, 1, 2
"""Of a job: not there yet, there before one that it follows, or done and waiting for somebody to take it."""


@part
def send_part(s: Any, job: int, now: float) -> None:
    """Send the embeddings of a finished job, the first of a request where the router says; else hold them."""
    request = job_of(s, job).request
    progress = progress_of(s, request)
    if progress.instance < 0 and (progress.parts_held > 0 or not assign(s, request, now)):
        job_of(s, job).landed = HELD
        progress.parts_held += 1
    else:
        send(s, job, request, PART, now + part_s(s, job))


@part
def send_held(s: Any, request: int, now: float) -> None:
    """Send the embeddings that waited until an instance was ready."""
    job = progress_of(s, request).first_job
    progress_of(s, request).parts_held = 0
    while job >= 0:
        if job_of(s, job).landed == HELD:
            job_of(s, job).landed = UNDER_WAY
            send(s, job, request, PART, now + part_s(s, job))
        job = job_of(s, job).next


@part
def land(s: Any, job: int, now: float) -> None:
    """Take in the embeddings of a job; the request goes on if they close the gap after those that came before."""
    request = job_of(s, job).request
    progress, missing = progress_of(s, request), progress_of(s, request).images_missing
    job_of(s, job).landed = LANDED
    while progress.first_job >= 0 and job_of(s, progress.first_job).landed == LANDED:
        close_gap(s, request)
    if progress.images_missing == 0:
        request_of(s, request).transfer_estimate_s = 0.0
    if progress.joined == 1 and progress.images_missing < missing:
        interrupt(s, progress.instance, now)
    elif progress.joined == 0 and may_join(s, request):
        progress.joined = 1
        deliver(s, request, now)


@part
def close_gap(s: Any, request: int) -> None:
    """The first missing job is here: free it."""
    progress, job = progress_of(s, request), progress_of(s, request).first_job
    progress.images_missing -= job_of(s, job).images
    progress.first_job = job_of(s, job).next
    job_of(s, s.free_jobs).free = job
    s.free_jobs += 1


@part
def may_join(s: Any, request: int) -> bool:
    """Whether a request has something to prefill; engines that take whole prompts wait for all images."""
    progress = progress_of(s, request)
    if progress.images_missing == 0:
        return True
    whole = pool_of(s, engine_of(s, progress.instance).pool).prefill_first == 1
    return not whole and not awaits_images(s, request)
