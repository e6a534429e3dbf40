"""What every simulator of the comparison serves: the same requests on one instance, with one model of a step's time.

    step = base[tokens] + kv_s_per_token * (KV tokens that decodes read) + attention_s_per_pair * (prefill pairs)

`tokens` are those of the step, decodes and prompt chunks; pairs are new * (done + new / 2), summed over chunks. The
numbers are slackwise's for LLaVA-OneVision-7B (the LLM of Qwen2-7B) on one A100-80GB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slackwise.latency.costs import base_seconds
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.configuration import Configuration
from slackwise.traces import Trace

MODEL, GPU, ENGINE = "LLaVA-OneVision-7B", "A100-80GB", "vllm"


def configuration() -> Configuration:
    """One instance under vLLM's V1 scheduler, first come first served."""
    first_come = PolicyChoice("fcfs")
    least = PolicyChoice("least_requests")
    policies = Policies(least, first_come, PolicyChoice("encoder_budget"), least, first_come)
    return Configuration("peers", Cluster(MODEL, GPU, (Pool("EPD", 1, 1, ENGINE),)), policies)


@dataclass(frozen=True)
class Job:
    """The work and the step's time as arrays, which a worker in another interpreter can read."""

    arrival_s: NDArray[np.float64]  # (n,) from the first
    prompt_tokens: NDArray[np.int64]  # (n,)
    output_tokens: NDArray[np.int64]  # (n,)
    base_s: NDArray[np.float64]  # [t] = seconds of a step with t tokens, without attention
    kv_s_per_token: float
    attention_s_per_pair: float
    kv_tokens: int
    max_sequences: int
    step_tokens: int

    def save(self, path: Path) -> None:
        """Write what `numpy.load` reads."""
        np.savez(path, **vars(self))


def job_of(trace: Trace) -> Job:
    """The job that a trace without images is."""
    cluster = configuration().cluster
    costs, rules = cluster.costs(cluster.pools[0]), cluster.pools[0].rules
    longest = max(rules.max_step_tokens, int(np.max(trace.context_tokens))) + rules.max_sequences
    base = np.array([base_seconds(costs.record, costs.linear_s, tokens, False) for tokens in range(longest + 1)])
    base[0] = 0.0
    return Job(
        arrival_s=np.asarray(trace.arrival_s, dtype=np.float64) - float(trace.arrival_s[0]),
        prompt_tokens=np.asarray(trace.context_tokens, dtype=np.int64),
        output_tokens=np.maximum(1, np.asarray(trace.output_tokens, dtype=np.int64)),
        base_s=base,
        kv_s_per_token=float(costs.record["kv_s_per_token"]),
        attention_s_per_pair=float(costs.record["attention_s_per_pair"]),
        kv_tokens=int(costs.kv_capacity_tokens),
        max_sequences=rules.max_sequences,
        step_tokens=rules.max_step_tokens,
    )
