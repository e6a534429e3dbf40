"""Runs whose truth is known: outcomes made of waiting times instead of a simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Objectives, Result, preset
from slackwise.simulator.state import BUCKETS, CLASSES, REJECTED
from slackwise.simulator.verdict import Verdict
from slackwise.tuning.outcome import Outcome

OBJECTIVES = Objectives(5.0, 5.0, 1.0, 1.0)
CONFIGURATION = preset("vllm", "Llama-3.2-11B-Vision")


def result(arrival_s: NDArray[np.float64], ttft_s: NDArray[np.float64]) -> Result:
    """A run of text requests of two tokens with these times to the first one; 5 s is the objective."""
    count = len(arrival_s)
    return Result(
        arrival_s=arrival_s,
        category=np.zeros(count, np.int32),
        output_tokens=np.full(count, 2, np.int32),
        ttft_s=ttft_s,
        tbt_s=np.full(count, 0.01),
        end_to_end_s=ttft_s + 0.01,
        ttft_objective_s=np.full(count, OBJECTIVES.text_ttft_s),
        stages={},
        met=ttft_s <= OBJECTIVES.text_ttft_s,
        failure=np.where(np.isfinite(ttft_s), 0, REJECTED).astype(np.int8),
        verdict=Verdict("finished", 0, "all of them"),
        preprocess_s=np.zeros(count),
        preprocess_wait_s=np.zeros(count),
        preemptions=0,
        tbt_tokens=np.ones((len(CLASSES), BUCKETS), np.int64),
        span_s=float(arrival_s[-1] - arrival_s[0]),
        gpu_s=16.0 * float(arrival_s[-1] - arrival_s[0]),
        busy={},
        encode_busy={},
        prefill_busy={},
        events=0,
        steps=0,
    )


def outcome(name: str, *results: Result) -> Outcome:
    """An outcome under this name."""
    return Outcome(replace(CONFIGURATION, name=name), OBJECTIVES, results)


def queue(gaps_s: NDArray[np.float64], service_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sojourn times of a single server in order of arrival (Lindley's recursion, 1952), shape (n,)."""
    walk = np.concatenate([[0.0], np.cumsum(service_s[:-1] - gaps_s[1:])])
    return np.asarray(walk - np.minimum.accumulate(walk) + service_s)
