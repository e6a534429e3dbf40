"""Why a plan is infeasible, in business words: what would have to give way, and by how much.

HiGHS names no infeasible subset here, so the model is solved anew with one limit made elastic at a time: servers, the
TTFT objective, the load served. Each answer is a sentence that begins with "feasible".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from slackwise.solver.backend import solve
from slackwise.solver.provisioning.data import Option, PlanData, options
from slackwise.solver.provisioning.floors import floors
from slackwise.solver.provisioning.model import build
from slackwise.solver.result import Limits

STRETCH = 36
"""Windows that are looked at: those around the first that cannot be served."""

LIMITS = Limits(gap=0.0, work=2000)
SMALLEST = 1e-6


@dataclass(frozen=True)
class Remedy:
    """One limit that would have to give way."""

    slack: str  # one of variables.SLACKS
    amount: float  # servers at the worst, TTFT objective relative to its own, or requests unserved relative to all
    sentence: str


def explain(data: PlanData, ttft_s: float | None = None) -> tuple[Remedy, ...]:
    """What would make an infeasible plan feasible, each remedy by itself; none if nothing of the kind would.

    `ttft_s` is the TTFT objective to name in words. Only a stretch of the horizon is looked at if it is long.
    """
    first, stretch = _stretch(data)
    found = (_servers(stretch, first), _ttft(stretch, ttft_s), _load(stretch, first))
    return tuple(each for each in found if each is not None)


def sentence(remedies: Iterable[Remedy]) -> str:
    """All remedies in one sentence."""
    texts = [each.sentence for each in remedies]
    return "feasible " + ", or ".join(texts) if texts else "no number of servers and no longer objective would do"


def _stretch(data: PlanData) -> tuple[int, PlanData]:
    """(first window, the windows around the worst one)."""
    if data.windows <= STRETCH:
        return 0, data
    worst = int(np.argmax(_least_price(data)))
    first = int(np.clip(worst - STRETCH // 2, 0, data.windows - STRETCH))
    return first, data.cut(first, first + STRETCH, None)


def _least_price(data: PlanData) -> np.ndarray:
    """What the cheapest fleet of each window costs, of any split, were servers no limit, (W,)."""
    free = replace(data, servers=dict.fromkeys(data.servers))
    found = [floors(free, option) for option in options(free)]
    prices = [np.sum(list(each.cost.values()), axis=0) for each in found if each.feasible]
    return np.asarray(np.min(prices, axis=0) if prices else data.load.max(axis=0))


def _servers(data: PlanData, first: int) -> Remedy | None:
    """The fewest servers more, over the splits."""
    best: tuple[float, dict[str, np.ndarray]] | None = None
    for option in options(data):
        free = replace(data, servers=dict.fromkeys(data.servers))
        if not floors(free, option).feasible:
            continue
        built = build(data, option, slack="servers")
        answer = solve(built.model, LIMITS)
        if answer.values is None:
            continue
        extra = {gpu: np.zeros(data.windows) for gpu in data.servers}
        for (gpu, window), column in built.columns.more_servers.items():
            extra[gpu][window] = round(answer.values[column])
        most = float(sum(each.max() for each in extra.values()))
        if best is None or most < best[0]:
            best = most, extra
    if best is None or best[0] < 1:
        return None
    return Remedy(
        "servers", best[0], "with " + " and ".join(_more(*each, first) for each in best[1].items() if each[1].any())
    )


def _more(gpu: str, extra: np.ndarray, first: int) -> str:
    plural = "s" if extra.max() > 1 else ""
    return f"{extra.max():.0f} more server{plural} of {gpu} in {_windows(np.flatnonzero(extra) + first)}"


def _ttft(data: PlanData, ttft_s: float | None) -> Remedy | None:
    """The least longer TTFT objective, by the model that chooses topology and levels with binaries."""
    built = build(data, None, slack="ttft")
    answer = solve(built.model, LIMITS)
    if answer.values is None or answer.objective is None or answer.objective < SMALLEST:
        return None
    times = 1.0 + answer.objective
    named = f"TTFT at {times * ttft_s:.2g} s" if ttft_s is not None else "a longer TTFT objective"
    return Remedy("ttft", times, f"with {named} ({times:.3g} times the objective)")


def _load(data: PlanData, first: int) -> Remedy | None:
    """The least load unserved, over the splits."""
    best: tuple[float, np.ndarray, Option] | None = None
    for option in options(data):
        built = build(data, option, slack="load")
        answer = solve(built.model, LIMITS)
        if answer.values is None or answer.objective is None:
            continue
        unserved = np.zeros(data.windows)
        for (_, window), column in built.columns.unserved.items():
            unserved[window] = max(unserved[window], answer.values[column])
        if best is None or unserved.sum() < best[0]:
            best = float(unserved.sum()), unserved, option
    if best is None or best[0] < SMALLEST:
        return None
    hit = np.flatnonzero(best[1] > SMALLEST)
    share = float(best[1][hit].sum() / data.needed().max(axis=0)[hit].sum())
    return Remedy("load", share, f"with {100 * share:.3g} % of the requests turned away in {_windows(hit + first)}")


def _windows(places: np.ndarray) -> str:
    """ "windows 17 to 20 and 30"."""
    runs: list[list[int]] = []
    for at in (int(each) for each in places):
        if runs and at == runs[-1][1] + 1:
            runs[-1][1] = at
        else:
            runs.append([at, at])
    words = [str(low) if low == high else f"{low} to {high}" for low, high in runs[:4]]
    more = f" and {len(runs) - 4} more stretches" if len(runs) > 4 else ""
    return f"window{'s' if len(places) > 1 else ''} {', '.join(words)}{more}"
