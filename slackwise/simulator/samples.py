"""A run looked at many times: what its instances hold and who waits, as a time line; and what lies idle in vain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.simulator.state import ENCODING, READY, State

SAMPLES = 1000


@dataclass(frozen=True)
class Samples:
    """k looks at m instances."""

    time_s: NDArray[np.float64]  # (k,)
    waiting: NDArray[np.int32]  # (k, m) requests, or encode jobs, in the queue
    running: NDArray[np.int32]  # (k, m)
    ready: NDArray[np.bool_]  # (k, m) takes work
    idle: NDArray[np.bool_]  # (k, m) takes work and is in no step
    kv_free_tokens: NDArray[np.int64]  # (k, m) as of the last step; 0 for encoders
    kv_needed_tokens: NDArray[np.int64]  # (k, m) what the head of the queue asks for and does not find, else 0
    kv_capacity_tokens: NDArray[np.int64]  # (k, m) of those that take work, else 0
    gpus: NDArray[np.int64]  # (m,) of each instance
    group: NDArray[np.int64]  # (m,) state.ENCODING, PREFILLING or DECODING

    def of_group(self, group: int) -> NDArray[np.bool_]:
        """Which instances belong to a group, shape (m,)."""
        return np.asarray(self.group == group)


class Watch:
    """Looks at a run at `samples` times, evenly spread from its first to its last arrival.

    Raises InputError for fewer than 1 sample.
    """

    def __init__(self, arrival_s: NDArray[np.float64], samples: int = SAMPLES) -> None:
        if samples < 1:
            raise InputError(f"a run is looked at at least once, not {samples} times")
        begin_s, end_s = float(arrival_s[0]), float(arrival_s[-1])
        self.times = begin_s + (end_s - begin_s) * (np.arange(samples) + 0.5) / samples
        self.looks: list[dict[str, NDArray[Any]]] = []

    def next_s(self) -> float:
        """When to look next; infinite if there were all looks."""
        return float(self.times[len(self.looks)]) if len(self.looks) < len(self.times) else np.inf

    def look(self, state: State) -> None:
        """Look at the state as it stands."""
        self.looks.append(_look(state))

    def samples(self, state: State) -> Samples:
        """What was seen so far. Raises InputError before the first look."""
        if not self.looks:
            raise InputError("nothing was looked at yet: run the simulation first")
        return Samples(
            time_s=self.times[: len(self.looks)],
            **{name: np.stack([look[name] for look in self.looks]) for name in self.looks[0]},
            gpus=np.asarray(state.instances.tensor_parallel, np.int64),
            group=_groups(state),
        )


def fragmentation(samples: Samples) -> dict[str, dict[str, float]]:
    """What lies idle while it is asked for elsewhere, by group of instances, averaged over the samples.

    Of the instances that take work. `idle_gpus`: share of the group's GPUs whose instance is in no step while a request
    waits in the queue of another. `stranded_kv`: share of the group's KV cache that is free, and would serve the heads
    of queues that wait for memory, but is not where they are: min(free in all, what these heads ask for) / capacity;
    the external fragmentation of Llumnix (Sun et al. 2024).
    """
    names = {at: name for at, name in enumerate(("encode", "prefill", "decode")) if samples.of_group(at).any()}
    return {name: _fragmentation(samples, samples.of_group(at), at) for at, name in names.items()}


def _fragmentation(samples: Samples, rows: NDArray[np.bool_], group: int) -> dict[str, float]:
    waits, idle, gpus = samples.waiting[:, rows] > 0, samples.idle[:, rows], samples.gpus[rows]
    in_vain = (idle * gpus).sum(axis=1) * waits.any(axis=1)
    found = {"idle_gpus": _mean(in_vain, (samples.ready[:, rows] * gpus).sum(axis=1))}
    if group != ENCODING:
        asked, free = samples.kv_needed_tokens[:, rows].sum(axis=1), samples.kv_free_tokens[:, rows].sum(axis=1)
        found["stranded_kv"] = _mean(np.minimum(asked, free), samples.kv_capacity_tokens[:, rows].sum(axis=1))
    return found


def _look(state: State) -> dict[str, NDArray[Any]]:
    """One row of the columns of Samples that move."""
    engines, instances = state.engines, state.instances
    ready = engines.status == READY
    capacity = np.where(ready, instances.kv_capacity_tokens, 0)
    free = np.maximum(0, capacity - engines.kv_used_tokens)
    return {
        "waiting": (engines.queued + engines.queued_jobs).astype(np.int32),
        "running": instances.running.astype(np.int32),
        "ready": ready,
        "idle": ready & np.isinf(engines.step_end_s),
        "kv_capacity_tokens": capacity,
        "kv_free_tokens": free,
        "kv_needed_tokens": _needed(state, free),
    }


def _mean(part: NDArray[Any], whole: NDArray[Any]) -> float:
    """Mean share over the samples in which there is a whole; 0 if there is none."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if there.any() else 0.0


def _needed(state: State, free: NDArray[np.int64]) -> NDArray[np.int64]:
    """KV tokens that the head of each queue asks for where they are not free, though a sequence is, shape (m,)."""
    engines = state.engines
    seats = engines.decodes + engines.in_flight < state.pools.max_sequences[engines.pool]
    head = np.where(engines.queued > 0, state.queues.ident[:, 0], 0)
    asked = state.progress.target_tokens[head].astype(np.int64) + state.progress.image_kv_tokens[head]
    return np.asarray(np.where((engines.queued > 0) & seats & (asked > free), asked, 0))


def _groups(state: State) -> NDArray[np.int64]:
    """The group of each instance, shape (m,)."""
    found = np.zeros(len(state.instances), np.int64)
    for at, group in enumerate(state.groups):
        found[int(group.first) : int(group.first + group.count)] = at
    return found
