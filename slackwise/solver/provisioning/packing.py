"""Servers and what fits on them.

Where every instance size divides the next larger one (1, 2, 4, 8) instances pack without loss: the largest first, and
whatever is left of a server is a multiple of the next size. The sum of GPUs is exact then. For other sizes it is not
(three instances of 3 GPUs need two servers of 8), and servers are counted by pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def divisible(sizes: Sequence[int], gpus_per_server: int) -> bool:
    """Whether every size divides the next larger one, and the largest the server: then the sum of GPUs is exact."""
    chain = [*sorted(sizes), gpus_per_server]
    return all(larger % smaller == 0 for smaller, larger in pairwise(chain))


def patterns(sizes: Sequence[int], gpus_per_server: int) -> tuple[tuple[int, ...], ...]:
    """The ways to fill a server to which nothing can be added: instances of each size, in the order of `sizes`."""
    if not sizes:
        return ()
    smallest = min(sizes)
    found = _fillings(tuple(sizes), gpus_per_server)
    return tuple(each for each, left in found if left < smallest)


def _fillings(sizes: tuple[int, ...], room: int) -> list[tuple[tuple[int, ...], int]]:
    if not sizes:
        return [((), room)]
    first, rest = sizes[0], sizes[1:]
    return [
        ((count, *others), left)
        for count in range(room // first, -1, -1)
        for others, left in _fillings(rest, room - count * first)
    ]


def servers_needed(sizes: Sequence[int], counts: Sequence[int], gpus_per_server: int) -> int:
    """The fewest servers that hold these instances, by exact search over patterns (for the validator and small cases).

    Never asks a solver: depth first, largest size first, with the sum of GPUs as a bound.
    """
    order = sorted(range(len(sizes)), key=lambda at: -sizes[at])
    ordered = [sizes[at] for at in order]
    left = tuple(int(counts[at]) for at in order)
    if divisible(ordered, gpus_per_server):
        return -(-int(np.dot(ordered, left)) // gpus_per_server)
    choices = patterns(ordered, gpus_per_server)
    servers = -(-int(np.dot(ordered, left)) // gpus_per_server)
    while not _fits(left, choices, servers, {}):
        servers += 1
    return servers


def _fits(
    left: tuple[int, ...], choices: tuple[tuple[int, ...], ...], servers: int, seen: dict[tuple[int, ...], int]
) -> bool:
    if not any(left):
        return True
    if servers == 0 or seen.get(left, -1) >= servers:
        return False
    for each in choices:
        rest = tuple(max(0, have - take) for have, take in zip(left, each, strict=True))
        if rest != left and _fits(rest, choices, servers - 1, seen):
            return True
    seen[left] = servers
    return False
