"""The loop of provisioning: once an interval look, ask the policy, keep within bounds, change the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from slackwise.policies.knobs import Value
from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, lot
from slackwise.simulator.fleet import draining as draining_of
from slackwise.simulator.fleet import gpus_held
from slackwise.simulator.observation import Observer, Seen
from slackwise.simulator.state import READY, STARTING

if TYPE_CHECKING:
    from slackwise.simulator.simulation import Simulation

Provisioner: TypeAlias = Callable[[Sequence[PoolView], float, Memory], Plan]
"""A provisioning policy with its knobs bound: pools, now in seconds of the trace, its memory; gives a Plan."""


WORKING = (STARTING, READY)
"""Status of what works or soon will."""


@dataclass(frozen=True)
class Tick:
    """One turn of the loop."""

    time_s: float
    targets: tuple[int, ...]  # of each pool, within bounds
    ready: tuple[int, ...]  # before anything was changed
    starting: tuple[int, ...]
    draining: tuple[int, ...]
    gpus: int  # held, after it was changed
    started: int  # instances ordered to start, or called back
    drained: int  # instances ordered to drain, starts called off included
    switched: int  # instances that drained so that others start in their place


@dataclass(frozen=True, eq=False, repr=False)
class Turns:
    """The turns so far: the last one, and those before it."""

    last: Tick
    before: Turns | None


@dataclass(frozen=True)
class Memo:
    """All that the loop remembers: a snapshot of it is this object, which never changes."""

    next_s: float  # time of the next turn
    seen: Seen
    policy: Memory = ()
    turns: Turns | None = None

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """All turns so far."""
        found, turns = [], self.turns
        while turns is not None:
            found.append(turns.last)
            turns = turns.before
        return tuple(reversed(found))


class Controller:
    """Runs a provisioner over a simulation, at `interval_s` after the first arrival and every so often."""

    def __init__(self, simulation: Simulation, provisioner: Provisioner, interval_s: float) -> None:
        self.simulation, self.provisioner, self.interval_s = simulation, provisioner, interval_s
        self.settings = simulation.configuration.provisioning
        self.observer = Observer(simulation)
        self.memo = Memo(self.observer.first_s + interval_s, self.observer.begin())

    def turn(self) -> None:
        """Take the turn that is due, at the time up to which the simulation has come."""
        now = self.memo.next_s
        views, seen = self.observer.look(self.memo.seen, now)
        plan = self.provisioner(views, now, self.memo.policy)
        self._turn_knobs(plan.knobs)
        targets = self.bounded(views, plan.targets)
        switch_s = self.settings.role_switch_s if self.settings.role_switch_s is not None else plan.switch_s
        switched = drained = started = 0
        if any(self._missing(targets)):
            switched = self._switch(views, targets, switch_s) if switch_s is not None else 0
            drained, started = self._drain(targets), self._start(targets)
        ready, starting, draining = zip(*((view.ready, view.starting, view.draining) for view in views), strict=True)
        held = gpus_held(self.simulation.state)
        tick = Tick(now, targets, ready, starting, draining, held, started, drained, switched)
        self.memo = Memo(now + self.interval_s, seen, plan.memory, Turns(tick, self.memo.turns))

    def _turn_knobs(self, settings: Sequence[tuple[str, str, Value]]) -> None:
        """Give policies the knobs of a plan, role by role."""
        for turned in dict.fromkeys(role for role, _, _ in settings):
            self.simulation.turn(turned, **{knob: value for role, knob, value in settings if role == turned})

    def bounded(self, views: Sequence[PoolView], targets: Sequence[int]) -> tuple[int, ...]:
        """Targets as whole numbers between the least and the most instances of each pool."""
        least = self.settings.least
        return tuple(int(np.clip(target, least, view.most)) for view, target in zip(views, targets, strict=True))

    def _missing(self, targets: Sequence[int]) -> list[int]:
        """How many instances each pool is short of its target, below 0 if it has too many."""
        engines = self.simulation.state.engines
        working = np.isin(engines.status, WORKING) | (engines.awaits > 0)
        return [target - int(working[engines.pool == at].sum()) for at, target in enumerate(targets)]

    def _switch(self, views: Sequence[PoolView], targets: Sequence[int], switch_s: float) -> int:
        """Exchange instances between pools that have too many and pools that have too few; a ready one always stays."""
        switched, simulation = 0, self.simulation
        for giver in range(len(targets)):
            for taker in range(len(targets)):
                missing = self._missing(targets)
                out, into = lot(views[giver], views[taker])
                spare = min(-missing[giver], self._ready(giver) - self.settings.least)
                for _ in range(min(spare // out, missing[taker] // into)):
                    switched += len(simulation.move(giver, taker, switch_s)[0])
        return switched

    def _ready(self, pool: int) -> int:
        engines = self.simulation.state.engines
        return int(((engines.pool == pool) & (engines.status == READY)).sum())

    def _drain(self, targets: Sequence[int]) -> int:
        """Drain what is too much; of the ready ones the least stay, whatever will be there later."""
        drained, engines = 0, self.simulation.state.engines
        for at, missing in enumerate(self._missing(targets)):
            there = int(np.isin(engines.status[engines.pool == at], WORKING).sum())
            drained += len(self.simulation.drain(at, max(0, min(-missing, there - self.settings.least))))
        return drained

    def _start(self, targets: Sequence[int]) -> int:
        """Start what is missing as far as GPUs are free, first where most is missing in parts of what is wanted."""
        missing, started, simulation = self._missing(targets), 0, self.simulation
        for at in sorted(range(len(targets)), key=lambda at: (-missing[at] / targets[at], at)):
            if missing[at] > 0:
                gpus = simulation.configuration.cluster.pools[at].tensor_parallel
                free = int(simulation.state.clock[0].gpu_cap) - gpus_held(simulation.state)
                count = min(missing[at], len(draining_of(simulation.state, at)) + max(0, free) // gpus)
                started += len(simulation.start(at, count, self.settings.start_s))
        return started
