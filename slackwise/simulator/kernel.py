"""The compiled kernel: one loop over arrivals, deliveries and step ends, up to a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, from_dtype, int64

from slackwise.jit import PART_OPTIONS, compiled, part
from slackwise.policies.compilation import POLICY, stamped
from slackwise.simulator import heap
from slackwise.simulator.encode import begin_encode, clear_step, cut, enqueue_job, finish_job
from slackwise.simulator.llm import begin_llm, encodes, end_llm
from slackwise.simulator.queueing import assign, deliver
from slackwise.simulator.state import CLOCK
from slackwise.simulator.tables import (
    LAYOUTS,
    engine_of,
    job_of,
    match_of,
    progress_of,
    request_of,
    slot_of,
    transfer_at,
)

DONE, PAUSED, FULL = 0, 1, 2
"""How a run ended: nothing is left to do; `until` was reached; some part of the state needs more room."""


class Deciders(NamedTuple):
    """The five decisions of a run, as compiled functions with their parameters."""

    encode_routing: Any
    encode_batching: Any
    chunking: Any
    routing: Any
    batching: Any
    encode_routing_params: Any
    encode_batching_params: Any
    chunking_params: Any
    routing_params: Any
    batching_params: Any


@part
def has_room(s: Any) -> bool:
    """Whether any single event fits into the queues, jobs and transfers."""
    images = 1
    if s.next_arrival < s.request_count:
        images = request_of(s, s.next_arrival).images
    return (
        s.longest_queue + images + s.sequences < s.queue_room
        and s.free_jobs > images
        and s.transfers + s.sequences < s.transfer_room
    )


@part
def arrive(s: Any, now: float, policies: Any) -> int:
    """Take the next arrival: images go to the encoders; else return the request, to be delivered at once."""
    request = s.next_arrival
    s.next_arrival += 1
    if s.encode_pool < 0 or request_of(s, request).images == 0:
        assign(s, request, now, policies)
        return request
    job = cut(s, request, now, policies)
    while job >= 0:
        following = job_of(s, job).next
        encoder = enqueue_job(s, job, now, policies)
        if engine_of(s, encoder).work == 0:
            begin_encode(s, encoder, now, policies)
        job = following
    return -1


@part
def end_encode(s: Any, encoder: int, now: float, policies: Any) -> None:
    """Book the finished jobs; requests whose last image is done are routed to the LLM and their embeddings sent."""
    clear_step(s, encoder)
    s.steps += 1
    for at in range(engine_of(s, encoder).work):
        job = slot_of(s, encoder, at).ident
        request = job_of(s, job).request
        if finish_job(s, encoder, job, now, policies):
            assign(s, request, now, policies)
            heap.push(s.transfers_at, s.transfers, now + progress_of(s, request).transfer_s, request, request)
            s.transfers += 1
    engine_of(s, encoder).work = 0


@part
def advance(s: Any, until: float, policies: Any) -> int:
    """Process events in order of time up to and including `until`; at one time arrivals, deliveries, then step ends."""
    while True:
        arrival, delivery, woken, arrived = np.inf, np.inf, -1, -1
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
            arrived = arrive(s, now, policies)
        elif delivery == now:
            arrived = heap.pop(s.transfers_at, s.transfers)
            s.transfers -= 1
        else:
            woken = stepping
            if encodes(s, stepping):
                end_encode(s, stepping, now, policies)
                begin_encode(s, stepping, now, policies)
                woken = -1
            else:
                end_llm(s, stepping, now)
        if arrived >= 0:
            woken = deliver(s, arrived, now, policies)
        if woken >= 0:
            begin_llm(s, woken, now, policies)


def _run(
    clock: Any,
    until: float,
    encode_routing: Any,
    encode_batching: Any,
    chunking: Any,
    routing: Any,
    batching: Any,
    encode_routing_params: Any,
    encode_batching_params: Any,
    chunking_params: Any,
    routing_params: Any,
    batching_params: Any,
) -> int:
    """Run the state behind `clock` up to `until`; functions enter one by one, since Numba converts them only here."""
    policies = Deciders(
        encode_routing,
        encode_batching,
        chunking,
        routing,
        batching,
        encode_routing_params,
        encode_batching_params,
        chunking_params,
        routing_params,
        batching_params,
    )
    return advance(clock[0], until, policies)


_CLOCK = from_dtype(CLOCK)[::1]
_SIGNATURE = int64(_CLOCK, float64, *([POLICY] * 5), *([float64[::1]] * 5))
run = compiled(_SIGNATURE)(stamped(_run, PART_OPTIONS, *LAYOUTS))
"""run(clock, until, *functions, *params) -> DONE, PAUSED or FULL: the state moves up to and including `until`."""
