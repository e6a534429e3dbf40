"""Seconds of a prompt that runs alone: what a server predicts at arrival, in the simulator and in an engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from slackwise.latency.costs import StepCosts


def prefill_alone_seconds(costs: StepCosts, tokens: Any, prompt_tokens: Any) -> Any:
    """Seconds to prefill in one step of its own; arrays broadcast.

    `tokens` are those that the linear layers see, `prompt_tokens` those that attend to one another.
    """
    table, slope = costs.linear_s, float(costs.record["linear_slope_s"])
    last = len(table) - 1
    linear = table[np.minimum(tokens, last)] + slope * np.maximum(0, tokens - last)
    pairs = 0.5 * np.asarray(prompt_tokens, np.float64) ** 2
    return float(costs.record["step_s"]) + linear + float(costs.record["attention_s_per_pair"]) * pairs


def marginal_prefill_seconds(costs: StepCosts) -> float:
    """Marginal seconds of a prompt token in a full step: the slope of the table from its middle to its end."""
    last = len(costs.linear_s) - 1
    if last < 2:
        return float(costs.record["linear_slope_s"])
    return float((costs.linear_s[last] - costs.linear_s[last // 2]) / (last - last // 2))
