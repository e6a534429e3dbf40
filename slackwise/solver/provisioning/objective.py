"""The objective of the fleet model."""

from __future__ import annotations

from typing import Any

from slackwise.solver.provisioning.data import PlanData
from slackwise.solver.provisioning.plan import prices
from slackwise.solver.provisioning.variables import Columns


def cheapest(model: Any, data: PlanData, columns: Columns) -> None:
    """Minimise the price of all GPU-seconds, of start-ups, and of switching.

    sum over w, k of cost[k] (window_s ready[w, k] + (start_s[k] + switch_gpu_s) start[w, k]).
    """
    serving, starting, switching = prices(data)
    total = sum(serving[kind] * column for (_, kind), column in columns.ready.items())
    total += sum((starting[kind] + switching[kind]) * column for (_, kind), column in columns.start.items())
    model.minimize(total)


def least_slack(model: Any, data: PlanData, columns: Columns) -> None:
    """Minimise what the plan is given beyond its limits: servers, requests unserved, or the longer TTFT objective."""
    if columns.more_ttft is not None:
        model.minimize(columns.more_ttft)
    else:
        model.minimize(sum(columns.more_servers.values()) + sum(columns.unserved.values()))
