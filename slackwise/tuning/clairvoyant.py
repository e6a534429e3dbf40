"""A row of the honest table that nobody can deploy: the fleet is planned with the arrivals to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slackwise.policies.provisioning.pool import Memory, Plan, PoolView, Rates
from slackwise.simulator import Configuration, Result, Simulation, result_of
from slackwise.solver.provisioning.data import Terms
from slackwise.solver.rolling import forecast_ilp, plan_ahead, solved_counts
from slackwise.traces import Trace
from slackwise.tuning.trials import Task

DEFAULTS = dict(zip(forecast_ilp.knobs, map(float, forecast_ilp.params()), strict=True))
STEP_S, HORIZON, NODES = DEFAULTS["step_s"], int(DEFAULTS["horizon"]), int(DEFAULTS["nodes"])


def clairvoyant(trace: Trace, configuration: Configuration, task: Task) -> Result:
    """The trace served while the rolling MILP of `forecast_ilp` is told, instead of a forecast, what will arrive.

    Window by window the cheapest fleet for the tokens to come, planned as far ahead as the policy plans, from when what
    is ordered now is ready.
    """

    def targets(pools: Sequence[PoolView], now: float, memory: Memory) -> Plan:
        since_s = now + max(pool.start_s for pool in pools)
        ahead = [coming.rates(since_s + at * STEP_S) for at in range(HORIZON)]
        counts = solved_counts(plan_ahead(pools, ahead, STEP_S, Terms(switch_gpu_s=DEFAULTS["switch_gpu_s"])), NODES)
        held = tuple(pool.working for pool in pools)
        return Plan(counts[0] if counts else held)

    served = replace(configuration, provisioning=replace(configuration.provisioning, interval_s=STEP_S))
    run = Simulation(trace, served, task.objectives, task.seed, task.image_context, provisioner=targets)
    coming = _Coming(run)
    run.run_until()
    return result_of(run)


class _Coming:
    """Tokens of each modality that arrive in any window, of a run that has not begun."""

    def __init__(self, run: Simulation) -> None:
        requests, progress = run.state.requests, run.state.progress
        self.arrival_s = np.array(requests.arrival_s)
        columns = (requests.text_tokens, requests.image_tokens, progress.output_tokens)
        self.sums = [np.concatenate([[0.0], np.cumsum(np.array(each, float))]) for each in columns]

    def rates(self, since_s: float) -> Rates:
        """Means over STEP_S from `since_s` on."""
        first, last = np.searchsorted(self.arrival_s, [since_s, since_s + STEP_S])
        text, image, output = (float(each[last] - each[first]) / STEP_S for each in self.sums)
        return Rates(STEP_S, text_tokens_per_s=text, image_tokens_per_s=image, output_tokens_per_s=output)
