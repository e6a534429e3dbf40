"""One door to a run: load it, run until a time, look, run on, and take the result."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from slackwise.errors import InputError
from slackwise.latency.model import load_model
from slackwise.policies.declare import EVERY_S, Params, Policy
from slackwise.policies.features import INSTANCE
from slackwise.policies.knobs import Value
from slackwise.simulator.ask import deciders
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.controller import Controller, Memo, Provisioner
from slackwise.simulator.faults import Fault, fault_events, fault_orders
from slackwise.simulator.filling import fill_instances, fill_pools, too_large, without
from slackwise.simulator.fleet import drainable, draining, exchange, give, held_gpu_s, startable
from slackwise.simulator.invariants import check as check_state
from slackwise.simulator.invariants import next_event_s
from slackwise.simulator.log import EVERY_KIND
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.planting import plant
from slackwise.simulator.preprocess import image_seconds, ready_times
from slackwise.simulator.provisioning import check_exchangeable, gpu_cap, roomy
from slackwise.simulator.samples import SAMPLES, Watch
from slackwise.simulator.state import (
    CACHED,
    DRAIN,
    DRAW,
    LOG,
    RECALL,
    RESERVE,
    ROLES,
    ROOMS,
    SAMPLE,
    START,
    State,
    allocate,
    records,
)
from slackwise.simulator.tiles import cut_by_tile
from slackwise.simulator.warmup import Mark
from slackwise.simulator.workload import contents, trouble, workload
from slackwise.streams import stream
from slackwise.traces import Trace
from slackwise.traces.timestamps import NS_PER_S, parse_time_ns

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
        changing = provisioner is not None or configuration.policies.resizes
        cluster = configuration.cluster
        if changing and provisioner is None:
            check_exchangeable(cluster)
        if provisioner is not None or (changing and configuration.policies.policy("provisioning").fleet):
            cluster = roomy(configuration.provisioning, cluster)
        self.configuration = replace(configuration, cluster=cluster)
        self.objectives = objectives
        self.costs = tuple(cluster.costs(pool) for pool in cluster.pools)
        policies = configuration.policies
        self._decided: list[tuple[Policy, Params]] = []
        self.decisions = [(policies.policy(role), policies.params(role)) for role in ROLES]
        everything = workload(trace, cluster, self.costs, objectives, image_context)
        trouble(everything, configuration.faults, seed)
        self.rejected = too_large(everything, cluster, self.costs)
        if self.rejected.all():
            raise InputError("no request of the trace fits the KV cache of an instance")
        self.context_tokens = np.array(trace.context_tokens)
        self.arrival_s = np.array(everything.requests.arrival_s)
        self.images = np.array(everything.requests.images)
        self.category = np.array(everything.progress.category)
        self.output_tokens = np.array(everything.progress.output_tokens)
        self.workload = without(everything, self.rejected)
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
        who will start: fewer lots than asked for, even none, if there are not as many. Raises InputError if the pools'
        GPUs are not the same.
        """
        cluster = self.configuration.cluster
        gpus = [cluster.gpu_of(cluster.pools[at]) for at in (giver, taker)]
        if gpus[0] != gpus[1]:
            raise InputError(f"a role switch keeps its GPUs: {gpus[0]} cannot become {gpus[1]}")
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
        self.decide()

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

    def decide(self) -> None:
        """Let the state's clock know where the policies of the run are: before compiled code moves it."""
        same = len(self._decided) == len(self.decisions)
        if not same or any(was is not now for was, now in zip(self._decided, self.decisions, strict=True)):
            self._decided, self._deciders = list(self.decisions), deciders(self.decisions)
        self.state.clock["deciders_at"] = self._deciders.ctypes.data

    def _plant(self, state: State) -> None:
        plant(state, dict(zip(ROLES, self.decisions, strict=True)))
        state.point()

    def _run(self, until_s: float) -> None:
        from slackwise.simulator.kernel import DONE, FULL, run

        self.decide()
        while (status := run(self.state.clock, float(until_s))) >= FULL:
            self.state.grow(ROOMS[status - FULL])
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
        fill_pools(state, cluster, self.costs, self.decisions)
        fill_instances(state, cluster, self.costs, self.objectives)
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
