"""Heaps of entries: the lowest key comes out first, then the lowest order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.simulator import heap
from slackwise.simulator.state import ENTRY, records

ROOM = 64
entries = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=ROOM, unique=True)


def filled(pairs: list[tuple[int, int]]) -> tuple[Any, int]:
    """A table with the entries pushed one by one, each its position as item, and the table's address."""
    table = records(ROOM, ENTRY)
    address = table.ctypes.data
    for at, (key, order) in enumerate(pairs):
        heap.push(address, at, float(key), order, at)
    return table, address


def drained(address: int, length: int) -> list[int]:
    """All items in the order in which they come out."""
    return [heap.pop(address, left) for left in range(length, 0, -1)]


def by_order(pairs: list[tuple[int, int]]) -> Callable[[int], tuple[int, int]]:
    """Sorts positions by (key, order)."""
    return lambda at: pairs[at]


@settings(deadline=None, derandomize=True)
@given(pairs=entries)
def test_items_come_out_by_key_then_order(pairs: list[tuple[int, int]]) -> None:
    table, address = filled(pairs)
    assert drained(address, len(pairs)) == sorted(range(len(pairs)), key=by_order(pairs))
    assert len(table) == ROOM


@settings(deadline=None, derandomize=True)
@given(pairs=entries.filter(bool), data=st.data())
def test_any_entry_can_be_removed(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    table, address = filled(pairs)
    at = data.draw(st.integers(0, len(pairs) - 1))
    gone = int(table.ident[at])
    heap.remove(address, len(pairs), at)
    rest = [each for each in range(len(pairs)) if each != gone]
    assert drained(address, len(pairs) - 1) == sorted(rest, key=by_order(pairs))


@settings(deadline=None, derandomize=True)
@given(pairs=entries, keys=st.lists(st.integers(0, 5), min_size=ROOM, max_size=ROOM))
def test_heapify_restores_the_order_after_keys_changed(pairs: list[tuple[int, int]], keys: list[int]) -> None:
    table, address = filled(pairs)
    changed = [(keys[at], order) for at, (_, order) in enumerate(pairs)]
    for place in range(len(pairs)):
        table.key[place] = changed[table.ident[place]][0]
    heap.heapify(address, len(pairs))
    assert drained(address, len(pairs)) == sorted(range(len(pairs)), key=by_order(changed))
