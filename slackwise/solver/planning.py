"""From traffic and a capacity table to the data of a fleet plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import GapError, InputError
from slackwise.policies.features import ENCODE, KINDS, PREFILL
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.demand import Demand
from slackwise.solver.provisioning.data import DEFAULT_TERMS, WHOLE, Kind, PlanData, Terms
from slackwise.solver.table import IMAGE, TEXT, CapacityTable

LEVELS = 8
"""Shares of the TTFT objective that a class may be given: 1/9 to 8/9."""

BEYOND = (1.25, 1.5, 2.0, 3.0, 4.0)
"""Shares above 1: no plan may use them; they say how much longer an objective would have to be."""

SHORT = 1e-4
"""By how much a pool that is one instance too small falls short at least: more than any solver or check lets pass."""

IDLE = 1000.0
"""Where a class has nothing to do an instance counts as serving this many times the load."""


def check_inflation(kappa: float, slo: float, levels: int) -> None:
    """Raise InputError for factors on delays or objectives, or levels of the split, out of range."""
    if not kappa >= 1.0 or not slo > 0.0 or levels < 1:
        raise InputError(f"kappa {kappa:g} must be at least 1, slo {slo:g} positive and levels {levels} at least 1")


def plan_data(
    demand: Demand,
    table: CapacityTable,
    servers: Mapping[str, int | None],
    terms: Terms = DEFAULT_TERMS,
    kappa: float = 1.0,
    topologies: Sequence[str] | None = None,
    levels: int = LEVELS,
    slo: float = 1.0,
    initial: Mapping[int, int] | None = None,
    about: Mapping[str, Any] | None = None,
) -> PlanData:
    """The plan data for `demand` on kinds of `table`.

    Capacities are taken with delays inflated by `kappa` and objectives `slo` times as long. Without `topologies`,
    every one whose classes the table has. Raises GapError for a gap in the table, InputError for values out of range.
    """
    check_inflation(kappa, slo, levels)
    stages = {kind.stages for kind in table.kinds}
    chosen = tuple(topologies or (name for name, classes in TOPOLOGIES.items() if set(classes) <= stages))
    if not chosen:
        raise InputError(f"no topology can be built of {', '.join(sorted(stages))} instances alone")
    shares = {name: class_levels(name, levels) for name in stages}
    longest = max(len(each) for each in shares.values())
    load = demand.text_rps + demand.image_rps
    rate = np.zeros((len(table.kinds), longest, *load.shape))
    for at, kind in enumerate(table.kinds):
        for level, share in enumerate(shares[kind.stages]):
            by_size = [
                mix_rates(table, at, share * slo, slo, kappa, demand, load, size + 1) for size in range(table.largest)
            ]
            rate[at, level] = pooled_rates(np.array(by_size), (1.0 + terms.headroom) * load)
    return PlanData(
        table.kinds, demand.window_s, shares, load, rate, servers, chosen, terms, initial, about=about or {}
    )


def class_levels(name: str, count: int = LEVELS) -> tuple[float, ...]:
    """Shares that a class may be given: the whole objective if it does all work before the first token, else parts.

    A class that only decodes is given none.
    """
    bits = KINDS[name]
    if bits & ENCODE and bits & PREFILL:
        return (WHOLE, *BEYOND)
    if not bits & (ENCODE | PREFILL):
        return (0.0,)
    return (*((at + 1) / (count + 1) for at in range(count)), *BEYOND)


def mix_rates(
    table: CapacityTable,
    kind: int,
    share: float,
    slo: float,
    kappa: float,
    demand: Demand,
    load: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """Requests per second of each window's mix that one instance of a pool of `size` serves, shape of `load`.

    A mix of loads r_m on capacities C_m keeps an instance busy for sum r_m / C_m of the time: it serves load / that.
    Text-only requests skip the encoders, so elsewhere they have the whole objective. Image requests count by their
    images where the class encodes, and by whichever is more, requests or images, where it also prefills.
    """
    each = table.kinds[kind]
    bits = KINDS[each.stages]
    texts, pictured = each.stages != "E" and demand.text_rps.any(), demand.image_rps.any()
    text = capacity_of(table, kind, TEXT, slo if bits & PREFILL else share, kappa, size) if texts else 0.0
    image = capacity_of(table, kind, IMAGE, share, kappa, size) if pictured else 0.0
    images = demand.images_per_s / table.images_per_request
    pictures = images if each.stages == "E" else np.maximum(images, demand.image_rps)
    busy = np.zeros_like(load) if each.stages == "E" else _over(demand.text_rps, text)
    busy = busy + _over(pictures, image)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(busy > 0, load / busy, IDLE * np.maximum(load, 1.0))
    return np.where(np.isfinite(found), found, 0.0)


def pooled_rates(by_size: NDArray[np.float64], needed: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an instance serves in a pool of its kind just large enough for all that is `needed`, (O, W).

    `by_size[n - 1]` is what it serves in a pool of n, (N, O, W), 0 or more and never less in a larger one. Let n be the
    smallest pool with n by_size[n - 1] >= needed, N if there is none: an instance counts as by_size[n - 1], but not so
    much that n - 1 of them were enough. A fleet of one kind then has exactly n instances; of several kinds, each is
    taken to serve what it would if the pool, which serves the same load, were all of its kind.
    """
    sizes = np.arange(1, len(by_size) + 1)[:, None, None]
    enough = sizes * by_size >= needed
    at = np.where(enough.any(axis=0), enough.argmax(axis=0), len(by_size) - 1)
    rate = np.take_along_axis(by_size, at[None], axis=0)[0]
    bounded = enough.any(axis=0) & (at > 0)
    return np.where(bounded, np.minimum(rate, (1.0 - SHORT) * needed / np.maximum(at, 1)), rate)


def capacity_of(table: CapacityTable, kind: int, modality: str, share: float, kappa: float, size: int) -> float:
    """Requests per second of one modality that an instance of a pool serves within `share` of the TTFT objective.

    Between the sizes that were measured on a straight line, beyond the largest no more: waiting falls ever slower with
    the size of a pool. A larger pool is taken to serve no less an instance than a smaller one.
    """
    curves = table.pools(kind, modality)
    if not all(each.rates_rps for each in curves):
        raise GapError(f"the capacity table has no rate in the {modality} curve of {table.kinds[kind].name}")
    found = np.maximum.accumulate([each.capacity_rps(share, kappa) for each in curves])
    return float(np.interp(size, [each.instances for each in curves], found))


def _over(load: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """load / capacity; infinite where something is asked of what can serve nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(load > 0, load / capacity if capacity > 0 else np.inf, 0.0)


def kinds_by_name(table: CapacityTable) -> dict[str, Kind]:
    """The table's kinds by name."""
    return {kind.name: kind for kind in table.kinds}
