"""One door to a run: load it, run until a time, look, run on, and take the result."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.latency.costs import StepCosts
from slackwise.latency.images import largest_image_tokens
from slackwise.latency.model import Model, load_model
from slackwise.latency.transfer import INSIDE, LINKS
from slackwise.policies.declare import EVERY_S, Params, Policy
from slackwise.policies.features import DECODE, ENCODE, INSTANCE, PREFILL
from slackwise.policies.knobs import Value
from slackwise.simulator.cluster import STAGES, Cluster, Pool
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.controller import Controller, Memo, Provisioner
from slackwise.simulator.faults import Fault, fault_events, fault_orders
from slackwise.simulator.fleet import count_ready, drainable, draining, exchange, give, held_gpu_s, startable
from slackwise.simulator.invariants import check as check_state
from slackwise.simulator.invariants import next_event_s
from slackwise.simulator.log import EVERY_KIND
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.planting import plant
from slackwise.simulator.preprocess import image_seconds, ready_times
from slackwise.simulator.provisioning import changes, gpu_cap, roomy
from slackwise.simulator.rules import UNLIMITED, EngineRules
from slackwise.simulator.samples import SAMPLES, Watch
from slackwise.simulator.state import (
    CACHED,
    DECODING,
    DRAIN,
    DRAW,
    ENCODING,
    LOG,
    PREFILLING,
    READY,
    RECALL,
    RESERVE,
    SAMPLE,
    START,
    TABLE,
    State,
    allocate,
    records,
)
from slackwise.simulator.tiles import cut_by_tile
from slackwise.simulator.warmup import Mark
from slackwise.simulator.workload import Workload, contents, trouble, workload
from slackwise.streams import stream
from slackwise.traces import Trace
from slackwise.traces.timestamps import NS_PER_S, parse_time_ns

ROLES = ("encode_routing", "encode_batching", "chunking", "routing", "batching", "decode_routing", "admission")
"""Decisions in the order of the kernel's arguments."""

ADMIT_ALL = "admit_all"
"""The admission policy that need not be asked."""


DAY_S = 86400.0


@dataclass(frozen=True)
class Snapshot:
    """A run as it stood: the state, and what its provisioning remembered."""

    state: State
    memo: Memo | None


class Simulation:
    """A trace served by a configuration. Requests that can never fit the KV cache are rejected at the start.

    If the provisioning policy may change the fleet, it is asked once an interval while the run goes on; `provisioner`,
    any function of (pools, now, memory) that gives a Plan, takes its place.

    `run_until(t)` processes every event up to t; in between `state` may be looked at and the fleet changed: `start`,
    `drain`, `move`. With `log` the first so many events are kept (48 bytes each; events.event_log). Raises InputError
    if the trace is empty, the model does not fit its GPUs, a policy or knob is unknown, or `log` is negative.
    """

    def __init__(
        self,
        trace: Trace,
        configuration: Configuration,
        objectives: Objectives,
        seed: int = 0,
        image_context: str = "subtract",
        log: int = 0,
        provisioner: Provisioner | None = None,
    ) -> None:
        changing = provisioner is not None or changes(configuration.policies)
        cluster = configuration.cluster
        if provisioner is not None or (changing and configuration.policies.policy("provisioning").fleet):
            cluster = roomy(configuration.provisioning, cluster)
        self.configuration = replace(configuration, cluster=cluster)
        self.objectives = objectives
        self.costs = tuple(cluster.costs(pool) for pool in cluster.pools)
        policies = configuration.policies
        self.decisions = [(policies.policy(role), policies.params(role)) for role in ROLES]
        everything = workload(trace, cluster, self.costs, objectives, image_context)
        trouble(everything, configuration.faults, seed)
        self.rejected = _too_large(everything, cluster, self.costs)
        if self.rejected.all():
            raise InputError("no request of the trace fits the KV cache of an instance")
        self.context_tokens = np.array(trace.context_tokens)
        self.arrival_s = np.array(everything.requests.arrival_s)
        self.images = np.array(everything.requests.images)
        self.category = np.array(everything.progress.category)
        self.output_tokens = np.array(everything.progress.output_tokens)
        self.workload = _without(everything, self.rejected)
        if cluster.encode_unit == "tile":
            cut_by_tile(self.workload, load_model(cluster.model))
        self.source, self.seed = trace.source, seed
        self.clock_s = parse_time_ns(trace.start) / NS_PER_S % DAY_S
        self.state = self._load(seed)
        self.keep_log(log)
        self.done = False
        self.mark: Mark | None = None
        self.watched: Watch | None = None
        self.controller: Controller | None = None
        if changing:
            self.state.clock[0].gpu_cap = gpu_cap(configuration.provisioning, configuration.cluster)
            self.controller = Controller(self, *self._provisioner(provisioner))

    def watch(self, samples: int = SAMPLES) -> Watch:
        """Look at the run so many times while it runs, evenly spread over the arrivals; it stays the same."""
        self.watched = Watch(self.arrival_s, samples)
        return self.watched

    def warm_up(self, seconds: float) -> None:
        """Run the first `seconds` after the first arrival, and leave them out of the result (a running step is split).

        Raises InputError unless a request arrives afterwards.
        """
        since_s = float(self.arrival_s[0]) + seconds
        if not 0.0 <= seconds <= self.arrival_s[-1] - self.arrival_s[0]:
            last_s = self.arrival_s[-1] - self.arrival_s[0]
            raise InputError(f"a warm-up of {seconds:g} s: it must end before the last arrival, at {last_s:g} s")
        self.run_until(since_s)
        engines = self.state.engines.copy()
        running = np.isfinite(engines.step_end_s)
        engines.busy_s[running] += since_s - engines.step_start_s[running]
        self.mark = Mark(since_s, self.state.tbt.tokens.copy(), engines, held_gpu_s(self.state, since_s))

    def run_until(self, until_s: float = np.inf, check: bool = False) -> None:
        """Process every event up to and including `until_s`, in seconds of the trace; provision where it is due.

        With `check`, every invariant is looked at after every event time (slow, for debugging); the first that is
        broken raises CheckError.
        """
        controller = self.controller
        while controller is not None and controller.memo.next_s <= until_s:
            self._advance(controller.memo.next_s, check)
            if self.served:
                break
            controller.turn()
        self._advance(until_s, check)

    @property
    def served(self) -> bool:
        """Whether every request has finished or failed."""
        clock = self.state.clock[0]
        return bool(clock.finished + clock.failed == clock.request_count)

    def _advance(self, until_s: float, check: bool) -> None:
        """Run on without provisioning; look where a watch is due."""
        while self.watched is not None and (look_s := self.watched.next_s()) <= until_s and look_s < np.inf:
            self._run_to(look_s, check)
            self.watched.look(self.state)
        self._run_to(until_s, check)

    def _run_to(self, until_s: float, check: bool) -> None:
        while check and (event_s := next_event_s(self.state)) <= until_s and event_s < np.inf:
            since_s = float(self.state.clock[0].now_s)
            self._run(event_s)
            check_state(self.state, since_s)
        self._run(until_s)
        clock = self.state.clock[0]
        clock.reached_s = max(clock.reached_s, until_s if np.isfinite(until_s) else clock.now_s)

    @property
    def now_s(self) -> float:
        """Time up to which the run has come; at the start just before the first arrival."""
        return float(self.state.clock[0].reached_s)

    def order(
        self,
        kind: int,
        instance: int,
        value: float = 0.0,
        other: int = -1,
        count: int = 0,
        at_s: float | None = None,
    ) -> None:
        """Give an order (lifecycle.py) that takes effect at `at_s`, by default at once.

        Raises InputError for a time that is over.
        """
        time_s = self.now_s if at_s is None else float(at_s)
        if not time_s >= self.now_s:
            raise InputError(f"an order for {time_s:g} s comes too late: the run is at {self.now_s:g} s")
        give(self.state, self.now_s, time_s, kind, instance, value, other, count)
        self.done = False
        if at_s is None:
            self._run(self.now_s)

    def start(self, pool: int, count: int = 1, seconds: float | None = None) -> list[int]:
        """Bring `count` more instances of a pool to work; which ones, fewer if the pool's ceiling is reached.

        Whoever drains is called back first. The rest loads for `seconds`, by default what the latency model says.
        """
        recalled = draining(self.state, pool)[:count]
        for instance in recalled:
            self.order(RECALL, instance)
        fresh = startable(self.state, pool)[: count - len(recalled)]
        for instance in fresh:
            self.order(START, instance, self.costs[pool].load_s if seconds is None else seconds)
        return recalled + fresh

    def drain(self, pool: int, count: int = 1) -> list[int]:
        """Take `count` instances of a pool out of work: starts are called off first, latest first; then least work."""
        chosen = drainable(self.state, pool)[:count]
        for instance in chosen:
            self.order(DRAIN, instance)
        return chosen

    def move(self, giver: int, taker: int, seconds: float, lots: int = 1) -> tuple[list[int], list[int]]:
        """Turn ready instances of a pool into as many of another as their GPUs make without a rest (a role switch).

        They drain; when the last of a lot is empty the others start in `seconds` (EPD 2025). Returns who drains and
        who will start: fewer lots than asked for, even none, if there are not as many.
        """
        leaving: list[int] = []
        coming: list[int] = []
        for _ in range(lots):
            more = self._move_once(giver, taker, seconds)
            leaving, coming = leaving + more[0], coming + more[1]
        return leaving, coming

    def _move_once(self, giver: int, taker: int, seconds: float) -> tuple[list[int], list[int]]:
        leaving, coming = exchange(self.state, giver, taker)
        for at in reversed(range(len(coming))):
            following = coming[at + 1] if at + 1 < len(coming) else -1
            self.order(RESERVE, coming[at], seconds, following, len(leaving))
        for instance in leaving:
            self.order(DRAIN, instance, other=coming[0])
        return leaving, coming

    def turn(self, role: str, **knobs: Value) -> None:
        """Give the policy of a role other knobs from now on; those not named keep their value.

        Its queues are ranked anew from now on at every step. Raises InputError as `Policy.params`.
        """
        at = ROLES.index(role)
        policy, params = self.decisions[at]
        self.decisions[at] = policy, policy.params(**(policy.values(params) | knobs))
        if role == "batching":
            self.state.pools.fixed_order = 0
        elif role == "encode_batching":
            self.state.pools.fixed_job_order = 0
        self.replant()

    def replant(self) -> None:
        """Find instances anew under policies, knobs or instances that were changed from outside."""
        self._plant(self.state)

    def keep_log(self, limit: int) -> None:
        """Keep the next `limit` events from now on, 0 for none. Raises InputError for a negative limit."""
        if limit < 0:
            raise InputError(f"the event log cannot be limited to {limit} events")
        self.state.log = records(limit, LOG)
        self.state.clock[0].log_kinds, self.state.clock[0].logged = EVERY_KIND if limit else 0, 0
        self.state.point()

    def snapshot(self) -> Snapshot:
        """The run as it stands, what its provisioning remembers included, to come back to with `restore`."""
        return Snapshot(self.state.copy(), self.controller.memo if self.controller else None)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot; what follows is the same to the byte as it was after the snapshot."""
        self.state.become(snapshot.state)
        if self.controller is not None and snapshot.memo is not None:
            self.controller.memo = snapshot.memo
        self.done = False

    def _provisioner(self, given: Provisioner | None) -> tuple[Provisioner, float]:
        """The provisioner of the run, and the seconds between two questions to it."""
        policies, interval_s = self.configuration.policies, self.configuration.provisioning.interval_s
        policy, params = policies.policy("provisioning"), policies.params("provisioning")
        if given is not None:
            return given, EVERY_S if interval_s is None else interval_s
        asked: Provisioner = lambda pools, now, memory: policy.function(pools, now, params, memory)  # noqa: E731
        return asked, policy.interval_s(params) if interval_s is None else interval_s

    def _plant(self, state: State) -> None:
        plant(state, dict(zip(ROLES, self.decisions, strict=True)))
        state.point()

    def _run(self, until_s: float) -> None:
        from slackwise.simulator.kernel import DONE, FULL, run

        policies = [policy.compiled for policy, _ in self.decisions] + [params for _, params in self.decisions]
        while (status := run(self.state.clock, float(until_s), *policies)) == FULL:
            self.state.grow()
        self.done = status == DONE

    def _load(self, seed: int) -> State:
        cluster, requests = self.configuration.cluster, self.workload.requests
        instances, faults = sum(pool.ceiling for pool in cluster.pools), self.configuration.faults
        sequences = max(pool.rules.max_sequences for pool in cluster.pools)
        jobs = max(8192, 4 * int(requests.images.max()))
        state = allocate(requests, self.workload.progress, len(cluster.pools), instances, sequences, jobs=jobs)
        state.draws = records(2 * len(requests) + int(requests.images.sum()), DRAW)
        state.clock[0].admitting = self.configuration.policies.admission.name != ADMIT_ALL
        state.draws.value = stream(seed, "routing").random(len(state.draws))
        _fill_pools(state, cluster, self.costs, self.decisions)
        _fill_instances(state, cluster, self.costs, self.objectives)
        state.engines.since_s = self.arrival_s[0]
        state.clock[0].reached_s = np.nextafter(self.arrival_s[0], -np.inf)
        state.clock[0].gpu_cap = sum(pool.ceiling * pool.tensor_parallel for pool in cluster.pools)
        self._queue_arrivals(state)
        self._set_faults(state)
        self._keep_contents(state)
        self._plant(state)
        self.inject(fault_events(faults, instances, self.arrival_s[0], self.arrival_s[-1], seed), state)
        return state

    def inject(self, faults: Iterable[Fault], state: State | None = None) -> None:
        """Let these faults happen, none of them earlier than the run has come, besides those of the configuration.

        Of several slow spells of an instance at a time the worst counts, among those injected together. Raises
        InputError for an instance that does not exist, a time that is over, or what cannot be simulated together.
        """
        state = state or self.state
        now_s, events = float(state.clock[0].reached_s), list(faults)
        for fault in events:
            if not 0 <= fault.instance < len(state.instances):
                last = len(state.instances) - 1
                raise InputError(f"faults: there is no instance {fault.instance}: they go up to {last}")
            if fault.time_s < now_s:
                raise InputError(f"a fault at {fault.time_s:g} s comes too late: the run is at {now_s:g} s")
        crashes = any(fault.kind == "crash" for fault in events)
        if crashes:
            _refuse_overlap(state, "crashes")
        state.clock[0].crashing = max(state.clock[0].crashing, crashes)
        for time_s, kind, instance, value in fault_orders(events):
            give(state, now_s, time_s, kind, instance, value)

    def _set_faults(self, state: State) -> None:
        """What holds for the whole run: retries, losses, late records."""
        faults, clock = self.configuration.faults, state.clock[0]
        clock.retries, clock.tries, clock.timeout_s = faults.retries, faults.tries, faults.timeout_s
        clock.loss_word = round(faults.loss * 2**32)
        if math.isfinite(faults.mtbf_s):
            _refuse_overlap(state, "crashes")
        if faults.loss > 0:
            _refuse_overlap(state, "lost transfers")
        if faults.metrics_every_s > 0:
            lag = math.ceil(faults.metrics_delay_s / faults.metrics_every_s)
            state.samples = records((lag + 1, len(state.instances)), INSTANCE)
            give(state, float(clock.reached_s), self.arrival_s[0], SAMPLE, 0, faults.metrics_every_s, count=lag)

    def _keep_contents(self, state: State) -> None:
        """Tell requests of one content from others, and make room for what is kept of them."""
        cluster, kept = self.configuration.cluster, ~self.rejected
        state.progress.content = np.arange(len(state.progress))
        state.engines.oldest = state.engines.newest = -1
        capacity = state.pools.cache_tokens[state.engines.pool]
        state.clock[0].caching = int(capacity.any())
        if state.clock[0].caching:
            state.progress.content = contents(self.context_tokens[kept], state.requests, cluster.repeat_window_s)
            state.cached = records(2 * state.slots.shape[1], CACHED)
            state.cached.free, state.clock[0].free_cached = np.arange(len(state.cached)), len(state.cached)

    def _queue_arrivals(self, state: State) -> None:
        """When each request reaches the router: when it arrives, or when its images are preprocessed."""
        cluster, requests, images = self.configuration.cluster, self.workload.requests, self.images[~self.rejected]
        self.image_s = image_seconds(load_model(cluster.model), cluster.image_size, images)
        self.ready_s = np.array(requests.arrival_s)
        if cluster.preprocess_workers > 0:
            self.ready_s = ready_times(self.ready_s, images.astype(np.int64), self.image_s, cluster.preprocess_workers)
        order = np.argsort(self.ready_s, kind="stable")
        state.arrivals.request, state.arrivals.ready_s = order, self.ready_s[order]


def _refuse_overlap(state: State, what: str) -> None:
    if state.clock[0].overlap_tokens > 0:
        raise InputError(f"faults: {what} cannot be simulated together with overlap_tokens yet")


def _too_large(work: Workload, cluster: Cluster, costs: tuple[StepCosts, ...]) -> Any:
    """Requests whose prompt, images and output exceed the KV cache of some instance, bool, shape (n,)."""
    usable = [
        _kv_tokens(cluster, pool, cost) - _watermark(pool, cost)
        for pool, cost in zip(cluster.pools, costs, strict=True)
        if STAGES[pool.stages] & (PREFILL | DECODE)
    ]
    needed = work.requests.prompt_tokens.astype(np.int64) + work.progress.image_kv_tokens + work.progress.output_tokens
    return np.asarray(needed > min(usable))


def _kv_tokens(cluster: Cluster, pool: Pool, cost: StepCosts) -> int:
    """KV cache of an instance less what it sets aside for prompts that come again; InputError if nothing is left."""
    aside = cluster.prefix_cache_tokens if STAGES[pool.stages] & PREFILL else 0
    if aside >= cost.kv_capacity_tokens:
        raise InputError(
            f"prefix_cache_tokens = {aside} leaves nothing of {cost.kv_capacity_tokens} tokens of KV cache"
        )
    return cost.kv_capacity_tokens - aside


def _watermark(pool: Pool, cost: StepCosts) -> int:
    """KV tokens that admission leaves free."""
    return int(np.ceil(pool.rules.watermark * cost.kv_capacity_tokens))


def _without(work: Workload, rejected: Any) -> Workload:
    """The workload without the rejected requests; the same object if there are none."""
    if not rejected.any():
        return work
    kept = Workload(work.requests[~rejected], work.progress[~rejected])
    kept.requests.id = np.arange(len(kept.requests))
    return kept


def _table(cost: StepCosts) -> Any:
    """The table of linear-layer seconds at the kernel's length: cut, or going on with its slope."""
    own = len(cost.linear_s)
    beyond = cost.linear_s[-1] + cost.record["linear_slope_s"] * np.arange(1, max(1, TABLE - own + 1))
    return np.concatenate([cost.linear_s, beyond])[:TABLE]


def _fill_pools(
    state: State, cluster: Cluster, costs: tuple[StepCosts, ...], decisions: list[tuple[Policy, Params]]
) -> None:
    (job_batching, job_params), (batching, params) = decisions[1], decisions[4]
    state.clock[0].overlap_tokens = _overlap_tokens(cluster)
    model = load_model(cluster.model)
    for at, pool in enumerate(cluster.pools):
        rules, record, bits = pool.rules, state.pools[at], STAGES[pool.stages]
        record.stages = bits
        record.max_sequences, record.max_step_tokens = rules.max_sequences, rules.max_step_tokens
        record.encoder_budget_tokens = max(rules.encoder_budget_tokens, largest_image_tokens(model))
        record.encoder_cache_tokens = _encoder_cache_tokens(rules, model)
        record.cache_tokens = _cache_tokens(cluster, bits)
        record.max_chunk_tokens = rules.max_chunk_tokens
        record.max_step_jobs = min(rules.max_step_jobs, state.slots.shape[1])
        record.prefill_first = rules.prefill_first and bool(bits & PREFILL)
        record.fixed_order = batching.fixed_order(params) and not _overlap_moves(batching, ENCODED, cluster)
        record.fixed_job_order = _ranked_once(job_batching, job_params)
        record.fixed_job_order &= not _overlap_moves(job_batching, PREFILLED, cluster)
        record.ranks_estimates = "request.encode_estimate_s" in job_batching.inputs
        record.watermark_tokens = _watermark(pool, costs[at])
        record.linear_s = _table(costs[at])
        state.costs[at] = costs[at].record


def _encoder_cache_tokens(rules: EngineRules, model: Model) -> int:
    """Capacity of the encoder cache; cross-attention models, which need all images at once, are not held to it."""
    return UNLIMITED if model.cross_attention else max(rules.encoder_cache_tokens, largest_image_tokens(model))


def _cache_tokens(cluster: Cluster, stages: int) -> int:
    """Capacity of the cache of an instance: of prompts where it prefills, else of embeddings where it encodes."""
    if stages & PREFILL:
        return cluster.prefix_cache_tokens
    return cluster.embedding_cache_tokens if stages & ENCODE else 0


def _overlap_tokens(cluster: Cluster) -> int:
    """Smallest chunk of encode-prefill overlap; 0 where there is none: models with cross-attention need all images."""
    return 0 if load_model(cluster.model).cross_attention else cluster.overlap_tokens


ENCODED = {"request.encode_estimate_s", "request.images_left", "request.transfer_estimate_s"}
PREFILLED = {"request.prefill_estimate_s", "request.prompt_tokens_left"}
"""Features that change as a request is encoded, and as it is prefilled."""


def _overlap_moves(batching: Policy, changing: set[str], cluster: Cluster) -> bool:
    """Whether a rank hangs on what changes in the queue: overlap encodes and prefills a request at one time."""
    return _overlap_tokens(cluster) > 0 and bool(changing & set(batching.inputs))


def _ranked_once(batching: Policy, params: Params) -> bool:
    """Whether a queue of encode jobs may keep the ranks it has: `images_left` falls while a request's jobs still wait.

    The kernel itself ranks them anew only when the encode estimate has changed.
    """
    return batching.fixed_order(params) and "request.images_left" not in batching.inputs


def _fill_groups(state: State) -> None:
    """Ranges of the instances that encode apart, prefill, and decode apart."""
    kinds = state.instances.stages
    encodes, prefills, decodes = ((kinds & bit) > 0 for bit in (ENCODE, PREFILL, DECODE))
    apart = {ENCODING: encodes & ~prefills, PREFILLING: prefills, DECODING: decodes & ~prefills}
    for group, members in apart.items():
        state.groups[group].count = int(members.sum())
        state.groups[group].first = int(np.argmax(members))
    count_ready(state)


def _fill_links(state: State, cluster: Cluster) -> None:
    """Seconds to move a KV cache from prefill to decode, between servers and within one."""
    kv_bytes, clock = load_model(cluster.model).language.kv_bytes_per_token, state.clock[0]
    for prefix, link in (("", LINKS[cluster.link]), ("near_", LINKS[INSIDE])):
        clock[f"{prefix}kv_link_s"], clock[f"{prefix}kv_link_s_per_token"] = link.latency_s, kv_bytes / link.bytes_s


def _fill_instances(state: State, cluster: Cluster, costs: tuple[StepCosts, ...], objectives: Objectives) -> None:
    first = 0
    for at, pool in enumerate(cluster.pools):
        record, cost = state.pools[at], costs[at]
        rows = slice(first, first + pool.ceiling)
        state.engines.status[first : first + pool.instances] = READY
        first += pool.ceiling
        seen, engine = state.instances[rows], state.engines[rows]
        seen.stages, seen.tensor_parallel = record.stages, pool.tensor_parallel
        seen.encode_s_per_tile = cost.record["encode_s_per_tile"]
        seen.prefill_s_per_token = prefill_seconds_per_token(cost)
        seen.tightest_ttft_s = objectives.tightest_ttft_s
        seen.kv_capacity_tokens = _kv_tokens(cluster, pool, cost) if record.stages & (PREFILL | DECODE) else 0
        seen.token_budget_left, seen.encoder_budget_left = record.max_step_tokens, record.encoder_budget_tokens
        engine.pool, engine.step_end_s = at, np.inf
    _fill_groups(state)
    _fill_links(state, cluster)
    state.engines.server = cluster.placed_most


def prefill_seconds_per_token(cost: StepCosts) -> float:
    """Marginal seconds of a prompt token in a full step: the slope of the table from its middle to its end."""
    last = len(cost.linear_s) - 1
    if last < 2:
        return float(cost.record["linear_slope_s"])
    return float((cost.linear_s[last] - cost.linear_s[last // 2]) / (last - last // 2))
