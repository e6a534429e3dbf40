"""The pools of a bundle on the GPUs of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slackwise.adapters.ray.target import Target
from slackwise.errors import InputError, unknown
from slackwise.policies.features import ENCODE, KINDS, PREFILL
from slackwise.policies.winner import Winner


@dataclass(frozen=True)
class FleetPool:
    """Instances of one kind, and the bounds of their number."""

    name: str  # its stages as letters, with a number if several pools have the same
    stages: int  # bits ENCODE, PREFILL, DECODE
    instances: int  # to begin with
    tensor_parallel: int
    least: int
    most: int  # instances that it may grow to

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FleetPool:
        """From the JSON form. Raises InputError for an unknown or missing key."""
        try:
            return cls(**document)
        except TypeError as error:
            raise InputError(f"not a pool: {error}") from None

    @property
    def encodes_only(self) -> bool:
        """Whether images come here one by one, in calls of their own."""
        return self.stages == ENCODE

    @property
    def role(self) -> str:
        """The routing role of the bundle that chooses among its instances."""
        if self.encodes_only:
            return "encode_routing"
        return "routing" if self.stages & PREFILL else "decode_routing"


@dataclass(frozen=True)
class Placed:
    """An instance, its server and its GPUs there."""

    pool: FleetPool
    number: int  # in its pool, from 0
    server: int
    gpus: tuple[int, ...]

    @property
    def name(self) -> str:
        """Pool and number."""
        return f"{self.pool.name}-{self.number}"


def fleet_of(winner: Winner, target: Target) -> tuple[FleetPool, ...]:
    """The pools of a bundle. Raises InputError for a pool that cannot be understood and for too few GPUs."""
    tables = named_tables(winner)
    cap, least = _whole(winner.provisioning, "gpu_cap", target.gpus), _whole(winner.provisioning, "least", 1)
    sizes = {
        name: (_whole(each, "instances"), _whole(each, "tensor_parallel", 1), each) for name, each in tables.items()
    }
    needed = sum(instances * tensor_parallel for instances, tensor_parallel, _ in sizes.values())
    if needed > target.gpus:
        raise InputError(f"the bundle's pools need {needed} GPUs, the cluster has {target.gpus}")
    room, pools = min(cap, target.gpus), []
    for name, (instances, tensor_parallel, table) in sizes.items():
        others = sum(least * each for _, each, _ in sizes.values()) - least * tensor_parallel
        ceiling = _whole(table, "most", max(instances, (room - others) // tensor_parallel))
        fixed = not winner.policies.resizes
        bounds = (instances, instances) if fixed else (min(least, instances), ceiling)
        pools.append(FleetPool(name, stage_bits(table), instances, tensor_parallel, *bounds))
    return tuple(pools)


def named_tables(winner: Winner) -> dict[str, Mapping[str, Any]]:
    """What the bundle says of its pools, by name: the stages as letters, with a number if several pools have the same.

    Raises InputError for a bundle without pools and a pool that cannot be understood.
    """
    tables = winner.cluster.get("pools")
    if not isinstance(tables, list | tuple) or not tables:
        raise InputError("the bundle names no pools: its cluster.pools must be a list")
    named: dict[str, Mapping[str, Any]] = {}
    used = dict[str, int]()
    for table in tables:
        kind = _stages(table)
        used[kind] = used.get(kind, 0) + 1
        named[kind.lower() if used[kind] == 1 else f"{kind.lower()}{used[kind]}"] = table
    return named


def stage_bits(table: Mapping[str, Any]) -> int:
    """Bits of a pool's stages. Raises InputError for a kind that is none."""
    return KINDS[_stages(table)]


def gpu_budget(winner: Winner, target: Target) -> int:
    """GPUs that all pools may hold together."""
    return min(target.gpus, _whole(winner.provisioning, "gpu_cap", target.gpus))


def placed(pools: Sequence[FleetPool], target: Target) -> tuple[Placed, ...]:
    """GPUs of every instance: the widest first, on the first server with room. Raises InputError if one has none."""
    free = [list(range(target.server_gpus)) for _ in range(-(-target.gpus // target.server_gpus))]
    free[-1] = free[-1][: target.gpus - target.server_gpus * (len(free) - 1)]
    found = {}
    wanted = [(pool, number) for pool in pools for number in range(pool.instances)]
    for pool, number in sorted(wanted, key=lambda each: -each[0].tensor_parallel):
        width = pool.tensor_parallel
        server = next((at for at, gpus in enumerate(free) if len(gpus) >= width), None)
        if server is None:
            raise InputError(
                f"no server has {width} GPUs left for instance {pool.name}-{number}: the pools do not pack"
            )
        taken, free[server] = free[server][:width], free[server][width:]
        found[pool.name, number] = Placed(pool, number, server, tuple(taken))
    return tuple(found[pool.name, number] for pool, number in wanted)


def _stages(table: Any) -> str:
    kind = table.get("stages") if isinstance(table, Mapping) else None
    if kind not in KINDS:
        raise unknown("kind of instance in the bundle", str(kind), KINDS)
    return str(kind)


def _whole(table: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = table.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"the bundle's {name} = {value!r} must be a whole number of at least 1")
    return value
