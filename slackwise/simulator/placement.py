"""Packing: which server each instance stands on, so that a transfer knows NVLink from the network.

The GPUs of a tensor-parallel instance never span servers. Instances are placed largest first, at one size those with
the LLM before encoders: encoders fill what Text Instances leave free, as in ModServe (2025, 4). Sizes are powers of
two, so largest first needs the fewest servers there are (divisible bin packing: Coffman, Garey and Johnson, 1987).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from slackwise.errors import InputError, unknown

SERVER_GPUS = 8
"""GPUs of a DGX or HGX server."""

PLACEMENTS = {
    "packed": "each instance on the first server with room: the fewest servers, kinds mixed only where GPUs are left",
    "spread": "each instance on the server with most free GPUs: LLM instances apart, encoders beside them",
}
"""Rules by name; a list of servers is the other way to say it."""


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
    free = [gpus] * (fewest if servers is None else servers)
    placed = [0] * len(sizes)
    for each in order:
        fitting = [server for server, left in enumerate(free) if left >= sizes[each]]
        placed[each] = fitting[0] if rule == "packed" else max(fitting, key=lambda server: (free[server], -server))
        free[placed[each]] -= sizes[each]
    return tuple(placed)


def extended(placed: Sequence[int], sizes: Sequence[int], more: Sequence[int], gpus: int) -> tuple[int, ...]:
    """Servers of `more` instances beside those of `sizes` already `placed`: each on the first that has room.

    For instances that may be started later: servers are added as they are needed, were all of them to run at once.
    """
    free = dict.fromkeys(range(max(placed) + 1), gpus)
    for server, size in zip(placed, sizes, strict=True):
        free[server] -= size
    found = []
    for size in more:
        server = next((each for each in sorted(free) if free[each] >= size), max(free) + 1)
        free[server] = free.get(server, gpus) - size
        found.append(server)
    return tuple(found)


def checked(placed: Sequence[int], sizes: Sequence[int], servers: int | None, gpus: int) -> tuple[int, ...]:
    """A placement written out, one server an instance. Raises InputError naming the server that it overfills."""
    used: Counter[int] = Counter()
    for server, size in zip(placed, sizes, strict=True):
        if server < 0 or (servers is not None and server >= servers):
            last = "up" if servers is None else f"to {servers - 1}"
            raise InputError(f"placement names server {server}: servers are numbered from 0 {last}")
        used[server] += size
    for server, taken in sorted(used.items()):
        if taken > gpus:
            raise InputError(f"placement puts {taken} GPUs on server {server}, which has {gpus}")
    return tuple(placed)


def _servers_needed(sizes: Sequence[int], gpus: int) -> int:
    """Servers that first fit takes for `sizes`, largest first."""
    free: list[int] = []
    for size in sizes:
        at = next((server for server, left in enumerate(free) if left >= size), len(free))
        if at == len(free):
            free.append(gpus)
        free[at] -= size
    return len(free)


def _listed(sizes: Sequence[int]) -> str:
    """Instances by size, as "3 x TP-4 + 2 x TP-8"."""
    return " + ".join(f"{count} x TP-{size}" for size, count in sorted(Counter(sizes).items()))
