"""The compiled kernel: one loop over arrivals, deliveries and step ends, up to a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, from_dtype, int64

from slackwise.jit import PART_OPTIONS, compiled, part
from slackwise.policies.compilation import POLICY, stamped
from slackwise.simulator import heap
from slackwise.simulator.encode import cut, enqueue_job
from slackwise.simulator.handover import release
from slackwise.simulator.iteration import begin, end
from slackwise.simulator.log import ARRIVED, note
from slackwise.simulator.queueing import assign, deliver, interrupt
from slackwise.simulator.state import CLOCK, ENCODING
from slackwise.simulator.tables import (
    LAYOUTS,
    engine_of,
    group_of,
    job_of,
    match_of,
    request_of,
    transfer_at,
)
from slackwise.simulator.transfer import RELEASE

DONE, PAUSED, FULL = 0, 1, 2
"""How a run ended: nothing is left to do; `until` was reached; some part of the state needs more room."""


class Deciders(NamedTuple):
    """The decisions of a run, as compiled functions with their parameters."""

    encode_routing: Any
    encode_batching: Any
    chunking: Any
    routing: Any
    batching: Any
    decode_routing: Any
    encode_routing_params: Any
    encode_batching_params: Any
    chunking_params: Any
    routing_params: Any
    batching_params: Any
    decode_routing_params: Any


@part
def has_room(s: Any) -> bool:
    """Whether any single event fits into the queues, jobs and transfers."""
    images = 1
    if s.next_arrival < s.request_count:
        images = request_of(s, s.next_arrival).images
    return (
        s.longest_queue + images + s.sequences < s.queue_room
        and s.free_jobs > images
        and s.transfers + 2 * s.sequences < s.transfer_room
    )


@part
def arrive(s: Any, now: float, policies: Any) -> None:
    """Take the next arrival: its images go to separate encoders if there are any, else all to a prefill instance."""
    request = s.next_arrival
    s.next_arrival += 1
    note(s, ARRIVED, request, -1, 0, 0)
    if group_of(s, ENCODING).count == 0 or request_of(s, request).images == 0:
        assign(s, request, now, policies)
        deliver(s, request, now, policies)
        return
    job = cut(s, request, now, policies)
    while job >= 0:
        following = job_of(s, job).next
        interrupt(s, enqueue_job(s, job, now, policies), now)
        job = following


@part
def receive(s: Any, now: float, policies: Any) -> None:
    """Take the next delivery."""
    code = heap.pop(s.transfers_at, s.transfers)
    s.transfers -= 1
    if code & 1 == RELEASE:
        release(s, code >> 1, now)
    else:
        deliver(s, code >> 1, now, policies)


@part
def advance(s: Any, until: float, policies: Any) -> int:
    """Process events in order of time up to and including `until`; at one time arrivals, deliveries, then step ends."""
    while True:
        arrival, delivery = np.inf, np.inf
        if s.next_arrival < s.request_count:
            arrival = request_of(s, s.next_arrival).arrival_s
        if s.transfers > 0:
            delivery = transfer_at(s, 0).key
        stepping = match_of(s, 1).winner
        now = min(arrival, delivery, engine_of(s, stepping).step_end_s)
        if now > until or now == np.inf:
            return DONE if now == np.inf else PAUSED
        if not has_room(s):
            return FULL
        s.now_s = now
        s.events += 1
        if arrival == now:
            arrive(s, now, policies)
        elif delivery == now:
            receive(s, now, policies)
        else:
            if engine_of(s, stepping).leap_steps > 0:  # none if it was idle
                end(s, stepping, now, policies)
            begin(s, stepping, now, policies)


def _run(
    clock: Any,
    until: float,
    encode_routing: Any,
    encode_batching: Any,
    chunking: Any,
    routing: Any,
    batching: Any,
    decode_routing: Any,
    encode_routing_params: Any,
    encode_batching_params: Any,
    chunking_params: Any,
    routing_params: Any,
    batching_params: Any,
    decode_routing_params: Any,
) -> int:
    """Run the state behind `clock` up to `until`; functions enter one by one, since Numba converts them only here."""
    policies = Deciders(
        encode_routing,
        encode_batching,
        chunking,
        routing,
        batching,
        decode_routing,
        encode_routing_params,
        encode_batching_params,
        chunking_params,
        routing_params,
        batching_params,
        decode_routing_params,
    )
    return advance(clock[0], until, policies)


_CLOCK = from_dtype(CLOCK)[::1]
_SIGNATURE = int64(_CLOCK, float64, *([POLICY] * 6), *([float64[::1]] * 6))
run = compiled(_SIGNATURE)(stamped(_run, PART_OPTIONS, *LAYOUTS))
"""run(clock, until, *functions, *params) -> DONE, PAUSED or FULL: the state moves up to and including `until`."""
