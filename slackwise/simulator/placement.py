"""Packing: which server each instance stands on, so that a transfer knows NVLink from the network.

The GPUs of a tensor-parallel instance never span servers. Instances are placed largest first, at one size those with
the LLM before encoders: encoders fill what Text Instances leave free, as in ModServe (2025, 4). Sizes are powers of
two, so largest first needs the fewest servers there are (divisible bin packing: Coffman, Garey and Johnson, 1987).
A server holds GPUs of one kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TypeVar

from slackwise.errors import InputError, unknown

T = TypeVar("T")

SERVER_GPUS = 8
"""GPUs of a DGX or HGX server."""

PLACEMENTS = {
    "packed": "each instance on the first server with room: the fewest servers, kinds mixed only where GPUs are left",
    "spread": "each instance on the server with most free GPUs: LLM instances apart, encoders beside them",
}
"""Rules by name; a list of servers is the other way to say it."""


def place_apart(
    sizes: Sequence[int], encoders: Sequence[bool], kinds: Sequence[str], rule: str, servers: int | None, gpus: int
) -> tuple[int, ...]:
    """Server of each instance where servers hold one kind of GPU: those of the first kind, then of the next.

    `kinds` names the GPU of each instance; servers to spare are of the first kind. Otherwise like `place`, which it is
    for a single kind.
    """
    if len(set(kinds)) == 1:
        return place(sizes, encoders, rule, servers, gpus)
    placed, first, blocks = [0] * len(sizes), 0, dict.fromkeys(kinds, 0)
    for kind in blocks:
        blocks[kind] = max(place(_of(kind, kinds, sizes), _of(kind, kinds, encoders), "packed", None, gpus)) + 1
    fewest = sum(blocks.values())
    if servers is not None and fewest > servers:
        raise InputError(f"{_listed(sizes)} on {', '.join(blocks)} need {fewest} servers of {gpus} GPUs, not {servers}")
    blocks[kinds[0]] += 0 if servers is None else servers - fewest
    for kind, count in blocks.items():
        found = place(_of(kind, kinds, sizes), _of(kind, kinds, encoders), rule, count, gpus)
        for each, server in zip([at for at, its in enumerate(kinds) if its == kind], found, strict=True):
            placed[each] = first + server
        first += count
    return tuple(placed)


def place(sizes: Sequence[int], encoders: Sequence[bool], rule: str, servers: int | None, gpus: int) -> tuple[int, ...]:
    """Server of each instance, from 0: `sizes` in GPUs, on `servers` servers (None: the fewest) of `gpus` GPUs each.

    `encoders` tells which instances only encode. Raises InputError for an unknown rule and for what does not pack.
    """
    if rule not in PLACEMENTS:
        raise unknown("placement", rule, PLACEMENTS)
    if max(sizes) > gpus:
        raise InputError(
            f"an instance of {max(sizes)} GPUs does not fit a server of {gpus}: TP groups never span servers"
        )
    order = sorted(range(len(sizes)), key=lambda each: (-sizes[each], encoders[each], each))
    fewest = _servers_needed([sizes[each] for each in order], gpus)
    if servers is not None and fewest > servers:
        raise InputError(f"{_listed(sizes)} need {fewest} servers of {gpus} GPUs, not {servers}")
    free = _Free(fewest if servers is None else servers, gpus)
    placed = [0] * len(sizes)
    for each in order:
        placed[each] = free.take(sizes[each], rule)
    return tuple(placed)


class _Free:
    """Servers by the GPUs that are free on them, lowest number first."""

    def __init__(self, servers: int, gpus: int) -> None:
        self.servers = servers
        self.levels: list[list[int]] = [[] for _ in range(gpus)] + [list(range(servers))]

    def take(self, size: int, rule: str) -> int:
        """Put an instance of `size` GPUs onto a server: a further one if none has room."""
        fitting = [level for level in range(size, len(self.levels)) if self.levels[level]]
        if not fitting:
            self.levels[-1].append(self.servers)
            self.servers, fitting = self.servers + 1, [len(self.levels) - 1]
        level = min(fitting, key=lambda each: self.levels[each][0]) if rule == "packed" else max(fitting)
        server = heappop(self.levels[level])
        heappush(self.levels[level - size], server)
        return server


def extended(
    placed: Sequence[int], sizes: Sequence[int], kinds: Sequence[str], more: Sequence[tuple[int, str]], gpus: int
) -> tuple[int, ...]:
    """Servers of `more` instances (size, kind of GPU) beside those already `placed`: each on the first with room.

    For instances that may be started later: servers are added as they are needed, were all of them to run at once.
    """
    free = dict.fromkeys(range(max(placed) + 1), gpus)
    holds: dict[int, str] = {}
    for server, size, kind in zip(placed, sizes, kinds, strict=True):
        free[server] -= size
        holds[server] = kind
    found = []
    for size, kind in more:
        fitting = (each for each in sorted(free) if free[each] >= size and holds.get(each, kind) == kind)
        server = next(fitting, max(free) + 1)
        free[server] = free.get(server, gpus) - size
        holds[server] = kind
        found.append(server)
    return tuple(found)


def checked(
    placed: Sequence[int], sizes: Sequence[int], kinds: Sequence[str], servers: int | None, gpus: int
) -> tuple[int, ...]:
    """A placement written out, one server an instance.

    Raises InputError naming the server that it overfills, or on which it puts two kinds of GPUs.
    """
    used: Counter[int] = Counter()
    holds: dict[int, str] = {}
    for server, size, kind in zip(placed, sizes, kinds, strict=True):
        if server < 0 or (servers is not None and server >= servers):
            last = "up" if servers is None else f"to {servers - 1}"
            raise InputError(f"placement names server {server}: servers are numbered from 0 {last}")
        used[server] += size
        if holds.setdefault(server, kind) != kind:
            raise InputError(f"placement puts {holds[server]} and {kind} on server {server}: a server has one kind")
    for server, taken in sorted(used.items()):
        if taken > gpus:
            raise InputError(f"placement puts {taken} GPUs on server {server}, which has {gpus}")
    return tuple(placed)


def _of(kind: str, kinds: Sequence[str], values: Sequence[T]) -> list[T]:
    """Those values that belong to instances of a kind."""
    return [value for its, value in zip(kinds, values, strict=True) if its == kind]


def _servers_needed(sizes: Sequence[int], gpus: int) -> int:
    """Servers that first fit takes for `sizes`, largest first."""
    free = _Free(0, gpus)
    for size in sizes:
        free.take(size, "packed")
    return free.servers


def _listed(sizes: Sequence[int]) -> str:
    """Instances by size, as "3 x TP-4 + 2 x TP-8"."""
    return " + ".join(f"{count} x TP-{size}" for size, count in sorted(Counter(sizes).items()))
