"""What happened in the last interval, for many runs at once: requests judged, GPU-seconds, features as they stand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, from_dtype, int32, int64

from slackwise.jit import PART_OPTIONS, compiled, part
from slackwise.policies.compilation import stamped
from slackwise.policies.learned.features import FORGETS, POOL, RATES, SERVICE
from slackwise.simulator.state import CLASSES, CLOCK, DRAINING, OFF, READY, STARTING
from slackwise.simulator.tables import LAYOUTS, engine_of, group_of, instance_of, progress_of, request_of

EPISODE = np.dtype(
    [
        ("looked_s", "f8"),  # time of the last look
        ("hour", "f8"),  # of the day at time 0
        ("reward", "f8"),  # of the interval that the last look closed
        ("gpu_s", "f8"),  # charged so far
        ("gpu_weight", "f8"),  # what a GPU-second costs
        ("weight", "f8", (len(CLASSES),)),  # what a miss costs
        ("means", "f8", (len(RATES),)),  # exponential means of the rates
        ("judged", "i8", (len(CLASSES),)),  # requests judged in the last interval ...
        ("missed", "i8", (len(CLASSES),)),  # ... that missed an objective
        ("text_tbt_s", "f8"),  # objectives
        ("image_tbt_s", "f8"),
        ("arrived", "i8"),  # requests that have arrived
        ("open", "i8"),  # of these, not judged yet
        ("gpus", "i8"),  # held
    ],
    align=True,
)
"""What the watcher of a run remembers from one look to the next."""

OPEN, MET, MISSED = 0, 1, 2
_RATE_COUNT, _CLASS_COUNT = len(RATES), len(CLASSES)
_RATES, _MEANS, _MISSED = 2, 2 + _RATE_COUNT, 2 + 2 * _RATE_COUNT
_PARKED, _GPUS, _POOLS, _EACH = _MISSED + 3, _MISSED + 6, len(SERVICE), len(POOL)


@part
def verdict(s: Any, request: int, now: float, tbt_s: float, over: bool) -> int:
    """Whether a request met its objectives, by the same arithmetic as Result.met; OPEN as long as it may."""
    seen, hidden = request_of(s, request), progress_of(s, request)
    within_s, first_s = seen.deadline_s - seen.arrival_s, hidden.first_token_s
    if hidden.failure != 0:
        return MISSED
    if np.isnan(first_s):
        return MISSED if over or now - seen.arrival_s > within_s else OPEN
    if first_s - seen.arrival_s > within_s:
        return MISSED
    if np.isnan(hidden.finish_s):
        return MISSED if over else OPEN
    return MET if (hidden.finish_s - first_s) / max(1, hidden.output_tokens - 1) <= tbt_s else MISSED


@part
def judge(s: Any, episode: Any, waiting: Any, now: float, over: bool) -> None:
    """Judge every request that can be judged; the rest of `waiting` moves up."""
    left = 0
    for at in range(episode.open):
        request = waiting[at]
        tbt_s = episode.image_tbt_s if request_of(s, request).images > 0 else episode.text_tbt_s
        found = verdict(s, request, now, tbt_s, over)
        if found == OPEN:
            waiting[left] = request
            left += 1
            continue
        category = progress_of(s, request).category
        episode.judged[category] += 1
        if found == MISSED:
            episode.missed[category] += 1
            episode.reward -= episode.weight[category]
    episode.open = left


@part
def admit(s: Any, episode: Any, waiting: Any, rates: Any, now: float) -> None:
    """Take the requests that have arrived since the last look; `rates` are summed, not yet divided by the time."""
    while episode.arrived < s.request_count and request_of(s, episode.arrived).arrival_s <= now:
        request = request_of(s, episode.arrived)
        waiting[episode.open] = episode.arrived
        episode.open += 1
        episode.arrived += 1
        if request.images > 0:
            rates[1] += 1.0
        else:
            rates[0] += 1.0
        rates[2] += request.images
        rates[3] += request.text_tokens
        rates[4] += request.image_tokens


@part
def coming(s: Any, episode: Any, now: float) -> int:
    """Requests that have arrived since the last look."""
    at = episode.arrived
    while at < s.request_count and request_of(s, at).arrival_s <= now:
        at += 1
    return int(at - episode.arrived)


@part
def charge(s: Any, episode: Any, now: float) -> None:
    """Charge the GPUs held since the last look; the formula is fleet.held_gpu_s."""
    gpu_s, gpus = 0.0, 0
    for instance in range(s.instance_count):
        engine, each = engine_of(s, instance), instance_of(s, instance).tensor_parallel
        gpu_s += engine.held_gpu_s + engine.lent_gpus * now
        gpus += engine.lent_gpus
        if engine.status != OFF:
            gpu_s += each * max(0.0, now - engine.since_s)
            gpus += each
    episode.reward -= episode.gpu_weight * (gpu_s - episode.gpu_s)
    episode.gpu_s, episode.gpus = gpu_s, gpus


@part
def tell_service(s: Any, episode: Any, row: Any, now: float) -> None:
    """Fill the features of the whole service; the sums of arrivals are in their places already."""
    angle = 2.0 * np.pi * (episode.hour + now / 3600.0) / 24.0
    row[0], row[1] = np.sin(angle), np.cos(angle)
    interval_s = now - episode.looked_s
    for at in range(_RATE_COUNT):
        row[_RATES + at] = row[_RATES + at] / interval_s if interval_s > 0.0 else 0.0
        episode.means[at] += FORGETS * (row[_RATES + at] - episode.means[at])
        row[_MEANS + at] = episode.means[at]
    for at in range(_CLASS_COUNT):
        row[_MISSED + at] = episode.missed[at] / max(1, episode.judged[at])
        row[_PARKED + at] = group_of(s, at).parked
    row[_GPUS] = episode.gpus / s.gpu_cap


@part
def tell_pools(s: Any, row: Any, before: Any, now: float) -> None:
    """Fill the features of the pools; `before` holds the busy and the held seconds of each at the last look."""
    for pool in range(len(before)):
        ceiling, ready, starting, draining, waiting, running, backlog_s = 0, 0, 0, 0, 0, 0, 0.0
        busy_s, held_s, used, room = 0.0, 0.0, 0.0, 0.0
        for instance in range(s.instance_count):
            engine, seen = engine_of(s, instance), instance_of(s, instance)
            if engine.pool != pool:
                continue
            ceiling += 1
            busy_s += engine.busy_s
            held_s += engine.held_gpu_s / seen.tensor_parallel
            if engine.step_end_s != np.inf:
                busy_s += max(0.0, now - engine.step_start_s)
            if engine.status != OFF:
                held_s += max(0.0, now - engine.since_s)
            if engine.status == READY:
                ready += 1
                used += seen.kv_used_tokens
                room += seen.kv_capacity_tokens
            elif engine.status == STARTING or engine.awaits > 0:
                starting += 1
            elif engine.status == DRAINING:
                draining += 1
            waiting += seen.waiting
            running += seen.running
            backlog_s += seen.backlog_s
        place = _POOLS + pool * _EACH
        row[place], row[place + 1], row[place + 2] = ready / ceiling, starting / ceiling, draining / ceiling
        row[place + 3], row[place + 4] = waiting / max(1, ready), running / max(1, ready)
        row[place + 5] = backlog_s / max(1, ready)
        over_s = held_s - before[pool, 1]
        row[place + 6] = (busy_s - before[pool, 0]) / over_s if over_s > 0.0 else 0.0
        row[place + 7] = used / room if room > 0.0 else 0.0
        before[pool, 0], before[pool, 1] = busy_s, held_s


def _look(clocks: Any, episodes: Any, waiting: Any, before: Any, now_s: Any, over: bool, raw: Any) -> int:
    """Close the interval of each lane at `now_s`: its reward, and its features in `raw`, float64 (lanes, features).

    `waiting`, int32 (lanes, room), lists requests to be judged; if it is too narrow nothing is done and the room needed
    is returned, else 0. `before`, float64 (lanes, pools, 2). With `over` nothing more will happen: whoever has not
    finished has missed.
    """
    needed = 0
    for lane in range(len(clocks)):
        needed = max(needed, episodes[lane].open + coming(clocks[lane], episodes[lane], now_s[lane]))
    if needed > waiting.shape[1]:
        return needed
    for lane in range(len(clocks)):
        s, episode, row, now = clocks[lane], episodes[lane], raw[lane], now_s[lane]
        row[:] = 0.0
        episode.reward = 0.0
        for category in range(_CLASS_COUNT):
            episode.judged[category] = episode.missed[category] = 0
        admit(s, episode, waiting[lane], row[_RATES:_MEANS], now)
        judge(s, episode, waiting[lane], now, over)
        charge(s, episode, now)
        tell_service(s, episode, row, now)
        tell_pools(s, row, before[lane], now)
        episode.looked_s = now
    return 0


look = compiled(
    int64(
        from_dtype(CLOCK)[::1],
        from_dtype(EPISODE)[::1],
        int32[:, ::1],
        float64[:, :, ::1],
        float64[::1],
        boolean,
        float64[:, ::1],
    )
)(stamped(_look, PART_OPTIONS, repr(EPISODE), *LAYOUTS))
"""look(clocks, episodes, waiting, before, now_s, over, raw) -> 0, or the room that `waiting` needs."""
