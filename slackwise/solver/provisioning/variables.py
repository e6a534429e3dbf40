"""Columns of the fleet model, each with a name that a person can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.provisioning.data import Option, PlanData
from slackwise.solver.provisioning.dominance import useful
from slackwise.solver.provisioning.packing import divisible, patterns

SLACKS = ("servers", "load", "ttft")
"""What an infeasible plan may be given more of: servers, load that goes unserved, a longer TTFT objective."""


@dataclass
class Columns:
    """The variables of one model, by kind and window."""

    kinds: tuple[int, ...]  # those that the model may use
    ready: dict[tuple[int, int], Any] = field(default_factory=dict)  # (window, kind): instances whose capacity counts
    start: dict[tuple[int, int], Any] = field(default_factory=dict)  # (window, kind): instances that become ready
    topology: dict[str, Any] = field(default_factory=dict)  # topology: 1 if it is the plan's
    level: dict[tuple[str, int], Any] = field(default_factory=dict)  # (class, level): 1 if it is the class's
    pattern: dict[tuple[str, int, int], Any] = field(default_factory=dict)  # (GPU, window, pattern): servers filled so
    more_servers: dict[tuple[str, int], Any] = field(default_factory=dict)  # (GPU, window)
    unserved: dict[tuple[str, int], Any] = field(default_factory=dict)  # (class, window): requests per second
    more_ttft: Any = None  # share of the TTFT objective beyond 1


def add_columns(model: Any, data: PlanData, option: Option | None, slack: str | None) -> Columns:
    """All columns: counts of the useful kinds of `option`, or of all kinds with binaries that choose the split.

    `slack` is one of SLACKS.
    """
    classes = tuple(option.levels) if option else tuple(data.classes)
    kinds = useful(data, option).kinds if option else tuple(range(len(data.kinds)))
    columns = Columns(kinds)
    most = highest_counts(data, slack)
    for window in range(data.windows):
        for kind in kinds:
            label = f"window={window}, {data.kinds[kind].name}"
            high = most[kind]
            columns.ready[window, kind] = model.add_integer_variable(lb=0, ub=high, name=f"ready[{label}]")
            columns.start[window, kind] = model.add_integer_variable(lb=0, ub=high, name=f"start[{label}]")
    if option is None:
        _add_choices(model, data, columns)
    _add_patterns(model, data, columns)
    _add_slack(model, data, columns, classes, slack)
    return columns


def highest_counts(data: PlanData, slack: str | None = None) -> tuple[float, ...]:
    """Instances of each kind beyond which no plan goes: what the servers hold, else infinity."""
    counts = []
    for kind in data.kinds:
        servers = data.servers[kind.gpu]
        free = servers is None or slack == "servers"
        counts.append(np.inf if free else float(servers or 0) * (data.gpus_per_server // kind.tensor_parallel))
    return tuple(counts)


def _add_choices(model: Any, data: PlanData, columns: Columns) -> None:
    for name in data.topologies:
        columns.topology[name] = model.add_binary_variable(name=f"topology[{name}]")
    for name in {each: None for topology in data.topologies for each in TOPOLOGIES[topology]}:
        for level, share in enumerate(data.levels[name]):
            columns.level[name, level] = model.add_binary_variable(name=f"level[{name}, {100 * share:.0f} % of TTFT]")


def _add_patterns(model: Any, data: PlanData, columns: Columns) -> None:
    for gpu, servers in data.servers.items():
        sizes = data.sizes(gpu)
        if servers is None or divisible(sizes, data.gpus_per_server):
            continue
        for window in range(data.windows):
            for at, pattern in enumerate(patterns(sizes, data.gpus_per_server)):
                name = f"servers[window={window}, {gpu} with {_words(sizes, pattern)}]"
                columns.pattern[gpu, window, at] = model.add_integer_variable(lb=0, name=name)


def _add_slack(model: Any, data: PlanData, columns: Columns, classes: tuple[str, ...], slack: str | None) -> None:
    if slack == "servers":
        for gpu, servers in data.servers.items():
            if servers is not None:
                for window in range(data.windows):
                    name = f"more servers[window={window}, {gpu}]"
                    columns.more_servers[gpu, window] = model.add_integer_variable(lb=0, name=name)
    if slack == "load":
        for name in classes:
            for window in range(data.windows):
                label = f"unserved requests/s[window={window}, {name}]"
                columns.unserved[name, window] = model.add_variable(lb=0.0, name=label)
    if slack == "ttft":
        columns.more_ttft = model.add_variable(lb=0.0, name="TTFT objective beyond its own, as a share of it")


def _words(sizes: tuple[int, ...], pattern: tuple[int, ...]) -> str:
    return " + ".join(f"{count} x TP-{size}" for size, count in zip(sizes, pattern, strict=True) if count)
