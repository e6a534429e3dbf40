"""Binary heaps of ENTRY records: lowest (key, order) on top.

`heap` is the address of entry 0; the caller keeps the length.
"""

from __future__ import annotations

from slackwise.jit import part
from slackwise.simulator.tables import entry_at


@part
def before(heap: int, a: int, b: int) -> bool:
    """Whether entry a comes out before entry b."""
    if entry_at(heap, a).key != entry_at(heap, b).key:
        return entry_at(heap, a).key < entry_at(heap, b).key
    return entry_at(heap, a).order < entry_at(heap, b).order


@part
def swap(heap: int, a: int, b: int) -> None:
    """Exchange two entries."""
    one, other = entry_at(heap, a), entry_at(heap, b)
    key, order, item = one.key, one.order, one.ident
    one.key, one.order, one.ident = other.key, other.order, other.ident
    other.key, other.order, other.ident = key, order, item


@part
def sift_up(heap: int, at: int) -> None:
    """Move entry `at` up to its place."""
    while at > 0:
        parent = (at - 1) >> 1
        if not before(heap, at, parent):
            return
        swap(heap, at, parent)
        at = parent


@part
def sift_down(heap: int, at: int, length: int) -> None:
    """Move entry `at` down to its place."""
    while True:
        child = 2 * at + 1
        if child >= length:
            return
        if child + 1 < length and before(heap, child + 1, child):
            child += 1
        if not before(heap, child, at):
            return
        swap(heap, at, child)
        at = child


@part
def push(heap: int, length: int, key: float, order: int, item: int) -> None:
    """Add an entry; the length becomes `length` + 1."""
    entry_at(heap, length).key = key
    entry_at(heap, length).order = order
    entry_at(heap, length).ident = item
    sift_up(heap, length)


@part
def pop(heap: int, length: int) -> int:
    """Take the top entry off and return its item; the length becomes `length` - 1."""
    item: int = entry_at(heap, 0).ident
    swap(heap, 0, length - 1)
    sift_down(heap, 0, length - 1)
    return item


@part
def remove(heap: int, length: int, at: int) -> None:
    """Take entry `at` off; the length becomes `length` - 1."""
    swap(heap, at, length - 1)
    if at < length - 1:
        sift_down(heap, at, length - 1)
        sift_up(heap, at)


@part
def heapify(heap: int, length: int) -> None:
    """Restore the order after the keys were changed in place."""
    for at in range(length // 2 - 1, -1, -1):
        sift_down(heap, at, length)
