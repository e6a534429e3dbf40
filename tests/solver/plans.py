"""Small plans for tests, and all their solutions by brute force."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from slackwise.solver.provisioning.data import Kind, Option, PlanData, Terms, options
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.validator import violations

GPU = "A100-80GB"
FREE = Terms(switch_gpu_s=0.0, least=0)


def one_class(
    rates: list[float],
    load: list[float] | list[list[float]],
    sizes: list[int] | None = None,
    servers: int | None = 2,
    terms: Terms = FREE,
    start_s: float = 0.0,
    initial: Mapping[int, int] | None = None,
    gpus_per_server: int = 8,
) -> PlanData:
    """Monoliths of one or more sizes, `rates` requests per second each, `load` by window (and scenario)."""
    sizes = sizes or [1] * len(rates)
    kinds = tuple(Kind("EPD", size, GPU, 256 - at, start_s) for at, size in enumerate(sizes))
    loads = np.atleast_2d(np.array(load, float))
    rate = np.broadcast_to(np.array(rates, float)[:, None, None, None], (len(rates), 1, *loads.shape)).copy()
    return PlanData(
        kinds,
        300.0,
        {"EPD": (1.0,)},
        loads,
        rate,
        {GPU: servers},
        ("monolith",),
        terms,
        initial,
        gpus_per_server=gpus_per_server,
    )


def split_data(seed: int, windows: int = 2, servers: int = 2) -> PlanData:
    """A small choice between a monolith and E+PD at two splits, random rates and loads."""
    generator = np.random.default_rng(seed)
    kinds = (Kind("E", 1, GPU, 1, 30.0), Kind("PD", 2, GPU, 256, 35.0), Kind("EPD", 4, GPU, 256, 40.0))
    levels = {"E": (0.25, 0.5, 2.0), "PD": (0.5, 0.75, 2.0), "EPD": (1.0, 1.5, 2.0)}
    load = generator.uniform(0.5, 4.0, (1, windows))
    base = np.array([1.0, 1.6, 2.2])[:, None, None, None] * np.array([0.7, 1.0, 1.6])[None, :, None, None]
    rate = base * generator.uniform(0.8, 1.2, (3, 1, 1, windows))
    return PlanData(kinds, 300.0, levels, load, rate, {GPU: servers}, ("monolith", "E+PD"), Terms())


def brute_force(data: PlanData, most: int = 4, only: Option | None = None) -> tuple[float, Plan | None]:
    """The cheapest plan with at most `most` instances of each kind in a window, by trying all; infinite if none."""
    best: tuple[float, Plan | None] = (np.inf, None)
    for option in (only,) if only else options(data):
        mine = [at for at, kind in enumerate(data.kinds) if kind.stages in option.levels]
        for counts in product(range(most + 1), repeat=len(mine) * data.windows):
            ready = np.zeros((data.windows, len(data.kinds)), np.int64)
            ready[:, mine] = np.reshape(counts, (data.windows, len(mine)))
            plan = Plan(option, ready)
            if plan.cost(data) < best[0] - 1e-9 and next(violations(data, plan), None) is None:
                best = plan.cost(data), plan
    return best
