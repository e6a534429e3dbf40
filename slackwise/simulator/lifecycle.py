"""The life of an instance: ordered, loading, ready, draining, released; and what each order does.

| order | to an instance that is | does |
|---|---|---|
| START | OFF | takes its GPUs, STARTING; OPEN follows after `value` seconds |
| OPEN | STARTING or DOWN, unless called off | READY: takes work, first of all the requests that were parked |
| DRAIN | STARTING, DOWN, READY | takes no more work (a start is called off); released, OFF, as soon as it is empty |
| RECALL | DRAINING | READY again at once |
| RESERVE | OFF | waits for `count` released instances, then starts on their GPUs in `value` seconds (a role switch) |

`other` of a RESERVE is the next instance that starts on the same GPUs, `other` of a DRAIN the first of them. Every
other order is ignored. GPU-seconds are charged from the order to the release, so also while an instance loads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.jit import called, part
from slackwise.simulator import heap
from slackwise.simulator.cache import forget_all
from slackwise.simulator.index import GROUPS, regrow
from slackwise.simulator.log import NOW_DRAINING, NOW_OFF, NOW_READY, NOW_STARTING, note
from slackwise.simulator.state import (
    DOWN,
    DRAIN,
    DRAINING,
    OFF,
    OPEN,
    ORDERS_FIRST,
    READY,
    RECALL,
    RESERVE,
    START,
    STARTING,
)
from slackwise.simulator.tables import engine_of, group_of, instance_of, order_at, ready_at


@part
def carry_out(s: Any, order: int, now: float) -> None:
    """Carry out an order of the table above."""
    record = order_at(s, order)
    instance, engine = record.instance, engine_of(s, record.instance)
    if record.kind == START and engine.status == OFF and engine.awaits == 0:
        start(s, instance, record.value, now)
    elif record.kind == DRAIN:
        drain(s, instance, record.other, now)
    elif record.kind == RECALL and engine.status == DRAINING and engine.successor < 0:
        set_ready(s, instance)
    elif record.kind == RESERVE and engine.status == OFF and engine.awaits == 0:
        engine.awaits, engine.switch_s, engine.sibling = record.count, record.value, record.other
    elif record.kind == OPEN and is_opening(engine.status) and engine.ready_s == now:
        set_ready(s, instance)


@part
def is_opening(status: int) -> bool:
    """Whether an instance is about to take work."""
    return status in (STARTING, DOWN)


@part
def waiting_group(s: Any) -> int:
    """A group for which requests are parked though an instance is ready, -1 if there is none."""
    for group in range(GROUPS):
        if group_of(s, group).parked > 0 and group_of(s, group).ready > 0:
            return group
    return -1


@part
def give(s: Any, time_s: float, kind: int, instance: int, now: float) -> None:
    """Give an order that follows from another."""
    record = order_at(s, s.orders)
    record.time_s, record.issued_s, record.kind, record.instance, record.other = time_s, now, kind, instance, -1
    record.given = 0
    push_order(s, s.orders, time_s)
    s.orders += 1


@part
def push_order(s: Any, order: int, time_s: float) -> None:
    """Put an order among the events to come."""
    heap.push(s.transfers_at, s.transfers, time_s, order - ORDERS_FIRST, ~order)
    s.transfers += 1


@part
def start(s: Any, instance: int, seconds: float, now: float) -> None:
    """Take GPUs and load the model."""
    engine = engine_of(s, instance)
    note(s, NOW_STARTING, -1, instance, 0, 0)
    engine.status = STARTING
    engine.since_s, engine.ready_s = now, now + seconds
    give(s, now + seconds, OPEN, instance, now)


@part
def set_ready(s: Any, instance: int) -> None:
    """Take work from now on."""
    note(s, NOW_READY, -1, instance, 0, 0)
    engine_of(s, instance).status = READY
    count_ready(s)


@part
def drain(s: Any, instance: int, successor: int, now: float) -> None:
    """Take no more work; release the GPUs when what is here has been done."""
    engine = engine_of(s, instance)
    if not is_opening(engine.status) and engine.status != READY:
        return
    reserved = successor >= 0 and engine_of(s, successor).awaits > 0
    engine.successor, engine.drained_s = successor if reserved else -1, now
    engine.assigned_before = instance_of(s, instance).assigned
    note(s, NOW_DRAINING, -1, instance, 0, 0)
    engine.status = DRAINING
    count_ready(s)
    if engine.step_end_s == np.inf:
        retire_if_empty(s, instance, now)


@part
def retire_if_empty(s: Any, instance: int, now: float) -> None:
    """Release an instance if nothing waits, runs or is held on it, or is on its way to it."""
    seen, engine = instance_of(s, instance), engine_of(s, instance)
    if seen.waiting + seen.running == 0 and engine.kv_used_tokens == 0:
        retire(s, instance, now)


@part
def retire(s: Any, instance: int, now: float) -> None:
    """Release the GPUs, to whoever waits for them."""
    engine, gpus = engine_of(s, instance), instance_of(s, instance).tensor_parallel
    note(s, NOW_OFF, -1, instance, 0, 0)
    engine.status = OFF
    forget_all(s, instance)
    engine.held_gpu_s += gpus * (now - engine.since_s)
    engine.released_s = now
    head = engine.successor
    engine.successor = -1
    if head >= 0 and engine_of(s, head).awaits > 0:
        take_over(s, head, gpus, now)


@part
def take_over(s: Any, head: int, gpus: int, now: float) -> None:
    """GPUs come free for a chain of reserved instances, which start when all they wait for have come.

    Until then they are charged to the head of the chain.
    """
    engine = engine_of(s, head)
    engine.awaits -= 1
    engine.lent_gpus += gpus
    engine.held_gpu_s -= gpus * now
    if engine.awaits > 0:
        return
    engine.held_gpu_s += engine.lent_gpus * now
    engine.lent_gpus = 0
    instance = head
    while instance >= 0:
        following = engine_of(s, instance).sibling
        if engine_of(s, instance).status == OFF:  # else it was not free when the chain was made
            engine_of(s, instance).awaits, engine_of(s, instance).sibling = 0, -1
            start(s, instance, engine_of(s, instance).switch_s, now)
        instance = following


@called
def count_ready(s: Any) -> None:
    """List and number the ready instances of each group anew: what policies see as `index` and `pool_size`."""
    for group in range(GROUPS):
        members = group_of(s, group)
        members.ready, members.lead = 0, -1
        for instance in range(members.first, members.first + members.count):
            instance_of(s, instance).index = -1
            if engine_of(s, instance).status == READY:
                instance_of(s, instance).index = members.ready
                ready_at(s, group, members.ready).instance = instance
                members.lead = instance if members.lead < 0 else members.lead
                members.ready += 1
        for instance in range(members.first, members.first + members.count):
            instance_of(s, instance).pool_size = members.ready
        if members.leaves > 0:
            regrow(s, group)
