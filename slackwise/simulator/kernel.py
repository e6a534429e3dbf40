"""The compiled kernel: one loop over orders, arrivals, deliveries and step ends, up to a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, from_dtype, int64

from slackwise.jit import PART_OPTIONS, called, compiled, part
from slackwise.policies.compilation import stamped
from slackwise.simulator import heap
from slackwise.simulator.admission import least_busy_encoder, refused
from slackwise.simulator.dispatch import park
from slackwise.simulator.encode import cut, enqueue_job, free_job, withdraw_jobs
from slackwise.simulator.handover import lose, release, send_kv
from slackwise.simulator.iteration import begin, end, end_job
from slackwise.simulator.log import ARRIVED, note
from slackwise.simulator.mishaps import obey
from slackwise.simulator.overlap import land, send_held
from slackwise.simulator.queueing import assign, deliver, interrupt
from slackwise.simulator.state import CLOCK, DECODING, ENCODING, PREFILLING
from slackwise.simulator.tables import (
    LAYOUTS,
    arrival_at,
    engine_of,
    group_of,
    job_of,
    match_of,
    progress_of,
    request_of,
    transfer_at,
)
from slackwise.simulator.transfer import FOUND, KIND, KIND_BITS, LOST, PART, RELEASE, send_embeddings

DONE, PAUSED, FULL = 0, 1, 2
"""How a run ended: nothing is left to do; `until` was reached; from FULL on: which of state.ROOMS needs more room."""


@part
def shortage(s: Any) -> int:
    """What has no room for any single event, as its place in ROOMS; -1 if all have."""
    if s.longest_queue + s.most_images + s.sequences + s.crashing * (s.longest_queue + s.transfers) >= s.queue_room:
        return 0
    if s.free_jobs <= s.most_images:
        return 1
    if s.caching == 1 and s.free_cached <= s.sequences:
        return 2
    if s.transfers + s.most_images + 2 * s.sequences + s.leaves >= s.transfer_room:
        return 3
    return 4 if s.orders + s.leaves >= s.order_room else -1


@part
def arrive(s: Any) -> tuple[int, int]:
    """The next arrival, and its group: separate encoders for images if there are any, else prefill instances."""
    request = arrival_at(s, s.next_arrival).request
    s.next_arrival += 1
    note(s, ARRIVED, request, -1, 0, 0)
    if group_of(s, ENCODING).count == 0 or request_of(s, request).images == 0:
        return request, PREFILLING
    progress_of(s, request).uncut_images = request_of(s, request).images
    return request, ENCODING


@called
def receive(s: Any, now: float) -> tuple[int, int]:
    """Take the next delivery or order; a request that has waited for an order is returned with its group, else -1."""
    code = heap.pop(s.transfers_at, s.transfers)
    s.transfers -= 1
    if code < 0:
        return obey(s, ~code, now)
    ident, kind = code >> KIND_BITS, code & KIND
    if kind == RELEASE:
        release(s, ident, now)
    elif kind == FOUND:
        end_job(s, job_of(s, ident).encoder, ident, now)
    elif kind == PART:
        land(s, ident, now)
    elif kind == LOST:
        lose(s, ident, now)
    else:
        deliver(s, ident, now)
    return -1, -1


@called
def enter(s: Any, request: int, group: int, now: float) -> None:
    """Route a request to an instance of a group, or let it wait until one is ready."""
    if progress_of(s, request).failure != 0:
        return  # dropped meanwhile, by another of its jobs
    if group == DECODING:
        send_kv(s, request, now)
    elif group == PREFILLING:
        enter_prefill(s, request, now)
    elif group_of(s, ENCODING).ready == 0:
        park(s, ENCODING, request)
    else:
        enter_encoders(s, request, now)


@part
def enter_prefill(s: Any, request: int, now: float) -> None:
    """Route a request to a prefill instance; embeddings that are elsewhere are sent after it."""
    if assign(s, request, now):
        progress = progress_of(s, request)
        if progress.parts_held > 0:
            send_held(s, request, now)
        elif progress.to_send == 1:
            send_embeddings(s, request, now)
        else:
            deliver(s, request, now)


@part
def enter_encoders(s: Any, request: int, now: float) -> None:
    """Cut the images of a request into jobs and route each."""
    job = cut(s, request, now)
    if s.admitting == 1 and refused(s, request, least_busy_encoder(s), now):
        drop_jobs(s, job)
        withdraw_jobs(s, request, -1)
        return
    while job >= 0:
        following = job_of(s, job).next
        interrupt(s, enqueue_job(s, job, now), now)
        job = following


@part
def drop_jobs(s: Any, job: int) -> None:
    """Free the linked jobs of a request that was cut and not taken."""
    progress = progress_of(s, job_of(s, job).request)
    progress.images_missing, progress.first_job = 0, -1
    while job >= 0:
        following = job_of(s, job).next
        progress.jobs_left -= 1
        free_job(s, job)
        job = following


def _run(clock: Any, until: float) -> int:
    """Run the state behind `clock`: process events in order of time up to and including `until`.

    At one time: orders, arrivals, deliveries, then step ends.
    """
    s = clock[0]
    while True:
        arrival, delivery = np.inf, np.inf
        if s.next_arrival < s.request_count:
            arrival = arrival_at(s, s.next_arrival).ready_s
        if s.transfers > 0:
            delivery = transfer_at(s, 0).key
        stepping = match_of(s, 1).winner
        now = min(arrival, delivery, match_of(s, 1).key)
        if now > until or now == np.inf:
            return DONE if now == np.inf else PAUSED
        short = shortage(s)
        if short >= 0:
            return FULL + short
        s.now_s = now
        s.events += 1
        request, group = -1, -1
        if arrival == now and (delivery > now or transfer_at(s, 0).ident >= 0):  # no order
            request, group = arrive(s)
        elif delivery == now:
            request, group = receive(s, now)
        else:
            if engine_of(s, stepping).leap_steps > 0:  # none if it was idle
                end(s, stepping, now)
            begin(s, stepping, now)
        if request >= 0:
            enter(s, request, group, now)


_CLOCK = from_dtype(CLOCK)[::1]
SIGNATURE = int64(_CLOCK, float64)
run = compiled(SIGNATURE)(stamped(_run, PART_OPTIONS, *LAYOUTS))
"""run(clock, until) -> DONE, PAUSED or FULL + place in ROOMS: the state moves up to and including `until`."""
