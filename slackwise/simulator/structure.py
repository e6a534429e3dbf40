"""What must hold of the lists of a state themselves, whatever is on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from slackwise.simulator.recount import Numbers, Recount, cells


def lists_have_room(count: Recount) -> Iterator[str]:
    """Every list is between empty and as long as its room."""
    state, clock = count.state, count.state.clock
    sequences, queue = state.slots.shape[1], state.queues.shape[1]
    engines = {"queued": queue, "queued_jobs": queue, "decodes": sequences, "in_flight": sequences, "work": sequences}
    tables = {"transfers": state.transfers, "free_jobs": state.jobs, "free_cached": state.cached}
    rooms = [(name, state.engines[name], room) for name, room in engines.items()]
    rooms += [(name, clock[name], len(table)) for name, table in tables.items()]
    for name, lengths, room in rooms:
        for each in np.flatnonzero((lengths < 0) | (lengths > room)):
            yield f"{name}[{each}] is {lengths[each]}, its room {room}"


def order_kept(count: Recount) -> Iterator[str]:
    """Heaps have their first element on top, and the tournament the next step end."""
    state, engines = count.state, count.state.engines
    for _ in _disordered(state.transfers[None], state.clock.transfers):
        yield "the heap of the transfers"
    for name, heaps, lengths in (
        ("queue", state.queues, engines.queued),
        ("jobs", state.job_queues, engines.queued_jobs),
        ("decodes", state.decodes, engines.decodes),
    ):
        for each in _disordered(heaps, lengths):
            yield f"the heap of the {name} of instance {each}"
    first = int(np.argmin(engines.step_end_s))
    if state.matches.winner[1] != first:
        yield f"instance {state.matches.winner[1]} leads the tournament, not {first}"
    played = state.matches.key[state.clock[0].leaves :][: len(engines)]
    if np.any(played != engines.step_end_s) or state.matches.key[1] != engines.step_end_s[first]:
        yield "the tournament does not know when steps end"


def _disordered(heaps: Any, lengths: Any) -> Numbers:
    """Rows of heaps of so many elements in which one comes before the one above it."""
    row, place = cells(lengths)
    row, place = row[place > 0], place[place > 0]
    over, under = heaps[row, (place - 1) // 2], heaps[row, place]
    return np.unique(row[(over.key > under.key) | ((over.key == under.key) & (over.order > under.order))])
