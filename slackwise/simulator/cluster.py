"""Clusters: pools of instances of one kind, on GPUs of one type, serving one model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from slackwise.errors import InputError, unknown
from slackwise.latency.costs import StepCosts
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.perturb import perturbed
from slackwise.latency.profile import instance_costs
from slackwise.latency.roofline import roofline
from slackwise.latency.rules import EngineRules, load_rules
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator.placement import SERVER_GPUS, checked, extended, place_apart

TOPOLOGIES = {
    "monolith": ("EPD",),
    "E+PD": ("E", "PD"),
    "EP+D": ("EP", "D"),
    "ED+P": ("ED", "P"),
    "E+P+D": ("E", "P", "D"),
}
"""Named topologies and the kinds of their instances (HydraInfer 2025, EPD 2025); a kind may have several pools.

These are all five ways to divide the three stages among kinds so that each stage is done by one of them, and a
request's way is clear from its images alone.
"""


@dataclass(frozen=True)
class Pool:
    """Instances of one kind: what they do, how many GPUs each has, which engine runs on them."""

    stages: str  # a key of KINDS
    instances: int
    tensor_parallel: int = 1
    engine: str = "vllm"  # a key of rules.RULES
    profile: str | None = None  # path of a calibrated latency profile, in place of the roofline
    most: int | None = None  # instances it may grow to while it runs (default: no more than `instances`)
    gpu: str | None = None  # its GPUs, if they are not those of the cluster

    def __post_init__(self) -> None:
        if self.stages not in KINDS:
            raise unknown("kind of instance", self.stages, KINDS)
        if self.instances < 1:
            raise InputError(f"a pool of {self.stages} instances needs at least 1 instance, not {self.instances}")
        if self.most is not None and self.most < self.instances:
            raise InputError(f"a pool of {self.instances} {self.stages} instances cannot grow to at most {self.most}")
        load_rules(self.engine)
        if self.gpu is not None:
            load_gpu(self.gpu)

    @property
    def gpus(self) -> int:
        """GPUs of the whole pool."""
        return self.instances * self.tensor_parallel

    @property
    def ceiling(self) -> int:
        """Instances it may grow to."""
        return self.instances if self.most is None else self.most

    @property
    def rules(self) -> EngineRules:
        """The engine's scheduling rules."""
        return load_rules(self.engine)

    def describe(self) -> str:
        """Instances, tensor parallelism, GPU if its own, engine and, if measured, the profile."""
        measured = f", {Path(self.profile).name}" if self.profile is not None else ""
        own = f" {self.gpu}" if self.gpu is not None else ""
        return f"{self.instances} x {self.stages} TP-{self.tensor_parallel}{own} ({self.engine}{measured})"


@dataclass(frozen=True)
class Cluster:
    """A model on pools of GPUs, `gpu` where a pool names no other. Images are of one size; `link` joins the servers.

    Pools may be listed in any order: they are kept, and instances numbered, in the order of their topology's kinds.
    `placement` is a rule of placement.PLACEMENTS or, pool by pool, the server of each instance, counted from 0.
    Raises InputError for an unknown topology and for pools that do not pack onto the servers.
    """

    model: str
    gpu: str
    pools: tuple[Pool, ...]
    link: str = "infiniband"  # nvlink | infiniband | tcp
    image_size: tuple[int, int] = (896, 896)  # pixels
    servers: int | None = None  # None: as many as the pools need
    server_gpus: int = SERVER_GPUS
    placement: str | tuple[tuple[int, ...], ...] = "packed"
    preprocess_workers: int = 0  # CPU workers before the router; 0: preprocessing takes no time
    overlap_tokens: int = 0  # smallest chunk prefilled while images are missing; 0: prefill waits for all of them
    encode_unit: str = "image"  # image | tile: what the encode work of a request is cut into at the finest
    repeat_window_s: float = 0.0  # image requests alike within it are taken to repeat one another; 0: all are new
    embedding_cache_tokens: int = 0  # image tokens whose embeddings a separate encoder keeps
    prefix_cache_tokens: int = 0  # KV tokens that a prefill instance sets aside for prompts that come again
    moved: tuple[tuple[str, float], ...] = ()  # what if: latency constants (latency.perturb) and their factors

    def __post_init__(self) -> None:
        kinds = self.kinds
        if not any(KINDS[kind] & DECODE for kind in kinds):
            raise InputError(f"a cluster needs a decode stage: its pools are {'+'.join(kinds) or 'none'}")
        wanted = next((each for each in TOPOLOGIES.values() if set(each) == set(kinds)), None)
        if wanted is None:
            known = f"known: {', '.join(TOPOLOGIES)}: each stage is done by one kind of instance"
            raise InputError(f"topology {'+'.join(kinds)} is not supported; {known}")
        self._sort_pools(wanted)
        for name in ("servers", "server_gpus"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} of a cluster must be at least 1, not {value}")
        if self.encode_unit not in ("image", "tile"):
            raise InputError(f"encode_unit of a cluster is image or tile, not {self.encode_unit!r}")
        kept = ("repeat_window_s", "embedding_cache_tokens", "prefix_cache_tokens")
        for name in ("preprocess_workers", "overlap_tokens", *kept):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} of a cluster must be finite and not negative: {getattr(self, name)}")
        _ = self.placed

    def _sort_pools(self, kinds: tuple[str, ...]) -> None:
        """Put the pools, and the servers written out for them, into the order of `kinds`."""
        order = sorted(range(len(self.pools)), key=lambda at: kinds.index(self.pools[at].stages))
        written = not isinstance(self.placement, str) and len(self.placement) == len(order)
        if written:
            object.__setattr__(self, "placement", tuple(self.placement[at] for at in order))
        object.__setattr__(self, "pools", tuple(self.pools[at] for at in order))

    @cached_property
    def placed(self) -> tuple[int, ...]:
        """Server of each instance, pool by pool."""
        sizes = [pool.tensor_parallel for pool in self.pools for _ in range(pool.instances)]
        if isinstance(self.placement, str):
            encoders = [pool.stages == "E" for pool in self.pools for _ in range(pool.instances)]
            return place_apart(sizes, encoders, self._gpus_of(), self.placement, self.servers, self.server_gpus)
        given, wanted = [len(each) for each in self.placement], [pool.instances for pool in self.pools]
        if given != wanted:
            raise InputError(f"placement names servers for {given} instances of the pools, which have {wanted}")
        servers = [server for each in self.placement for server in each]
        return checked(servers, sizes, self._gpus_of(), self.servers, self.server_gpus)

    @property
    def placed_most(self) -> tuple[int, ...]:
        """Server of each instance that there may ever be, pool by pool: those that may be started beside the rest."""
        placed = self.placed
        sizes = [pool.tensor_parallel for pool in self.pools for _ in range(pool.instances)]
        more = [
            (pool.tensor_parallel, self.gpu_of(pool))
            for pool in self.pools
            for _ in range(pool.ceiling - pool.instances)
        ]
        now, later = iter(placed), iter(extended(placed, sizes, self._gpus_of(), more, self.server_gpus))
        return tuple(
            next(now if each < pool.instances else later) for pool in self.pools for each in range(pool.ceiling)
        )

    def gpu_of(self, pool: Pool) -> str:
        """The GPU of a pool's instances."""
        return self.gpu if pool.gpu is None else load_gpu(pool.gpu).name

    @property
    def one_gpu(self) -> bool:
        """Whether all pools have the same GPU."""
        return len({self.gpu_of(pool) for pool in self.pools}) == 1

    def _gpus_of(self) -> list[str]:
        """The GPU of each instance, pool by pool."""
        return [self.gpu_of(pool) for pool in self.pools for _ in range(pool.instances)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the pools in order, neighbours of one kind taken together."""
        kinds = [pool.stages for pool in self.pools]
        return tuple(kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1])

    @property
    def topology(self) -> str:
        """Name of the topology."""
        return next(name for name, its in TOPOLOGIES.items() if its == self.kinds)

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for pool in self.pools)

    def costs(self, pool: Pool) -> StepCosts:
        """Step costs of the instances of `pool`: of its profile if it has one, else of the roofline.

        Raises InputError if the model does not fit the pool's GPUs, or if the profile is not of such an instance.
        """
        costs = self._costs(pool)
        for name, factor in self.moved:
            costs = perturbed(costs, name, factor)
        return costs

    def _costs(self, pool: Pool) -> StepCosts:
        bits = KINDS[pool.stages]
        encode, llm = bool(bits & ENCODE), bool(bits & (PREFILL | DECODE))
        if pool.profile is not None:
            model = load_model(self.model).name
            return instance_costs(Path(pool.profile), model, self.gpu_of(pool), pool.tensor_parallel, encode, llm)
        engine = "vllm" if pool.engine == "transformers" else pool.engine
        return _roofline(self.model, self.gpu_of(pool), pool.tensor_parallel, engine, self.image_size, encode, llm)

    def describe(self) -> str:
        """One line: model, topology, instances, GPUs."""
        counts: Counter[str] = Counter()
        for pool in self.pools:
            counts[self.gpu_of(pool)] += pool.gpus
        gpus = " + ".join(f"{count} x {gpu}" for gpu, count in counts.items())
        return f"{self.model} on {gpus}: {' + '.join(pool.describe() for pool in self.pools)}"


@lru_cache(maxsize=256)
def _roofline(
    model: str, gpu: str, tensor_parallel: int, engine: str, image_size: tuple[int, int], encode: bool, llm: bool
) -> StepCosts:
    """Costs by names; kept, because every run asks for them."""
    return roofline(load_model(model), load_gpu(gpu), tensor_parallel, engine, image_size, encode, llm)
