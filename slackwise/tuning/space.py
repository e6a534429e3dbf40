"""The space of a search: where the GPUs stand, which policy serves each role, and every knob of those policies.

One flat list of parameters, each with a range and a default; trial 0 is the default of all, the service as it stands.
A parameter of a policy that is not chosen changes nothing. The engine's own rules are never searched.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from slackwise.errors import InputError, unknown
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.roofline import fits
from slackwise.policies.bundle import ROLES, PolicyChoice
from slackwise.policies.knobs import Choice, IntRange, Knob, Range, Value
from slackwise.policies.registry import find, policies
from slackwise.simulator import Cluster, Configuration, Pool
from slackwise.simulator.presets import MODSERVE_TEXT_SHARE, TENSOR_PARALLEL
from slackwise.tuning.search_space import ENCODER_CHOICES, LLM_CHOICES

MONOLITH, APART = "monolith", "E+PD"
TOPOLOGY, TEXT_SHARE, LOTS = "topology", "text_share", "lots_of_4_gpus"
TEXT_TP, ENCODER_TP = "text_tp", "encoder_tp"
"""Parameters of the layout: the share of the GPUs that LLM instances have, encoders the rest; GPUs of an instance."""

TEXT_TPS, ENCODER_TPS = (2, 4, 8), (1, 2, 4)
"""GPUs of an LLM instance and of an encoder: more answer sooner, and less a GPU-second."""

LOT = TENSOR_PARALLEL
"""GPUs by which a fleet grows."""

LAYOUT = "layout"
"""What is searched besides roles: topology, ratio of LLM instances to encoders, tensor parallelism of both."""

CHOICES = {role: tuple(choices) for role, choices in {**LLM_CHOICES, **ENCODER_CHOICES}.items()}
"""Role -> the policies that are searched if nothing else is said."""

OF_ENCODERS = tuple(ENCODER_CHOICES)
"""Roles that decide nothing on a monolith."""

KNOWN: tuple[dict[str, Value], ...] = (
    {
        "encode_routing": "least_image_tokens",
        "encode_batching": "modality_size_priority",
        "chunking": "per_image",
        "routing": "least_total_tokens",
        "batching": "modality_size_priority",
    },
    {
        "encode_routing": "predicted_completion",
        "encode_batching": "least_slack",
        "chunking": "per_image",
        "routing": "least_total_tokens",
        "batching": "least_slack",
    },
)
"""Rules worth a trial: ModServe's (SoCC 2025), and least slack on encoders that are picked by when they would be done.

Not on LLM instances: who picks those by when the prefill would be done lets decodes pile up.
"""

SIZES = (1.0, 0.75, 0.5, 0.375)
"""Shares of the GPUs on which KNOWN is tried where sizes are searched: too many hide what rules are worth."""

SHARES = (MODSERVE_TEXT_SHARE, 0.8)
"""Shares of the GPUs for LLM instances that known rules are tried in: ModServe's, and one for heavier text.

The second was chosen after runs on the synthetic week, where ModServe's leaves encoders idle.
"""

OFF = "off"
"""Of a knob that may be None: the choice that it is."""


@dataclass(frozen=True)
class Space:
    """What may be changed of `start`: policies of `roles`, the layout, how many GPUs are used.

    Raises InputError for an unknown role or policy, or a layout that the cluster does not have.
    """

    start: Configuration
    roles: Mapping[str, tuple[str, ...]]
    layout: bool = True
    sizes: bool = False

    def __post_init__(self) -> None:
        for role, names in self.roles.items():
            if role not in ROLES:
                raise unknown("role", role, ROLES)
            for name in names:
                find(ROLES[role], name)
        if self.layout or self.sizes:
            _check_layout(self.start.cluster)
        if not self.parameters:
            raise InputError("there is nothing to search: no role, no layout")

    @cached_property
    def parameters(self) -> dict[str, Knob]:
        """Name -> what values it may take, the start's its default."""
        found = dict(self._layout_parameters())
        for role in self.roles:
            current: PolicyChoice = getattr(self.start.policies, role)
            names = tuple(dict.fromkeys((current.name, *self.roles[role])))
            if len(names) > 1:
                found[role] = Choice(names, current.name)
            for name in names:
                knobs = find(ROLES[role], name).knobs
                values = current.knobs if name == current.name else {}
                for knob, declared in knobs.items():
                    found |= _searched(f"{role}.{name}.{knob}", declared, values.get(knob, declared.default))
        return found

    @property
    def defaults(self) -> dict[str, Value]:
        """The values of trial 0."""
        return {name: knob.default for name, knob in self.parameters.items()}

    @property
    def starts(self) -> tuple[dict[str, Value], ...]:
        """The values of the first trials: the start, and with encoders apart each of KNOWN, as far as the space has it.

        Where the number of GPUs is searched, on SIZES of them in each of SHARES; else on all of them in ModServe's
        ratio, and then the last of KNOWN on instances of every TP, in each of SHARES. What KNOWN does not name stays
        as in the start.
        """
        if TOPOLOGY not in self.parameters and not (self.layout and self.start.cluster.topology == APART):
            return (self.defaults,)
        lots = self.start.cluster.gpus // LOT
        sizes = dict.fromkeys(max(2, round(share * lots)) for share in (SIZES if self.sizes else SIZES[:1]))
        shares = SHARES if self.sizes else SHARES[:1]
        mixes = itertools.product(sizes, shares, KNOWN)
        wanted = [{TOPOLOGY: APART, LOTS: size, TEXT_SHARE: share} | known for size, share, known in mixes]
        if not self.sizes:
            text_tps, encoder_tps = _degrees(self.parameters, TEXT_TP), _degrees(self.parameters, ENCODER_TP)
            wanted += [
                {TOPOLOGY: APART, TEXT_TP: text, ENCODER_TP: encoder, TEXT_SHARE: share} | KNOWN[1]
                for text, encoder, share in itertools.product(reversed(text_tps), encoder_tps, SHARES)
            ]
        found = [self.defaults, *({**self.defaults, **self._possible(each)} for each in wanted)]
        return tuple(each for at, each in enumerate(found) if each not in found[:at])

    def _possible(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Those of `values` that the parameters allow."""
        return {
            name: value
            for name, value in values.items()
            if (knob := self.parameters.get(name)) and (not isinstance(knob, Choice) or value in knob.names)
        }

    def configuration(self, values: Mapping[str, Value], name: str = "trial") -> Configuration:
        """The service that `values` stand for. Raises InputError if it does not fit the GPUs."""
        cluster = self._cluster(values)
        chosen = {role: self._choice(role, values) for role in self._deciding(cluster)}
        return replace(self.start, name=name, cluster=cluster, policies=replace(self.start.policies, **chosen))

    def settings(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Those of `values` that change anything, for people."""
        cluster = self._cluster(values)
        found = {name: values[name] for name in self._layout_parameters() if name in values}
        if cluster.topology == MONOLITH:
            found = {name: value for name, value in found.items() if name not in (TEXT_SHARE, ENCODER_TP)}
        for role in self._deciding(cluster):
            choice = self._choice(role, values)
            found |= {role: choice.name} | {f"{role}.{knob}": value for knob, value in choice.knobs.items()}
        return found

    def describe(self) -> dict[str, Any]:
        """The space as JSON: every parameter with its range and default."""
        return {name: knob.describe() for name, knob in self.parameters.items()}

    def _deciding(self, cluster: Cluster) -> list[str]:
        """Roles of the space that decide something on `cluster`."""
        return [role for role in self.roles if cluster.topology != MONOLITH or role not in OF_ENCODERS]

    def _choice(self, role: str, values: Mapping[str, Value]) -> PolicyChoice:
        name = str(values.get(role, getattr(self.start.policies, role).name))
        prefix = f"{role}.{name}."
        knobs = {key.removeprefix(prefix): values[key] for key in self.parameters if key.startswith(prefix)}
        off = {key.removesuffix(f".{OFF}") for key, value in knobs.items() if key.endswith(f".{OFF}") and value == OFF}
        kept = {key: None if key in off else value for key, value in knobs.items() if not key.endswith(f".{OFF}")}
        return PolicyChoice(name, kept)

    def _layout_parameters(self) -> dict[str, Knob]:
        cluster, found = self.start.cluster, dict[str, Knob]()
        lots, apart = cluster.gpus // LOT, cluster.topology == APART
        measured = any(pool.profile for pool in cluster.pools)  # by a profile, which knows one TP and its own stages
        fewest = 2 if measured and apart else 1
        if self.sizes and lots > fewest:
            found[LOTS] = IntRange(fewest, lots, lots)
        if not self.layout:
            return found
        text_tps = () if measured else _text_tps(cluster)
        if len(text_tps) > 1:
            found[TEXT_TP] = Choice(tuple(map(str, text_tps)), str(_text_tp(cluster)))
        if lots > 1 and not measured:
            found[TOPOLOGY] = Choice((MONOLITH, APART), cluster.topology)
            found[ENCODER_TP] = Choice(tuple(map(str, _on_a_server(cluster, ENCODER_TPS))), str(_encoder_tp(cluster)))
        if lots > 2 and (apart or not measured):
            found[TEXT_SHARE] = Range(0.0, 1.0, _text_share(cluster))
        return found

    def _cluster(self, values: Mapping[str, Value]) -> Cluster:
        """The start's cluster as `values` lay it out, no GPU idle; what is too large for the GPUs gives way."""
        cluster = self.start.cluster
        if not (self.layout or self.sizes):
            return cluster
        gpus = LOT * int(values.get(LOTS, cluster.gpus // LOT))  # type: ignore[arg-type]
        text_tp = int(values.get(TEXT_TP, _text_tp(cluster)))  # type: ignore[arg-type]
        engine = cluster.pools[-1].engine
        if values.get(TOPOLOGY, cluster.topology) == MONOLITH or gpus < 2 * LOT:
            text_tp = text_tp if gpus % text_tp == 0 else LOT
            return replace(cluster, pools=(_pool(cluster, "EPD", gpus // text_tp, text_tp, engine),))
        text_tp = min(text_tp, gpus - LOT)
        share = float(values.get(TEXT_SHARE, _text_share(cluster)))  # type: ignore[arg-type]
        step = max(text_tp, LOT)
        text_gpus = step * min(max(1, round(share * gpus / step)), (gpus - LOT) // step)
        encoder_tp = int(values.get(ENCODER_TP, _encoder_tp(cluster)))  # type: ignore[arg-type]
        encoder = cluster.pools[0].engine if cluster.topology == APART else "transformers"
        encoders = _pool(cluster, "E", (gpus - text_gpus) // encoder_tp, encoder_tp, encoder)
        return replace(cluster, pools=(encoders, _pool(cluster, "PD", text_gpus // text_tp, text_tp, engine)))


def space_of(start: Configuration, texts: Sequence[str] = (), sizes: bool = False) -> Space:
    """The space that `--search` describes: `layout`, `role` (its usual policies), `role=a|b`, `role=all`.

    Nothing given means the layout, if the cluster has one, and every role of CHOICES. Raises InputError as Space does.
    """
    if not texts:
        return Space(start, CHOICES, _has_layout(start.cluster), sizes)
    roles: dict[str, tuple[str, ...]] = {}
    for text in (each.strip() for each in texts):
        role, equals, names = text.partition("=")
        if text == LAYOUT:
            continue
        if role not in ROLES:
            raise unknown("part of the space", role, [LAYOUT, *ROLES])
        roles[role] = _named(role, names) if equals else CHOICES.get(role, _named(role, "all"))
    return Space(start, roles, LAYOUT in texts, sizes)


def _named(role: str, names: str) -> tuple[str, ...]:
    if names == "all":
        return tuple(each.name for each in policies(ROLES[role]))
    return tuple(each.strip() for each in names.split("|") if each.strip())


def _has_layout(cluster: Cluster) -> bool:
    pools = {pool.stages: pool.tensor_parallel for pool in cluster.pools}
    known = set(pools) in ({"EPD"}, {"E", "PD"}) and _text_tp(cluster) in TEXT_TPS
    known = known and pools.get("E", ENCODER_TPS[0]) in ENCODER_TPS and cluster.pools[-1].gpus % LOT == 0
    simple = isinstance(cluster.placement, str) and all(
        pool.most is None and pool.gpu is None and (pool.profile is None or pool.tensor_parallel <= LOT)
        for pool in cluster.pools
    )
    return known and simple and len(cluster.pools) == len(pools) and cluster.gpus % LOT == 0


def _pool(cluster: Cluster, stages: str, instances: int, tensor_parallel: int, engine: str) -> Pool:
    """Instances with the profile of those of the cluster that are alike."""
    alike = (each for each in cluster.pools if (each.stages, each.tensor_parallel) == (stages, tensor_parallel))
    profile = next((each.profile for each in alike), None)
    return Pool(stages, instances, tensor_parallel, engine, profile)


def _text_tps(cluster: Cluster) -> tuple[int, ...]:
    """GPUs that an LLM instance of the cluster may have."""
    model, gpu, pool = load_model(cluster.model), load_gpu(cluster.gpu), cluster.pools[-1]
    possible = _on_a_server(cluster, TEXT_TPS)
    return tuple(each for each in possible if each == pool.tensor_parallel or fits(model, gpu, each, pool.engine))


def _on_a_server(cluster: Cluster, degrees: Sequence[int]) -> tuple[int, ...]:
    """Those that an instance may have: it does not span servers."""
    return tuple(each for each in degrees if each <= cluster.server_gpus)


def _text_tp(cluster: Cluster) -> int:
    return cluster.pools[-1].tensor_parallel


def _encoder_tp(cluster: Cluster) -> int:
    return cluster.pools[0].tensor_parallel if cluster.topology == APART else ENCODER_TPS[0]


def _text_share(cluster: Cluster) -> float:
    """The share of the GPUs that LLM instances have; of monoliths, what to begin with once encoders are apart."""
    return cluster.pools[-1].gpus / cluster.gpus if cluster.topology == APART else 0.5


def _degrees(parameters: Mapping[str, Knob], name: str) -> tuple[str, ...]:
    knob = parameters.get(name)
    return knob.names if isinstance(knob, Choice) else ("",)


def _check_layout(cluster: Cluster) -> None:
    if not _has_layout(cluster):
        text, encoder = (", TP-".join(map(str, each)) for each in (TEXT_TPS, ENCODER_TPS))
        raise InputError(
            f"the layout is searched from monoliths of TP-{text}, or LLM instances of these beside encoders of "
            f"TP-{encoder}, in lots of {LOT} GPUs: not from {cluster.describe()}"
        )


def _searched(name: str, knob: Knob, value: Value) -> dict[str, Knob]:
    """A knob with `value` as its default, and where it may be None a choice beside it."""
    if isinstance(knob, Choice):
        return {name: replace(knob, default=str(value))}
    assert isinstance(knob, Range)
    if not knob.none:
        return {name: replace(knob, default=value)}  # type: ignore[arg-type]
    middle = (knob.low * knob.high) ** 0.5 if knob.low > 0 else 0.5 * (knob.low + knob.high)
    number = (round(middle) if isinstance(knob, IntRange) else middle) if value is None else value
    switch = Choice((OFF, "on"), OFF if value is None else "on")
    return {f"{name}.{OFF}": switch, name: replace(knob, default=number, none="")}  # type: ignore[arg-type]
