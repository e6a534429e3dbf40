"""The event log of a run, for Python: rows, what they are about, how many a limit left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator.log import KINDS
from slackwise.simulator.simulation import Simulation


@dataclass(frozen=True)
class EventLog:
    """What happened in a run, in order of time; `rows` has dtype state.LOG, its requests are places in the trace."""

    rows: Any  # LOG (n,)
    left_out: int  # events beyond the limit
    pools: tuple[str, ...]  # what each pool is
    stages: tuple[str, ...]  # letters of the stages of each pool
    pool: NDArray[np.int64]  # (m,) pool of each instance
    about: dict[str, Any]  # of the run, ready for JSON: configuration, cluster, policies, objectives, seed, trace

    def of(self, *kinds: str) -> Any:
        """The rows of these kinds (names of log.KINDS), LOG (k,)."""
        return self.rows[np.isin(self.rows.kind, [KINDS.index(kind) for kind in kinds])]

    @property
    def warning(self) -> str:
        """One line for people if the log is not whole, else empty."""
        if self.left_out == 0:
            return ""
        return f"the event log holds the first {len(self.rows):,} events; {self.left_out:,} were left out by its limit"


def event_log(simulation: Simulation) -> EventLog:
    """The events of a simulation so far. Raises InputError if it was made without a log."""
    state, cluster = simulation.state, simulation.configuration.cluster
    if len(state.log) == 0:
        raise InputError("this simulation keeps no event log: make it with log=LIMIT, a number of events")
    logged = int(state.clock[0].logged)
    rows = state.log[:logged].copy()
    about_one = rows.request >= 0
    rows.request[about_one] = np.flatnonzero(~simulation.rejected)[rows.request[about_one]]
    about: dict[str, Any] = {
        "configuration": simulation.configuration.name,
        "cluster": cluster.describe(),
        "policies": simulation.configuration.policies.to_dict(),
        "objectives": simulation.objectives.to_json(),
        "seed": simulation.seed,
        "trace": simulation.source,
        "requests": len(simulation.arrival_s),
        "left_out": max(0, logged - len(rows)),
    }
    pools, stages = zip(*((pool.describe(), pool.stages) for pool in cluster.pools), strict=True)
    return EventLog(rows, about["left_out"], pools, stages, state.engines.pool.copy(), about)
