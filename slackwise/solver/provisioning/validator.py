"""Checks a plan without any solver: recomputes every rule, and the price, from the data alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from slackwise.errors import CheckError
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.provisioning.data import PlanData
from slackwise.solver.provisioning.packing import servers_needed
from slackwise.solver.provisioning.plan import Plan

TOLERANCE = 1e-6
"""Relative: what a solver may be off in a capacity row."""


def check(data: PlanData, plan: Plan) -> None:
    """Raise CheckError with the first rule that `plan` breaks, in words."""
    for broken in violations(data, plan):
        raise CheckError(f"the plan breaks a rule: {broken}")


def violations(data: PlanData, plan: Plan) -> Iterator[str]:
    """Every rule that `plan` breaks, one sentence each."""
    if plan.ready.shape != (data.windows, len(data.kinds)):
        yield f"counts have shape {plan.ready.shape}"
        return
    if (plan.ready < 0).any():
        yield "a count is negative"
    yield from _split(data, plan)
    yield from _capacity(data, plan)
    yield from _times(data, plan)
    yield from _servers(data, plan)


def _split(data: PlanData, plan: Plan) -> Iterator[str]:
    option = plan.option
    if option.topology not in data.topologies or set(option.levels) != set(TOPOLOGIES[option.topology]):
        yield f"topology {option.topology} is not allowed, or a class of it has no level"
        return
    if sum(data.levels[name][level] for name, level in option.levels.items()) > 1.0 + TOLERANCE:
        yield "the shares of the TTFT objective sum to more than 1"
    outside = [at for at, kind in enumerate(data.kinds) if kind.stages not in option.levels]
    if plan.ready[:, outside].any():
        yield f"an instance outside topology {option.topology} is ready"


def _capacity(data: PlanData, plan: Plan) -> Iterator[str]:
    for name, level in plan.option.levels.items():
        members = data.classes[name]
        for window in range(data.windows):
            count = sum(int(plan.ready[window, kind]) for kind in members)
            if count < data.terms.least:
                yield f"{count} instances of {name} in window {window}, fewer than {data.terms.least}"
        for scenario in range(data.scenarios):
            served = np.zeros(data.windows)
            for kind in members:
                served += plan.ready[:, kind] * data.rate[kind, level, scenario]
            needed = data.load[scenario] * (1.0 + data.terms.headroom)
            for window in np.flatnonzero(served < needed * (1.0 - TOLERANCE)):
                yield (
                    f"{name} serves {served[window]:.6g} requests/s in window {window}, scenario {scenario}, "
                    f"not {needed[window]:.6g}"
                )


def _times(data: PlanData, plan: Plan) -> Iterator[str]:
    """Nobody is ready before its start-up time, and nobody leaves before its minimum."""
    for at, kind in enumerate(data.kinds):
        column = [int(each) for each in plan.ready[:, at]]
        before = column[0] if data.initial is None else data.initial.get(at, 0)
        started = [max(0, now - last) for last, now in zip([before, *column], column, strict=False)]
        if data.initial is not None and any(started[: data.first_window(at)]):
            yield f"{kind.name} is ready in window {next(w for w, n in enumerate(started) if n)}, before it can be"
        for window in range(data.windows):
            recent = sum(started[max(0, window - data.terms.min_up_windows + 1) : window + 1])
            if recent > column[window]:
                yield f"{kind.name} leaves in window {window}, sooner than {data.terms.min_up_windows} windows"


def _servers(data: PlanData, plan: Plan) -> Iterator[str]:
    started = plan.starts(data)
    for gpu, count in data.servers.items():
        if count is None:
            continue
        sizes = data.sizes(gpu)
        for window in range(data.windows):
            held = dict.fromkeys(sizes, 0)
            for at, kind in enumerate(data.kinds):
                if kind.gpu == gpu:
                    loading = started[window + 1 : window + 1 + data.start_windows(at), at].sum()
                    held[kind.tensor_parallel] += int(plan.ready[window, at] + loading)
            if sum(size * many for size, many in held.items()) > count * data.gpus_per_server or (
                servers_needed(sizes, [held[size] for size in sizes], data.gpus_per_server) > count
            ):
                yield f"window {window} needs more than {count} servers of {gpu}"
