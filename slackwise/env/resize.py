"""Changes of the fleet from compiled code, for many runs at once: the choices of fleet.py, without Python an order.

Orders are put before the events to come; the kernel carries them out when it is run to that same time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, from_dtype, int64, types

from slackwise.jit import PART_OPTIONS, compiled, part
from slackwise.policies.compilation import stamped
from slackwise.simulator.lifecycle import push_order
from slackwise.simulator.state import CLOCK, DRAIN, DRAINING, OFF, READY, RECALL, RESERVE, START, STARTING
from slackwise.simulator.tables import LAYOUTS, engine_of, instance_of, order_at


@part
def command(s: Any, now: float, kind: int, instance: int, value: float, other: int, count: int) -> None:
    """Give an order that takes effect at `now`."""
    record = order_at(s, s.orders)
    record.time_s, record.issued_s, record.value = now, now, value
    record.kind, record.instance, record.other, record.count, record.given = kind, instance, other, count, 1
    push_order(s, s.orders, now)
    s.orders += 1


@part
def in_work(s: Any, instance: int) -> int:
    """Requests and jobs waiting or running on an instance."""
    return int(instance_of(s, instance).waiting) + int(instance_of(s, instance).running)


@part
def working(s: Any, pool: int) -> int:
    """Instances of a pool that are ready or loading."""
    count = 0
    for instance in range(s.instance_count):
        engine = engine_of(s, instance)
        if engine.pool == pool and (engine.status == READY or engine.status == STARTING):
            count += 1
    return count


@part
def gpus_held(s: Any) -> int:
    """GPUs that are charged now."""
    gpus = 0
    for instance in range(s.instance_count):
        engine = engine_of(s, instance)
        gpus += engine.lent_gpus
        if engine.status != OFF:
            gpus += instance_of(s, instance).tensor_parallel
    return gpus


@part
def pick(s: Any, pool: int, status: int, taken: Any, most_work: bool) -> int:
    """The instance of a status that should change next, -1 if there is none; `taken` ones are left out.

    Of STARTING ones the latest; of DRAINING ones that may be called back who has most work, of OFF ones the first; of
    READY ones who has least work, then the last.
    """
    best = -1
    for instance in range(s.instance_count):
        engine = engine_of(s, instance)
        if engine.pool != pool or engine.status != status or taken[instance]:
            continue
        if (status == DRAINING and engine.successor >= 0) or (status == OFF and engine.awaits > 0):
            continue
        if best < 0:
            best = instance
        elif status == STARTING:
            best = instance if engine.ready_s >= engine_of(s, best).ready_s else best
        elif status == READY:
            best = instance if in_work(s, instance) <= in_work(s, best) else best
        elif most_work:
            best = instance if in_work(s, instance) > in_work(s, best) else best
    if best >= 0:
        taken[best] = True
    return best


@part
def shrink_pool(s: Any, pool: int, count: int, taken: Any, now: float) -> None:
    """Drain `count` instances of a pool: starts are called off first, then those with least work."""
    taken[:] = False
    for _ in range(count):
        instance = pick(s, pool, STARTING, taken, False)
        if instance < 0:
            instance = pick(s, pool, READY, taken, False)
        if instance < 0:
            return
        command(s, now, DRAIN, instance, 0.0, -1, 0)


@part
def grow_pool(s: Any, pool: int, count: int, free: int, load_s: float, taken: Any, now: float) -> int:
    """Bring `count` more instances of a pool to work, as far as ceiling and `free` GPUs go; what is left of these."""
    taken[:] = False
    for _ in range(count):
        instance = pick(s, pool, DRAINING, taken, True)
        if instance >= 0:
            command(s, now, RECALL, instance, 0.0, -1, 0)
            continue
        instance = pick(s, pool, OFF, taken, False)
        if instance < 0 or instance_of(s, instance).tensor_parallel > free:
            return free
        free -= int(instance_of(s, instance).tensor_parallel)
        command(s, now, START, instance, load_s, -1, 0)
    return free


@part
def ready_in(s: Any, pool: int) -> int:
    """Ready instances of a pool."""
    count = 0
    for instance in range(s.instance_count):
        if engine_of(s, instance).pool == pool and engine_of(s, instance).status == READY:
            count += 1
    return count


@part
def first_of(s: Any, pool: int) -> int:
    """The first instance of a pool."""
    instance = 0
    while engine_of(s, instance).pool != pool:
        instance += 1
    return instance


@part
def startable(s: Any, pool: int) -> int:
    """Instances of a pool that are off and not reserved."""
    count = 0
    for instance in range(s.instance_count):
        engine = engine_of(s, instance)
        if engine.pool == pool and engine.status == OFF and engine.awaits == 0:
            count += 1
    return count


@part
def switch_lot(s: Any, giver: int, taker: int, least: int, load_s: float, taken: Any, coming: Any, now: float) -> None:
    """Turn the fewest ready instances of `giver` into as many of `taker` as their GPUs make; nothing if that fails."""
    gives = int(instance_of(s, first_of(s, giver)).tensor_parallel)
    takes = int(instance_of(s, first_of(s, taker)).tensor_parallel)
    common = gives
    while common % takes != 0:
        common += gives
    out, into = common // gives, common // takes
    if ready_in(s, giver) - out < least or startable(s, taker) < into:
        return
    taken[:] = False
    for at in range(into):
        coming[at] = pick(s, taker, OFF, taken, False)
    for back in range(into):
        at = into - 1 - back
        command(s, now, RESERVE, coming[at], load_s, coming[at + 1] if at + 1 < into else -1, out)
    for _ in range(out):
        command(s, now, DRAIN, pick(s, giver, READY, taken, False), 0.0, coming[0], 0)


def _shrink(clocks: Any, change: Any, least: int, now_s: Any) -> None:
    """Drain instances where `change` is negative, int64, shape (lanes, pools); `least` of each pool go on working."""
    taken = np.zeros(clocks[0].instance_count, np.bool_)
    for lane in range(len(clocks)):
        s = clocks[lane]
        for pool in range(change.shape[1]):
            if change[lane, pool] < 0:
                shrink_pool(s, pool, min(-change[lane, pool], working(s, pool) - least), taken, now_s[lane])


def _grow(clocks: Any, change: Any, load_s: Any, now_s: Any) -> None:
    """Start instances where `change` is positive; those of a pool load for `load_s`, float64, shape (pools,)."""
    taken = np.zeros(clocks[0].instance_count, np.bool_)
    for lane in range(len(clocks)):
        s = clocks[lane]
        free = s.gpu_cap - gpus_held(s)
        for pool in range(change.shape[1]):
            if change[lane, pool] > 0:
                free = grow_pool(s, pool, change[lane, pool], free, load_s[pool], taken, now_s[lane])


def _switch(clocks: Any, giver: Any, taker: Any, least: int, load_s: Any, now_s: Any) -> None:
    """Turn instances of pool `giver` into instances of pool `taker`, int64, shape (lanes,); none where it is -1."""
    taken = np.zeros(clocks[0].instance_count, np.bool_)
    coming = np.zeros(len(taken), np.int64)
    for lane in range(len(clocks)):
        if giver[lane] >= 0:
            seconds = load_s[taker[lane]]
            switch_lot(clocks[lane], giver[lane], taker[lane], least, seconds, taken, coming, now_s[lane])


_CLOCKS = from_dtype(CLOCK)[::1]
_LONGS = int64[::1]
shrink = compiled(types.void(_CLOCKS, int64[:, ::1], int64, float64[::1]))(stamped(_shrink, PART_OPTIONS, *LAYOUTS))
grow = compiled(types.void(_CLOCKS, int64[:, ::1], float64[::1], float64[::1]))(stamped(_grow, PART_OPTIONS, *LAYOUTS))
switch = compiled(types.void(_CLOCKS, _LONGS, _LONGS, int64, float64[::1], float64[::1]))(
    stamped(_switch, PART_OPTIONS, *LAYOUTS)
)
