"""What a run gives: every request's times, the tokens' gaps, the fleet's use."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator.controller import Tick
from slackwise.simulator.fleet import held_gpu_s
from slackwise.simulator.preprocess import alone_seconds
from slackwise.simulator.simulation import Simulation
from slackwise.simulator.stages import stage_seconds
from slackwise.simulator.state import (
    BUCKETS,
    BUCKETS_PER_DECADE,
    FAILURES,
    REJECTED,
    SHORTEST_TBT_S,
    UNFINISHED,
)
from slackwise.simulator.verdict import Verdict, verdict
from slackwise.simulator.warmup import Mark

SHORTEST_SPAN_S = 1e-6
"""Of a run that is over at once, since rates divide by it."""


@dataclass(frozen=True)
class Result:
    """A run of n requests, in the trace's order. What a failed request never reached is infinite; it meets nothing.

    With a warm-up the requests that arrived in it are left out; tokens, busy shares and GPU-seconds count from its end.
    """

    arrival_s: NDArray[np.float64]  # (n,)
    category: NDArray[np.int32]  # (n,) index into state.CLASSES
    output_tokens: NDArray[np.int32]  # (n,)
    ttft_s: NDArray[np.float64]  # (n,) time to first token
    tbt_s: NDArray[np.float64]  # (n,) mean time between the request's tokens, 0 for a single token
    end_to_end_s: NDArray[np.float64]  # (n,)
    ttft_objective_s: NDArray[np.float64]  # (n,)
    stages: dict[str, NDArray[np.float64]]  # (n,) each: seconds of waiting and service by stage (stages.STAGES)
    met: NDArray[np.bool_]  # (n,) TTFT within its objective and mean TBT within its own
    failure: NDArray[np.int8]  # (n,) index into state.FAILURES, 0 if it was served to its end
    verdict: Verdict
    preprocess_s: NDArray[np.float64]  # (n,) from arrival until its images are preprocessed
    preprocess_wait_s: NDArray[np.float64]  # (n,) of these, seconds beyond what it takes alone: queueing
    preemptions: int
    tbt_tokens: NDArray[np.int64]  # (classes, BUCKETS): tokens by time since the one before
    span_s: float  # first arrival to last finish
    gpu_s: float  # GPUs charged, from the order to start an instance (or the first arrival) to its release
    busy: dict[str, float]  # share of the time charged in which the instances of a pool were in a step, by kind
    encode_busy: dict[str, float]  # ... in the encode part of a step
    prefill_busy: dict[str, float]  # ... in the rest of a step that computed prompt tokens
    events: int
    steps: int
    jobs_reused: int = 0  # encode jobs whose embeddings an encoder had kept
    prefixes_reused: int = 0  # prompts whose prefix a prefill instance had kept, preempted ones counted again
    parked: int = 0  # requests that still wait for an instance to be ready: there never was one
    fleet: tuple[Tick, ...] = ()  # turns of the provisioning loop
    pools: tuple[str, ...] = ()  # kind of each pool that they speak of
    warm_up_s: float = 0.0
    warm_up_requests: int = 0  # left out

    @property
    def served(self) -> NDArray[np.bool_]:
        """Requests that were served to their end, shape (n,)."""
        return self.failure == 0

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """Requests that can never fit the KV cache of an instance, shape (n,)."""
        return self.failure == REJECTED

    @property
    def failed(self) -> dict[str, int]:
        """How many requests failed, by reason."""
        counts = np.bincount(self.failure, minlength=len(FAILURES))
        return {reason: int(count) for reason, count in zip(FAILURES, counts, strict=True) if reason and count}


def result_of(simulation: Simulation) -> Result:
    """The result of a simulation; if it is not done, whoever has not finished counts as failed: unfinished."""
    requests, hidden, kept = simulation.workload.requests, simulation.workload.progress, ~simulation.rejected
    objectives, arrival = simulation.objectives, simulation.arrival_s
    ttft, finish = _spread(hidden.first_token_s, kept) - arrival, _spread(hidden.finish_s, kept)
    output = simulation.output_tokens
    tbt = _spread((hidden.finish_s - hidden.first_token_s) / np.maximum(1, hidden.output_tokens - 1), kept)
    within = _spread(requests.deadline_s - requests.arrival_s, kept, 0.0)
    met = (ttft <= within) & (tbt <= objectives.tbt_s(simulation.images))
    preprocess, waited = _preprocessing(simulation, kept)
    failure, ended = _failures(simulation), verdict_of(simulation)
    end = _last_s(simulation, ended)
    span = max(SHORTEST_SPAN_S, end - _begin_s(simulation))
    result = Result(
        arrival_s=arrival,
        category=simulation.category,
        output_tokens=output,
        ttft_s=ttft,
        tbt_s=tbt,
        end_to_end_s=finish - arrival,
        ttft_objective_s=_spread(requests.deadline_s - requests.arrival_s, kept, np.nan),
        stages=stage_seconds(simulation),
        met=met,
        failure=failure,
        verdict=ended,
        preprocess_s=preprocess,
        preprocess_wait_s=waited,
        preemptions=int(hidden.preemptions.sum()),
        tbt_tokens=simulation.state.tbt.tokens.copy(),
        span_s=span,
        gpu_s=float(_held_gpu_s(simulation, end).sum()),
        busy=_shares(simulation, "busy_s", end),
        encode_busy=_shares(simulation, "encode_busy_s", end),
        prefill_busy=_shares(simulation, "prefill_busy_s", end),
        events=int(simulation.state.clock[0].events),
        steps=int(simulation.state.clock[0].steps),
        jobs_reused=int(simulation.state.clock[0].jobs_found),
        prefixes_reused=int(simulation.state.clock[0].prefixes_found),
        parked=int(simulation.state.groups.parked.sum()),
        fleet=simulation.controller.memo.ticks if simulation.controller else (),
        pools=tuple(pool.stages for pool in simulation.configuration.cluster.pools),
    )
    return result if simulation.mark is None else _after(result, simulation, simulation.mark)


def tbt_quantile_s(tokens: NDArray[np.int64], quantile: float) -> float:
    """Time between tokens below which a share `quantile` of the tokens lie, in seconds, to a bucket (0.9 %).

    `tokens` is a row of `tbt_tokens` or a sum of rows, shape (BUCKETS,); nan without tokens.
    """
    total = tokens.sum()
    if total == 0:
        return float("nan")
    at = min(int(np.searchsorted(np.cumsum(tokens), quantile * total)), BUCKETS - 1)
    return float(SHORTEST_TBT_S * 10 ** ((at + 0.5) / BUCKETS_PER_DECADE))


def _preprocessing(simulation: Simulation, kept: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of CPU preprocessing of each request, and those of them that it queued; 0 for rejected ones."""
    seconds = simulation.ready_s - simulation.workload.requests.arrival_s
    workers, waited = simulation.configuration.cluster.preprocess_workers, np.zeros(len(seconds))
    if workers > 0:
        alone = alone_seconds(simulation.images[kept], simulation.image_s, workers)
        waited = np.maximum(0.0, seconds - alone)
    return _spread(seconds, kept, 0.0), _spread(waited, kept, 0.0)


def verdict_of(simulation: Simulation) -> Verdict:
    """How a simulation stands, or ended."""
    hidden, kept = simulation.workload.progress, ~simulation.rejected
    left_s = np.where(hidden.failure == 0, hidden.finish_s, hidden.failed_s)
    left_s = np.where(np.isnan(left_s), np.inf, left_s)
    parked = int(simulation.state.groups.parked.sum())
    return verdict(simulation.arrival_s[kept], left_s, simulation.now_s, not simulation.done, parked)


def _failures(simulation: Simulation) -> NDArray[np.int8]:
    hidden = simulation.workload.progress
    failure = np.full(len(simulation.rejected), REJECTED, np.int8)
    unfinished = np.isnan(hidden.finish_s) & (hidden.failure == 0)
    failure[~simulation.rejected] = np.where(unfinished, UNFINISHED, hidden.failure)
    return failure


def _last_s(simulation: Simulation, ended: Verdict) -> float:
    """When the last request left, or the run was ended."""
    hidden = simulation.workload.progress
    if ended.unfinished > 0:
        return max(simulation.now_s, float(simulation.arrival_s[0]))
    return float(np.nanmax(np.where(hidden.failure == 0, hidden.finish_s, hidden.failed_s)))


def _spread(kept_values: NDArray[np.float64], kept: NDArray[np.bool_], rest: float = np.inf) -> NDArray[np.float64]:
    """Values of all requests: `rest` for the rejected, infinite where there is none yet."""
    values = np.full(len(kept), rest)
    values[kept] = np.where(np.isnan(kept_values), np.inf, kept_values)
    return values


def _begin_s(simulation: Simulation) -> float:
    """Where the span begins."""
    return float(simulation.arrival_s[0]) if simulation.mark is None else simulation.mark.since_s


def _after(result: Result, simulation: Simulation, mark: Mark) -> Result:
    """The result of those who arrived after a warm-up, and of the tokens since."""
    first = int(np.searchsorted(result.arrival_s, mark.since_s))
    columns = (each.name for each in fields(Result) if isinstance(getattr(result, each.name), np.ndarray))
    later = {name: getattr(result, name)[first:] for name in columns if name != "tbt_tokens"}
    preempted = _spread(simulation.workload.progress.preemptions, ~simulation.rejected, 0)
    return replace(
        result,
        **later,
        stages={name: seconds[first:] for name, seconds in result.stages.items()},
        preemptions=int(preempted[first:].sum()),
        tbt_tokens=result.tbt_tokens - mark.tbt_tokens,
        warm_up_s=mark.since_s - float(result.arrival_s[0]),
        warm_up_requests=first,
    )


def _held_gpu_s(simulation: Simulation, end_s: float) -> NDArray[np.float64]:
    """GPU-seconds charged to each instance, since the warm-up if there was one, shape (m,)."""
    charged = held_gpu_s(simulation.state, end_s)
    return charged if simulation.mark is None else charged - simulation.mark.held_gpu_s


def _shares(simulation: Simulation, field: str, end_s: float) -> dict[str, float]:
    """GPU-seconds of the instances of each kind in which they did something, as a share of those charged."""
    cluster, engines = simulation.configuration.cluster, simulation.state.engines
    seconds, held_gpu = engines[field], _held_gpu_s(simulation, end_s)
    if simulation.mark is not None:
        seconds = seconds - simulation.mark.engines[field]
    spent = {pool.stages: np.zeros(2) for pool in cluster.pools}
    for at, pool in enumerate(cluster.pools):
        rows = engines.pool == at
        spent[pool.stages] += seconds[rows].sum() * pool.tensor_parallel, held_gpu[rows].sum()
    return {kind: float(busy / max(SHORTEST_SPAN_S, held)) for kind, (busy, held) in spent.items()}
