"""Where the time of a request goes: seconds of waiting and of service, stage by stage.

The stages follow each other without a gap, so that they add up to the end-to-end time of a request. Each ends at a time
that the kernel stamps when it first happens (state.STAMPS): a request that is preempted and goes through a stage again
spends that time in the stage in which it was interrupted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.simulation import Simulation
from slackwise.simulator.state import DECODING, ENCODING

STAGES = {
    "preprocess": "from arrival until its images are preprocessed, the queue for a worker included",
    "encode_wait": "from there, or from arrival, to the first step of a separate encoder that holds an image of it",
    "encode": "from there to the end of the step in which its last image is encoded",
    "transfer": "from there until a prefill instance has its embeddings",
    "prefill_wait": "from there, or from where it stood if nothing is encoded apart, to its first admission to prefill",
    "prefill": "from there to its first token; images too where the prefill instance encodes",
    "hand_over": "from its first token until a separate decode instance has its KV cache",
    "decode_wait": "from there to its first admission to decode",
    "decode": "from there, or from its first token where decodes are not apart, to its last token",
}
"""Stages in order, and what each is. A request is not in a stage that it does not pass."""

WAITS = ("encode_wait", "prefill_wait", "decode_wait")
"""Stages in which a request waits in a queue."""

APART = {
    "encode_wait": ENCODING,
    "encode": ENCODING,
    "transfer": ENCODING,
    "hand_over": DECODING,
    "decode_wait": DECODING,
}
"""Stages that exist only where a group of instances is apart from the prefill."""

ENDS = {
    "encode_wait": "encode_begun_s",
    "encode": "encoded_s",
    "transfer": "queued_s",
    "prefill_wait": "prefill_begun_s",
    "prefill": "first_token_s",
    "hand_over": "decode_queued_s",
    "decode_wait": "decode_begun_s",
    "decode": "finish_s",
}
"""The stamp at which each stage ends."""

BEFORE = {stage: list(ENDS).index(stage) < list(ENDS).index("prefill") for stage in ENDS}
"""Whether a stage comes before the first token: it ends with it at the latest, whatever was done again."""

Seconds = NDArray[np.float64]


def stage_seconds(simulation: Simulation) -> dict[str, Seconds]:
    """Seconds of each request in each stage that the cluster has, shape (n,); nan where it did not pass the stage."""
    requests, groups = simulation.workload.requests, simulation.state.groups
    stages = [stage for stage in ENDS if stage not in APART or groups[APART[stage]].count > 0]
    stamps = {stage: np.array(simulation.workload.progress[ENDS[stage]]) for stage in stages}
    end_s = np.array(requests.arrival_s)
    found: dict[str, Seconds] = {}
    if simulation.configuration.cluster.preprocess_workers > 0:
        there = (requests.images > 0) & (simulation.ready_s <= simulation.state.clock[0].reached_s)
        found["preprocess"] = np.where(there, simulation.ready_s - end_s, np.nan)
        end_s = simulation.ready_s.copy()
    for stage, until_s in stamps.items():
        if BEFORE[stage]:
            np.fmin(until_s, stamps["prefill"], out=until_s, where=~np.isnan(until_s))
        until_s[~_concerns(stage, stamps, simulation)] = np.nan
        found[stage] = np.maximum(until_s - end_s, 0.0)
        np.fmax(end_s, until_s, out=end_s)
    return {stage: _in_trace(seconds, simulation.rejected) for stage, seconds in found.items()}


def _concerns(stage: str, stamps: dict[str, Seconds], simulation: Simulation) -> NDArray[np.bool_] | np.bool_:
    """Which requests a stage is about, shape (k,), or all."""
    if stage in ("encode", "transfer"):
        return ~np.isnan(stamps["encode_wait"])
    if stage == "decode":
        return simulation.output_tokens[~simulation.rejected] > 1
    return np.True_


def _in_trace(seconds: Seconds, rejected: NDArray[np.bool_]) -> Seconds:
    """A column over the requests that were served, as one over the trace."""
    if not rejected.any():
        return seconds
    column = np.full(len(rejected), np.nan)
    column[~rejected] = seconds
    return column
