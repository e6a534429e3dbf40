"""What a provisioning policy is shown: PoolViews of a run, from what a real server can know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.provisioning.pool import WINDOWS_S, PoolView, Rates
from slackwise.simulator.fleet import gpus_held
from slackwise.simulator.service_rate import service_rates
from slackwise.simulator.state import CLASSES, DECODING, DRAINING, ENCODING, OFF, PREFILLING, READY, STARTING

if TYPE_CHECKING:
    from slackwise.simulator.simulation import Simulation

MEDIANS_FROM_S = 600.0
"""Windows for which medians over minutes are worth the time."""

Numbers = NDArray[np.int64]
COUNTED = ("text_requests", "image_requests", "images", "text_tokens", "image_tokens", "output_tokens")


@dataclass(frozen=True)
class Seen:
    """What an observer has to remember from one look to the next; its arrays are never written to."""

    at_s: float  # time of the last look
    arrived: int  # requests that had arrived
    unjudged: Numbers  # of these, without a first token and not late yet
    unfinished: Numbers
    open: Numbers  # of these, whose objectives are neither all met nor one of them missed yet
    busy_s: NDArray[np.float64]  # (m,) of each instance, up to then
    held_s: NDArray[np.float64]  # (m,) likewise, since the order to start it


class Observer:
    """Looks at a simulation, by default once an interval; all that it remembers is in the `Seen` it hands out."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        requests = simulation.state.requests
        self.first_s = float(simulation.arrival_s[0])
        self.arrival_s = np.array(requests.arrival_s)
        self.deadline_s = np.array(requests.deadline_s)
        self.tbt_s = simulation.objectives.tbt_s(requests.images)
        self.image_counts = np.array(requests.images)
        images = requests.images > 0
        columns = (~images, images, requests.images, requests.text_tokens, requests.image_tokens)
        counted = [*columns, requests.output_estimate_tokens]
        self.sums = {name: _summed(column) for name, column in zip(COUNTED, counted, strict=True)}
        self.images_in_prompt = bool(simulation.state.progress.sequence_tokens_per_image.max() > 0)
        self.most_tiles = int(requests.tiles_per_image.max())  # of an image
        self.capacities = service_rates(simulation.configuration, simulation.objectives)

    def begin(self) -> Seen:
        """Before the first request."""
        none = np.zeros(0, np.int64)
        nothing = np.zeros(len(self.simulation.state.instances))
        return Seen(self.first_s, 0, none, none, none, nothing, _held_s(self.simulation.state, self.first_s))

    def look(self, seen: Seen, now: float) -> tuple[tuple[PoolView, ...], Seen]:
        """Views of all pools at `now`, the time up to which the run has come, and what to remember."""
        state = self.simulation.state
        arrived = int(np.searchsorted(self.arrival_s, now, side="right"))
        fresh = np.arange(seen.arrived, arrived)
        unjudged, ttft = self._judge_ttft(np.concatenate([seen.unjudged, fresh]), now)
        unfinished, tbt = self._judge_tbt(np.concatenate([seen.unfinished, fresh]))
        judging, missed = self._judge_classes(np.concatenate([seen.open, fresh]), now)
        busy_s, held_s = _busy_s(state, now), _held_s(state, now)
        shared: dict[str, Any] = {"ttft_attainment": ttft, "tbt_attainment": tbt, "rates": self.rates(now)}
        shared |= {"hour": (self.simulation.clock_s + now) / 3600.0 % 24.0, "gpu_cap": int(state.clock[0].gpu_cap)}
        shared |= {"missed": missed, "parked": tuple(map(int, state.groups.parked)), "held_gpus": gpus_held(state)}
        shared["images_in_prompt"] = self.images_in_prompt
        passed_s = max(1e-9, now - seen.at_s)
        here = self._lengths(unfinished)
        views = tuple(
            self._view(at, (busy_s - seen.busy_s, held_s - seen.held_s), passed_s, here[:, at], shared)
            for at in range(len(state.pools))
        )
        return views, Seen(now, arrived, unjudged, unfinished, judging, busy_s, held_s)

    def rates(self, now: float) -> tuple[Rates, ...]:
        """Arrival rates over each window, or over what of it has passed since the first arrival."""
        return tuple(self._rates(window_s, now) for window_s in WINDOWS_S)

    def _rates(self, window_s: float, now: float) -> Rates:
        since_s = max(self.first_s, now - window_s)
        first, last = np.searchsorted(self.arrival_s, [since_s, now], side="right")
        first = 0 if since_s == self.first_s else first
        passed_s = max(1e-9, now - since_s)
        means = {f"{name}_per_s": float(sums[last] - sums[first]) / passed_s for name, sums in self.sums.items()}
        if window_s < MEDIANS_FROM_S:
            return Rates(window_s, **means)
        counts = self.image_counts[first:last]
        counts = counts[counts > 0]
        median = float(np.median(counts)) if len(counts) else 0.0
        return Rates(window_s, **means, median_images_per_s=self._median_rate(since_s, now), median_images=median)

    def _median_rate(self, since_s: float, now: float) -> float:
        """Median over the whole minutes of images that arrived a second; over all of it if it is shorter."""
        edges = np.arange(now, since_s - 1e-9, -60.0)[::-1]
        edges = edges if len(edges) > 1 else np.array([since_s, now])
        images = self.sums["images"][np.searchsorted(self.arrival_s, edges, side="right")]
        return float(np.median(np.diff(images) / np.maximum(1e-9, np.diff(edges))))

    def _judge_ttft(self, waiting: Numbers, now: float) -> tuple[Numbers, float]:
        """Who is not judged yet, and the share within the objective of those judged now.

        A request is judged once: at its first token or, if there is none by then, at its deadline; at once if it fails.
        """
        first_s, deadline_s = self.simulation.state.progress.first_token_s[waiting], self.deadline_s[waiting]
        met = first_s <= deadline_s
        judged = ~np.isnan(first_s) | (deadline_s <= now) | (self.simulation.state.progress.failure[waiting] != 0)
        return waiting[~judged], float(met[judged].mean()) if judged.any() else 1.0

    def _judge_tbt(self, running: Numbers) -> tuple[Numbers, float]:
        """Who has not finished, and the share of those finished now whose mean time between tokens is within."""
        progress = self.simulation.state.progress[running]
        done, failed = ~np.isnan(progress.finish_s), progress.failure != 0
        left = running[~done & ~failed]
        if not done.any():
            return left, 1.0
        ended = progress[done]
        tbt_s = (ended.finish_s - ended.first_token_s) / np.maximum(1, ended.output_tokens - 1)
        return left, float((tbt_s <= self.tbt_s[running[done]]).mean())

    def _judge_classes(self, waiting: Numbers, now: float) -> tuple[Numbers, tuple[float, ...]]:
        """Who can still meet or miss its objectives, and the share of each class that missed of those judged now.

        A request is judged once: when it fails, when its first token is late, else when it finishes.
        """
        progress, arrival_s = self.simulation.state.progress[waiting], self.arrival_s[waiting]
        known_s = np.where(np.isnan(progress.first_token_s), now, progress.first_token_s)
        late = known_s - arrival_s > self.deadline_s[waiting] - arrival_s
        done = ~np.isnan(progress.finish_s)
        tbt_s = (progress.finish_s - progress.first_token_s) / np.maximum(1, progress.output_tokens - 1)
        missed = (progress.failure != 0) | late | (done & ~(tbt_s <= self.tbt_s[waiting]))
        judged = missed | done
        counts = np.bincount(progress.category[judged], minlength=len(CLASSES))
        shares = np.bincount(progress.category[missed], minlength=len(CLASSES)) / np.maximum(1, counts)
        return waiting[~judged], tuple(shares.tolist())

    def _lengths(self, unfinished: Numbers) -> NDArray[np.float64]:
        """Of the unfinished requests at each pool: sum of 1 / length, and of the tokens that decode apart still owes.

        float64, shape (2, pools). A length is image tokens at encoders, then prompt tokens, then expected output.
        """
        state, pools = self.simulation.state, len(self.simulation.state.pools)
        requests, progress = state.requests[unfinished], state.progress[unfinished]
        where = self._default_pool(PREFILLING) * np.ones(len(unfinished), np.int64)
        routed = progress.instance >= 0
        where[routed] = state.engines.pool[progress.instance[routed]]
        length = requests.prompt_tokens.astype(float)
        decodes = ~np.isnan(progress.first_token_s)
        length[decodes] = requests.output_estimate_tokens[decodes]
        if state.groups[ENCODING].count > 0:
            encodes = (requests.images > 0) & np.isnan(progress.encoded_s)
            where[encodes], length[encodes] = self._default_pool(ENCODING), requests.image_tokens[encodes]
        owed = np.where(decodes, requests.output_estimate_tokens, 0.0)
        inverse = np.bincount(where, 1.0 / np.maximum(1.0, length), minlength=pools)
        return np.stack([inverse, np.bincount(where, owed, minlength=pools)])

    def _default_pool(self, group: int) -> int:
        """The first pool of a group."""
        state = self.simulation.state
        return int(state.engines.pool[int(state.groups[group].first)])

    def _view(self, at: int, spent_s: Any, passed_s: float, here: Any, shared: dict[str, Any]) -> PoolView:
        """The view of pool `at`; `spent_s` are each instance's seconds of the interval in steps, and held."""
        state, configuration = self.simulation.state, self.simulation.configuration
        pool, stages = configuration.cluster.pools[at], int(state.pools.stages[at])
        rows = state.engines.pool == at
        seen, status = state.instances[rows], state.engines.status[rows]
        reserved = (state.engines.awaits[rows] > 0).sum()
        ready = status == READY
        busy_s, held_s = (each[rows] for each in spent_s)
        work = seen.waiting + seen.running
        groups = (ENCODING, PREFILLING, DECODING)
        parked = sum(int(state.groups[group].parked) for group in groups if self._leads(group, at))
        start_s = configuration.provisioning.start_s
        return PoolView(
            name=pool.stages,
            stages=stages,
            gpus_per_instance=pool.tensor_parallel,
            configured=pool.instances,
            most=len(seen),
            ready=int(ready.sum()),
            starting=int((status == STARTING).sum() + reserved),
            draining=int((status == DRAINING).sum()),
            idle=int((ready & (work == 0)).sum()),
            waiting=int(seen.waiting.sum()) + parked,
            running=int(seen.running.sum()),
            backlog_s=float(seen.backlog_s.sum()),
            pending_tokens=_pending(stages, seen, here[1], shared["images_in_prompt"]),
            inverse_tokens=float(here[0]),
            utilisation=float(np.clip((busy_s / passed_s)[ready].mean(), 0.0, 1.0)) if ready.any() else 0.0,
            busy=float(busy_s.sum() / held_s.sum()) if held_s.sum() > 0.0 else 0.0,
            kv_used=float(seen.kv_used_tokens[ready].sum() / max(1, seen.kv_capacity_tokens[ready].sum())),
            start_s=self.simulation.costs[at].load_s if start_s is None else start_s,
            encode_s=self._encode_s(at) if stages & ENCODE else 0.0,
            capacity_tokens_per_s=self.capacities[at],
            **shared,
        )

    def _leads(self, group: int, pool: int) -> bool:
        """Whether a pool is the first of a group."""
        return bool(self.simulation.state.groups[group].count > 0) and self._default_pool(group) == pool

    def _encode_s(self, pool: int) -> float:
        """Seconds to encode an image of a one-image request alone."""
        costs, tiles = self.simulation.state.costs[pool], self.most_tiles
        return float(costs.encode_step_s + tiles * costs.encode_s_per_tile) if tiles > 0 else 0.0


def _pending(stages: int, seen: Any, owed: float, images_in_prompt: bool) -> float:
    """Load at a pool that is not done, in the unit of PoolView.load_tokens_per_s."""
    pending = 0.0
    if stages & ENCODE or (stages & PREFILL and images_in_prompt):
        pending += float(seen.pending_image_tokens.sum())
    if stages & PREFILL:
        pending += float(seen.pending_text_tokens.sum())
    elif stages & DECODE:
        pending += owed
    return pending


def _busy_s(state: Any, now: float) -> NDArray[np.float64]:
    """Seconds in steps up to `now`, the running ones included, (m,)."""
    engines = state.engines
    running_s = np.where(np.isfinite(engines.step_end_s), np.maximum(0.0, now - engines.step_start_s), 0.0)
    total: NDArray[np.float64] = engines.busy_s + running_s
    return total


def _held_s(state: Any, now: float) -> NDArray[np.float64]:
    """Seconds that each instance has been charged for up to `now`, (m,); those lent for a role switch not."""
    engines = state.engines
    current_s = np.where(engines.status != OFF, np.maximum(0.0, now - engines.since_s), 0.0)
    total: NDArray[np.float64] = engines.held_gpu_s / state.instances.tensor_parallel + current_s
    return total


def _summed(column: Any) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ... n values, shape (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(column, dtype=np.float64)])
