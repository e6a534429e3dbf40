"""A window of requests on a fleet, as the solver sees it: what every schedule must at least spend.

Every relaxation grants the oracle at least the simulator's power. It knows the future, may hold requests back, cut and
spread work at will, and skips what the simulator charges besides: overheads that steps share, decoding, preemption,
memory, CPU preprocessing, and the start-up of instances that a fleet may grow to. What it cannot do either: work on a
request before it arrives, prefill before the last image is encoded (unless the cluster overlaps the two), encode a
whole image on two instances at once, or spend fewer instance-seconds on a request than work.py proves necessary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import unknown
from slackwise.policies.features import DECODE, ENCODE, KINDS, PREFILL
from slackwise.simulator import Result, Simulation
from slackwise.solver.work import cheapest_token_s, check_plain, least_work

LATE, TARDINESS, TTFT = "late", "tardiness", "ttft"
OBJECTIVES = {
    LATE: "requests that do not meet their objectives",
    TARDINESS: "seconds by which first tokens come after their objectives, summed over requests",
    TTFT: "seconds to the first token, summed over requests",
}
"""What a schedule is judged by; less is better. Rejected requests count as late and have no times."""

CHUNKED = 1024
"""Prompt tokens up to which every way to cut a prompt is looked at; beyond, a token costs the least it can."""

SLIVER = 1.0 - 1e-9
"""Kernel and bounds add in different orders: times are taken shorter by this factor."""

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Stage:
    """Work that some instances share: request i needs `work_s[i]` instance-seconds between release and due time."""

    name: str
    machines: int
    work_s: Seconds  # (n,), 0 for requests that skip the stage
    release_s: Seconds  # (n,)
    tail_s: Seconds  # (n,) least seconds from the end of this stage to the first token


@dataclass(frozen=True)
class Relaxation:
    """The requests of a run, n of them, and the stages before their first token."""

    arrival_s: Seconds
    due_s: Seconds  # arrival + TTFT objective
    least_ttft_s: Seconds  # alone on the whole fleet
    stages: tuple[Stage, ...]
    rejected: int
    to_the_end: tuple[Stage, ...] = ()  # for LATE: up to the last token, which has to come in time too

    def digest(self) -> str:
        """Of all numbers."""
        found = hashlib.sha256(b"".join(each.tobytes() for each in (self.arrival_s, self.due_s, self.least_ttft_s)))
        for stage in (*self.stages, *self.to_the_end):
            found.update(f"{stage.name} {stage.machines}".encode())
            found.update(b"".join(each.tobytes() for each in (stage.work_s, stage.release_s, stage.tail_s)))
        found.update(str(self.rejected).encode())
        return found.hexdigest()

    def stages_for(self, objective: str) -> tuple[Stage, ...]:
        """The stages that bound an objective."""
        return self.stages + (self.to_the_end if objective == LATE else ())

    def cost(self, objective: str, done_s: Seconds) -> Seconds:
        """Cost of each request if its first token comes at `done_s`, (n,)."""
        if objective == LATE:
            return (done_s > self.due_s + 1e-9 * np.abs(self.due_s)).astype(np.float64)
        if objective == TARDINESS:
            return np.maximum(0.0, done_s - self.due_s)
        if objective == TTFT:
            return np.asarray(done_s - self.arrival_s)
        raise unknown("objective", objective, OBJECTIVES)

    def constant(self, objective: str) -> float:
        """Cost of the rejected requests."""
        return float(self.rejected) if objective == LATE else 0.0


def relaxation(run: Simulation) -> Relaxation:
    """The relaxation of a run that has not begun, read from its state: costs, limits and requests as they stand.

    Raises InputError if the run may reuse earlier work or has faults.
    """
    check_plain(run)
    requests = run.state.requests
    arrival = np.array(requests.arrival_s, float)
    pools = [(at, pool, KINDS[pool.stages]) for at, pool in enumerate(run.configuration.cluster.pools)]
    due = np.array(requests.deadline_s, float)
    together = [at for at, _, bits in pools if bits & ENCODE and bits & PREFILL]
    if together:
        work, alone = _together(run, together)
        alone, before = SLIVER * alone, np.zeros(len(arrival))
        only = Stage("encode and prefill", _machines(run, together), work, arrival, np.zeros(len(arrival)))
        stages: tuple[Stage, ...] = (only,)
    else:
        stages, alone, before = _apart(run, arrival)
    end = _to_the_end(run, arrival, arrival + before, arrival + alone)
    return Relaxation(arrival, due, alone, stages, int(run.rejected.sum()), (end,))


def _apart(run: Simulation, arrival: Seconds) -> tuple[tuple[Stage, ...], Seconds, Seconds]:
    """(prefill and encode as stages, least seconds alone, least seconds before prefill) with separate encoders."""
    prefills, encoders = _pools(run, PREFILL), _pools(run, ENCODE)
    images, progress = np.array(run.state.requests.images), run.state.progress
    prefill_work, prefill_alone = _prefill(run, prefills)
    encode_work, encode_alone = _encode(run, encoders, images)
    transfer = np.minimum(progress.transfer_s, progress.near_transfer_s) * (images > 0)
    before, after = SLIVER * (encode_alone + transfer), SLIVER * (transfer + prefill_alone)
    alone = before + SLIVER * prefill_alone
    if run.configuration.cluster.overlap_tokens > 0:
        alone = np.maximum(SLIVER * encode_alone, SLIVER * prefill_alone)
        before, after = np.zeros(len(arrival)), np.zeros(len(arrival))
    prefill = Stage("prefill", _machines(run, prefills), prefill_work, arrival + before, np.zeros(len(arrival)))
    return (prefill, Stage("encode", _machines(run, encoders), encode_work, arrival, after)), alone, before


def _to_the_end(run: Simulation, arrival: Seconds, encoded: Seconds, first: Seconds) -> Stage:
    """All that the instances that decode do for a request; `encoded` and `first` are the least times of these events.

    Who is in time has its last token no later than the due time + its TBT objective for every token but the first.
    """
    pools = _pools(run, DECODE)
    bits = KINDS[run.configuration.cluster.pools[pools[0]].stages]
    works = []
    for at in pools:
        found = _work(run, at)
        before = (found.encode_s if bits & ENCODE else 0.0) + (found.prefill_s if bits & PREFILL else 0.0)
        works.append(before + found.decode_s)
    release = arrival if bits & ENCODE else encoded if bits & PREFILL else first
    decodes = np.maximum(0, run.state.progress.output_tokens - 1)
    tail = -run.objectives.tbt_s(np.array(run.state.requests.images)) * decodes
    return Stage("to the last token", _machines(run, pools), SLIVER * np.min(works, axis=0), release, tail)


def _pools(run: Simulation, bit: int) -> list[int]:
    """Pools that do a stage."""
    return [at for at, pool in enumerate(run.configuration.cluster.pools) if KINDS[pool.stages] & bit]


def _machines(run: Simulation, pools: list[int]) -> int:
    """Instances that these pools may ever have."""
    return int(np.isin(run.state.engines.pool, pools).sum())


def _together(run: Simulation, pools: list[int]) -> tuple[Seconds, Seconds]:
    """(least instance-seconds, least seconds alone) where one instance encodes and prefills a request."""
    works, alones = [], []
    for at in pools:
        costs, found = run.state.costs[at], _work(run, at)
        step = np.where(run.state.requests.images > 0, float(costs["encode_step_s"]), 0.0)
        works.append(found.encode_s + found.prefill_s)
        alones.append(found.encode_s + step + _prompt_alone(run, at))
    return SLIVER * np.min(works, axis=0), np.min(alones, axis=0)


def _prefill(run: Simulation, pools: list[int]) -> tuple[Seconds, Seconds]:
    works = np.min([_work(run, at).prefill_s for at in pools], axis=0)
    return SLIVER * works, np.min([_prompt_alone(run, at) for at in pools], axis=0)


def _encode(run: Simulation, pools: list[int], images: NDArray[np.int32]) -> tuple[Seconds, Seconds]:
    """Encoders share a request's images, each of them whole; an encoder that takes one job a step pays for the step."""
    encoders, works, alones = _machines(run, pools), [], []
    for at in pools:
        step_s, found = float(run.state.costs[at]["encode_step_s"]), _work(run, at).encode_s
        lone = step_s if run.state.pools[at].max_step_jobs == 1 else 0.0
        works.append(found + lone * (images > 0))
        rounds = np.ceil(images / encoders) / np.maximum(images, 1)
        alones.append((found * rounds + step_s) * (images > 0))
    return SLIVER * np.min(works, axis=0), np.min(alones, axis=0)


def _work(run: Simulation, pool: int) -> Any:
    state = run.state
    return least_work(state.requests, state.progress, state.costs[pool], state.pools[pool])


def _prompt_alone(run: Simulation, pool: int) -> Seconds:
    """Least seconds of a whole prompt on one instance, however it is cut into steps, (n,).

    A step with m of its tokens lasts at least step + min over k >= m of linear[k]: whoever else is in it.
    """
    requests, progress = run.state.requests, run.state.progress
    costs, table = run.state.costs[pool], np.asarray(run.state.pools[pool].linear_s)
    share = np.where(requests.images > 0, 1.0, float(costs["text_only_share"]))
    tokens = (requests.prompt_tokens + progress.extra_tokens).astype(np.int64)
    best = _best_cuts(table[: CHUNKED + 1], table, float(costs["step_s"]))
    pairs = 0.5 * requests.prompt_tokens.astype(np.float64) ** 2 * float(costs["attention_s_per_pair"])
    long = cheapest_token_s(costs, table) * tokens + float(costs["step_s"])
    return np.asarray(share * np.maximum(best[np.minimum(tokens, len(best) - 1)], long) + pairs)


def _best_cuts(head: Seconds, table: Seconds, step_s: float) -> Seconds:
    """best[n] = least seconds of n tokens over all ways to cut them into steps, n up to the length of `head`."""
    lowest = np.minimum.accumulate(table[::-1])[::-1][: len(head)]
    best = np.zeros(len(head))
    for tokens in range(1, len(head)):
        best[tokens] = (lowest[1 : tokens + 1] + step_s + best[tokens - 1 :: -1][:tokens]).min()
    return best


def simulated_cost(result: Result, within_s: Seconds, objective: str) -> float:
    """What a finished run cost, infinite if a request that was not rejected failed and is judged by its times.

    `within_s` is each request's TTFT objective, rejected ones included, (N,).
    """
    served = ~result.rejected
    if objective == LATE:
        return float((~result.met).sum())
    if objective == TARDINESS:
        return float(np.maximum(0.0, result.ttft_s[served] - within_s[served]).sum())
    if objective == TTFT:
        return float(result.ttft_s[served].sum())
    raise unknown("objective", objective, OBJECTIVES)
