"""Kinds that hardly any cheapest plan needs: wherever one of them stands, smaller ones can stand in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slackwise.solver.provisioning.data import Option, PlanData

TOLERANCE = 0.002
"""The loss that dropping a kind may cost at most, relative; it is taken off the bound."""


@dataclass(frozen=True)
class Useful:
    """Kinds to plan with, and how much cheaper, relative, a plan with the dropped ones could be at most."""

    kinds: tuple[int, ...]
    loss: float


def useful(data: PlanData, option: Option, tolerance: float = TOLERANCE) -> Useful:
    """Kinds of the option's classes without the dominated ones, in order.

    Kind k is dominated by j of its class and GPU type if m = GPUs of k / GPUs of j is whole and m instances of j serve
    at least as much in every window and scenario, cost no more and hold their GPUs no longer: put them in k's place,
    GPU for GPU, and the plan stays within every rule. What it costs more is their longer start-up, d seconds; as who
    starts is paid for at least `min_up_windows` windows, that is at most d / (windows' length + switching) of the
    whole. A kind that is ready before window 0 stays.
    """
    kept: list[int] = []
    loss = 0.0
    for name, level in option.levels.items():
        members = list(data.classes[name])
        mine = [at for at in members if not any(_dominates(data, level, other, at, tolerance) for other in members)]
        dropped = [at for at in members if at not in mine]
        loss = max([loss, *(_smallest_loss(data, level, mine, at) for at in dropped)])
        kept += mine
    return Useful(tuple(sorted(kept)), loss)


def _dominates(data: PlanData, level: int, other: int, kind: int, tolerance: float) -> bool:
    mine, its = data.kinds[kind], data.kinds[other]
    if other == kind or mine.gpu != its.gpu or mine.tensor_parallel % its.tensor_parallel:
        return False
    if data.initial is not None and data.initial.get(kind, 0):
        return False
    if not _no_worse(data, level, other, kind) or _loss(data, other, kind) > tolerance:
        return False
    both = mine.tensor_parallel == its.tensor_parallel and _no_worse(data, level, kind, other)
    return not (both and other > kind and _loss(data, kind, other) <= tolerance)  # of two alike the first stays


def _no_worse(data: PlanData, level: int, other: int, kind: int) -> bool:
    """Whether instances of `other` on the GPUs of one of `kind` serve no less and cost no more by the second."""
    mine, its = data.kinds[kind], data.kinds[other]
    times = mine.tensor_parallel // its.tensor_parallel
    return (
        times * its.cost <= mine.cost
        and mine.cost > 0
        and data.start_windows(other) <= data.start_windows(kind)
        and bool(np.all(times * data.rate[other, level] >= data.rate[kind, level]))
    )


def _smallest_loss(data: PlanData, level: int, kept: list[int], kind: int) -> float:
    """The loss if `kind` becomes the best of the kept that dominate it; there is one, as dominance is transitive."""
    return min(_loss(data, at, kind) for at in kept if _no_worse(data, level, at, kind))


def _loss(data: PlanData, other: int, kind: int) -> float:
    """The most, relative, that a plan costs more if its instances of `kind` become some of `other`."""
    longer_s = data.kinds[other].start_s - data.kinds[kind].start_s
    return max(0.0, longer_s) / (data.window_s * data.terms.min_up_windows + data.terms.switch_gpu_s)
