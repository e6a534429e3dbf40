"""The reference: plain Python that takes every step, keeps no running totals and leaps nowhere.

It follows the same rules as the kernel (docs/simulator.md) in the most literal way: every token is counted, every time
is added up step by step, and what a policy sees is computed from scratch at each question. Slow, and meant to be read;
tests hold the kernel equal to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slackwise.latency.costs import step_seconds
from slackwise.latency.model import load_model
from slackwise.latency.preprocess import preprocess_seconds
from slackwise.policies.features import DECODE, ENCODE, NOT_QUEUED, PREFILL, REQUEST
from slackwise.policies.hashing import random_word
from slackwise.simulator.admission import DEMOTE
from slackwise.simulator.cache import KV_BLOCK_TOKENS
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.simulation import Simulation
from slackwise.simulator.state import (
    CRASH,
    DECODING,
    DOWN,
    DRAIN,
    DRAINING,
    DROPPED,
    ENCODING,
    GAVE_OUT,
    LINK,
    LOST_FOR_GOOD,
    OFF,
    OPEN,
    PREFILLING,
    READY,
    RECALL,
    RESERVE,
    ROLES,
    SAMPLE,
    SLOW,
    START,
    STARTING,
    records,
)
from slackwise.simulator.transfer import FOUND, LOST, MOST_TRIES, PART, RELEASE, TO_QUEUE

ORDER, ARRIVAL, DELIVERY, STEP_END = 0, 1, 2, 3
"""Kinds of events, in the order in which those of one time are processed."""


Kept = tuple[int, int, int]
"""A content, the place of the first image and the images of a job of it; no images: its prompt."""


@dataclass(eq=False)
class Job:
    """An encode job: some images of a request."""

    request: Request
    images: int
    ordinal: int
    first: int = 0  # place of its first image
    landed: bool = False  # its embeddings are at the LLM instance (overlap)


@dataclass(eq=False)
class Request:
    """A request on its way."""

    number: int
    seen: Any  # REQUEST record handed to policies
    hidden: Any  # PROGRESS record with the facts that policies must not see
    target: int
    images_left: int
    transfer_estimate_s: float
    ready_s: float  # when it reaches the router
    jobs: list[Job] = field(default_factory=list)
    jobs_left: int = 0
    job_s: float = 0.0
    lanes: int = 1  # encoders that were ready when it was cut
    prefilled: int = 0
    generated: int = 0
    held: int = 0  # KV tokens
    admitted: int = -1
    instance: int = -1
    found: dict[int, tuple[Instance, Job]] = field(default_factory=dict)  # jobs whose embeddings an encoder had kept
    parts: list[tuple[Instance, Job]] = field(default_factory=list)  # done, and nobody ready to take them (overlap)
    cached: set[int] = field(default_factory=set)  # images encoded where they are prefilled, still to be used
    encoders: list[Instance] = field(default_factory=list)  # that encoded its images
    in_transit: bool = False  # its embeddings travel
    coming: bool = False  # a delivery to its instance is on its way
    holder: Instance | None = None  # that prefilled it, until its KV cache has been moved
    delivered_s: float = math.inf
    preemptions: int = 0
    queued_s: float = NOT_QUEUED
    uncut: int = 0  # images to be encoded apart and in no job
    cut_jobs: int = 0  # ever
    sends: int = 0
    crashes: int = 0
    started_over: bool = False
    demoted: bool = False  # served behind all others
    failure: int = 0
    failed_s: float = math.nan
    encoded_s: float = math.nan
    finish_s: float = math.nan
    stamps: dict[str, float] = field(default_factory=dict)  # when something first happened to it
    token_s: list[float] = field(default_factory=list)


@dataclass
class Chunk:
    """What one request does in a step."""

    request: Request
    tokens: int
    images: int


@dataclass
class Order:
    """A timed command to an instance (lifecycle.py)."""

    time_s: float
    kind: int
    instance: int
    value: float = 0.0
    other: int = -1
    count: int = 0


@dataclass(eq=False)
class Instance:
    """One instance: an encoder, an LLM, or both."""

    number: int
    pool: Any  # POOL record
    costs: Any  # COSTS record
    fixed: Any  # INSTANCE record with the facts that never change
    server: int
    cache: dict[Kept, int] = field(
        default_factory=dict
    )  # tokens of what is kept for repeats, least recently used first
    queue: list[Request] = field(default_factory=list)
    job_queue: list[Job] = field(default_factory=list)
    prefilling: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)  # of the running encode step
    chunks: list[Chunk] = field(default_factory=list)  # of the running step
    leaving: list[Request] = field(default_factory=list)  # their KV caches are being moved elsewhere
    decodes_now: list[Request] = field(default_factory=list)  # that get a token in the running step
    start_s: float = 0.0
    end_s: float = math.inf
    busy: tuple[float, float] = (0.0, 0.0)
    steps: int = 0
    assigned: int = 0
    admissions: int = 0
    published_kv: int = 0
    composing: bool = False
    running_step: bool = False
    token_budget: int = 0
    encoder_budget: int = 0
    status: int = OFF
    since_s: float = 0.0  # start of what is charged now
    ready_s: float = math.inf
    slow: float = 1.0  # factor of the steps that begin now
    link_factor: float = 1.0
    gpu_s: float = 0.0  # charged so far, current charges left out
    then: list[Instance] = field(default_factory=list)  # start on its GPUs once it is released
    awaits: int = 0  # releases that it waits for
    follower: int = -1  # next instance that starts with it
    switch_s: float = 0.0
    waits_since: list[tuple[int, float]] = field(default_factory=list)  # GPUs that came free for it, and when

    @property
    def held(self) -> int:
        """KV tokens in use."""
        return sum(each.held for each in self.prefilling + self.decoding + self.leaving)

    @property
    def stages(self) -> int:
        """Stage bits."""
        return int(self.pool.stages)

    @property
    def prefills(self) -> bool:
        return bool(self.stages & PREFILL)

    @property
    def gpus(self) -> int:
        """GPUs."""
        return int(self.fixed[0].tensor_parallel)


class Reference:
    """Runs the trace and configuration of `simulation` (which must not have run yet) step by step."""

    def __init__(self, simulation: Simulation) -> None:
        state = simulation.state
        self.decisions = {
            role: (policy.compiled, params) for role, (policy, params) in zip(ROLES, simulation.decisions, strict=True)
        }
        self.draws = [float(each) for each in state.draws.value]
        self.draws_used = 0
        self.pools = [np.copy(state.pools)[at : at + 1].view(np.recarray)[0] for at in range(len(state.pools))]
        self.instances = [self._instance(state, number) for number in range(len(state.instances))]
        self.groups = [self.instances[int(group.first) : int(group.first + group.count)] for group in state.groups]
        self.asked = [0] * len(self.groups)
        clock = state.clock[0]
        self.link = float(clock.kv_link_s), float(clock.kv_link_s_per_token)
        self.overlap_tokens = int(clock.overlap_tokens)
        self.near_link = float(clock.near_kv_link_s), float(clock.near_kv_link_s_per_token)
        self.requests = [self._request(state, number) for number in range(len(state.requests))]
        self.preempted = False
        self.preprocess(simulation.configuration.cluster, simulation.images[~simulation.rejected])
        self.arrivals = sorted(self.requests, key=lambda each: (each.ready_s, each.number))
        self.deliveries: list[tuple[float, int, int, int]] = []  # (time, request, kind, job)
        self.orders: list[Order] = []  # as given
        self.to_obey: list[int] = []  # places in it
        self.parked: list[list[Request]] = [[] for _ in self.groups]
        self.admitting = bool(clock.admitting)
        self.retries, self.tries = int(clock.retries), int(clock.tries)
        self.timeout_s, self.loss_word = float(clock.timeout_s), int(clock.loss_word)
        self.samples: list[list[Any]] = []  # records of all instances, as sampled, for routers that see them late
        self.lag = 0

    def _instance(self, state: Any, number: int) -> Instance:
        pool = int(state.engines[number].pool)
        fixed = np.copy(state.instances)[number : number + 1].view(np.recarray)
        costs = np.copy(state.costs)[pool : pool + 1].view(np.recarray)[0]
        server, status = int(state.engines.server[number]), int(state.engines.status[number])
        since_s = float(state.engines.since_s[number])
        return Instance(number, self.pools[pool], costs, fixed, server, status=status, since_s=since_s)

    def _request(self, state: Any, number: int) -> Request:
        seen = records(1, REQUEST)
        seen[0] = state.requests[number]
        hidden = np.copy(state.progress)[number : number + 1].view(np.recarray)[0]
        estimate_s = float(seen[0].transfer_estimate_s)
        images, target, arrival_s = int(seen[0].images), int(hidden.target_tokens), float(seen[0].arrival_s)
        return Request(number, seen[0], hidden, target, images, estimate_s, arrival_s)

    def preprocess(self, cluster: Cluster, counts: Any) -> None:
        """Images in order, one by one, each to the CPU worker that is free first."""
        workers = [0.0] * cluster.preprocess_workers
        for request in self.requests if workers else []:
            images = int(counts[request.number])
            for _ in range(images):
                worker = workers.index(min(workers))
                seconds = preprocess_seconds(load_model(cluster.model), *cluster.image_size, images)
                workers[worker] = max(workers[worker], float(request.seen.arrival_s)) + seconds
                request.ready_s = max(request.ready_s, workers[worker])

    # ---- the loop

    def run(self, given: Any = ()) -> None:
        """Process all events; `given` are ORDER records in the order in which they were given, each when it was."""
        for record in given:
            self.run_until(float(record.issued_s))
            facts = (record.time_s, record.kind, record.instance, record.value, record.other, record.count)
            self.give(Order(*facts))
        self.run_until(math.inf)

    def run_until(self, until_s: float) -> None:
        """Process events up to `until_s`; at one time orders, arrivals, deliveries, then step ends by instance."""
        while True:
            coming = [(self.orders[at].time_s, ORDER, at, 0, 0) for at in self.to_obey]
            coming += [(self.arrivals[0].ready_s, ARRIVAL, 0, 0, 0)] if self.arrivals else []
            coming += [(at, DELIVERY, number, kind, job) for at, number, kind, job in self.deliveries]
            coming += [(each.end_s, STEP_END, each.number, 0, 0) for each in self.instances if each.end_s < math.inf]
            if not coming or min(coming)[0] > until_s:
                return
            now, event, number, kind, job = min(coming)
            if event == ORDER:
                self.to_obey.remove(number)
                self.obey(self.orders[number], now)
            elif event == ARRIVAL:
                self.arrive(self.arrivals.pop(0), now)
            elif event == DELIVERY:
                self.deliveries.remove((now, number, kind, job))
                if kind == RELEASE:
                    self.release(self.requests[number], now)
                elif kind == FOUND:
                    self.end_found(self.requests[number], job, now)
                elif kind == PART:
                    self.land(self.requests[number], job, now)
                elif kind == LOST:
                    self.lose(self.requests[number], now)
                else:
                    self.deliver(self.requests[number], now)
            else:
                self.end(self.instances[number], now)
                self.begin(self.instances[number], now)

    def arrive(self, request: Request, now: float) -> None:
        """Images go to separate encoders if there are any; otherwise straight to a prefill instance."""
        if not self.groups[ENCODING] or request.seen.images == 0:
            self.enter_prefill(request, now)
            return
        request.uncut = int(request.seen.images)
        if not self.ready(ENCODING):
            self.parked[ENCODING].append(request)
        else:
            self.enter_encoders(request, now)

    def enter_prefill(self, request: Request, now: float) -> None:
        """To a prefill instance, embeddings from elsewhere after it."""
        if self.assign(request, now):
            if request.parts:
                parts, request.parts = request.parts, []
                self.send_parts(request, parts, now)
            elif request.in_transit:
                self.transmit(request, request.encoders[-1], self.embeddings_s(request), now)
            else:
                self.deliver(request, now)

    def enter_encoders(self, request: Request, now: float) -> None:
        """Its images to encoders, job by job."""
        jobs = self.cut(request, now)
        if self.admitting and self.consider(request, self.least_busy_encoder(), now, door=True):
            request.jobs = []
            request.jobs_left -= len(jobs)
            self.withdraw(request)
            return
        for job in jobs:
            encoder = self.choose(ENCODING, "encode_routing", request, job, now)
            if self.kept(encoder, request, job):
                request.found[job.ordinal] = encoder, job
                self.deliveries.append((now, request.number, FOUND, job.ordinal))
            else:
                request.queued_s = now
                encoder.job_queue.append(job)
                self.wake(encoder, now)

    # ---- what is kept for requests that come again

    @staticmethod
    def key(request: Request, job: Job | None) -> Kept:
        """What a job, or the prompt of a request, is found by."""
        return (int(request.hidden.content), job.first, job.images) if job else (int(request.hidden.content), 0, 0)

    def kept(self, instance: Instance, request: Request, job: Job | None) -> bool:
        """Whether an instance has kept what a job, or a prompt, is about."""
        return self.key(request, job) in instance.cache

    def remember(self, instance: Instance, key: Kept, tokens: int) -> None:
        """Keep something as the newest; the oldest makes room. Jobs cut again after a crash are no more to be found."""
        if key[1] < 0 or instance.status in (OFF, DOWN):
            return
        cache, capacity = instance.cache, int(instance.pool.cache_tokens)
        if key in cache:
            cache[key] = cache.pop(key)
        elif tokens <= capacity:
            while sum(cache.values()) + tokens > capacity:
                del cache[next(iter(cache))]
            cache[key] = tokens

    @staticmethod
    def prefix_tokens(request: Request) -> int:
        """Prompt tokens that need not be computed if the prompt is kept: whole blocks, the last token left out."""
        return (int(request.seen.prompt_tokens) - 1) // KV_BLOCK_TOKENS * KV_BLOCK_TOKENS

    def reuse_prefix(self, instance: Instance, request: Request, now: float) -> None:
        """Spare a request what its instance has kept of its prompt, images that lie whole within it too."""
        key, tokens = self.key(request, None), self.prefix_tokens(request)
        if not instance.prefills or key not in instance.cache or tokens == 0 or self.missing(request) > 0:
            return
        self.remember(instance, key, 0)
        request.prefilled = tokens
        if instance.stages & ENCODE and request.images_left > 0:
            images, per_image = int(request.seen.images), int(request.hidden.sequence_tokens_per_image)
            covered = min(images, tokens // per_image) if per_image > 0 else images
            spared = covered > images - request.images_left
            request.images_left = min(request.images_left, images - covered)
            if spared and request.images_left == 0:
                request.encoded_s = now

    def wake(self, instance: Instance, now: float) -> None:
        """An idle instance begins a step after the other events of this time."""
        if instance.end_s == math.inf:
            instance.end_s = now

    # ---- the fleet

    def ready(self, group: int) -> list[Instance]:
        """Instances of a group that take work."""
        return [each for each in self.groups[group] if each.status == READY]

    def give(self, order: Order) -> None:
        """Have an order carried out at its time."""
        self.to_obey.append(len(self.orders))
        self.orders.append(order)

    def obey(self, order: Order, now: float) -> None:
        """Carry out an order, and route whoever has waited for it."""
        instance = self.instances[order.instance]
        loaded = order.kind == OPEN and instance.status in (STARTING, DOWN) and instance.ready_s == now
        recalled = order.kind == RECALL and instance.status == DRAINING and not instance.then
        if order.kind == START and instance.status == OFF and not instance.awaits:
            self.start(instance, order.value, now)
        elif loaded or recalled:
            instance.status = READY
        elif order.kind == DRAIN and instance.status in (STARTING, DOWN, READY):
            instance.status = DRAINING
            reserved = order.other >= 0 and self.instances[order.other].awaits > 0
            instance.then = self.chain(order.other) if reserved else []
            if instance.end_s == math.inf:
                self.retire_if_empty(instance, now)
        elif order.kind == RESERVE and instance.status == OFF and not instance.awaits:
            instance.awaits, instance.switch_s, instance.follower = order.count, order.value, order.other
        elif order.kind in (CRASH, SLOW, LINK, SAMPLE):
            self.suffer(order, instance, now)
        self.admit_parked(now)

    def chain(self, number: int) -> list[Instance]:
        """An instance and those that start with it."""
        return [] if number < 0 else [self.instances[number], *self.chain(self.instances[number].follower)]

    def start(self, instance: Instance, seconds: float, now: float) -> None:
        """Take GPUs and load the model."""
        instance.status, instance.since_s, instance.ready_s = STARTING, now, now + seconds
        self.give(Order(now + seconds, OPEN, instance.number))

    def retire_if_empty(self, instance: Instance, now: float) -> None:
        """Release an instance if nothing waits, runs or is held on it, or is on its way to it."""
        seen = self.view(instance)
        if instance.status != DRAINING or seen.waiting + seen.running + instance.held > 0:
            return
        instance.status, instance.cache = OFF, {}
        instance.gpu_s += instance.gpus * (now - instance.since_s)
        coming, instance.then = instance.then, []
        if not coming or coming[0].awaits == 0:
            return
        head = coming[0]
        head.awaits -= 1
        head.waits_since.append((instance.gpus, now))
        if head.awaits == 0:
            head.gpu_s += sum(gpus * (now - since_s) for gpus, since_s in head.waits_since)
            head.waits_since = []
            for each in coming:
                if each.status == OFF:
                    each.awaits, each.follower = 0, -1
                    self.start(each, each.switch_s, now)

    def admit_parked(self, now: float) -> None:
        """Requests that waited until an instance of their group was ready."""
        for group, enter in (
            (ENCODING, self.enter_encoders),
            (PREFILLING, self.enter_prefill),
            (DECODING, self.send_kv),
        ):
            if self.ready(group):
                waiting, self.parked[group] = self.parked[group], []
                for request in waiting:
                    if request.failure == 0:  # not dropped meanwhile, by another of its jobs
                        enter(request, now)

    # ---- what goes wrong

    def suffer(self, order: Order, instance: Instance, now: float) -> None:
        """Crash, slow steps, a slow link, or a sample of the records that routers see."""
        if order.kind == CRASH and instance.status not in (OFF, DOWN):
            self.crash(instance, order.value, now)
        elif order.kind == SLOW:
            instance.slow = order.value
        elif order.kind == LINK:
            instance.link_factor = order.value
        elif order.kind == SAMPLE:
            self.samples.append([self.view(each) for each in self.instances])
            self.lag = order.count
            if any(math.isnan(each.finish_s) and each.failure == 0 for each in self.requests):
                order.time_s += order.value
                self.to_obey.append(self.orders.index(order))

    def crash(self, instance: Instance, seconds: float, now: float) -> None:
        """Everything on the instance is lost; whoever was on it is routed again, in order of the trace."""
        hit = self.lost_jobs(instance)
        here = instance.queue + instance.prefilling + instance.decoding
        bound = [each for each in self.requests if each.coming and each.instance == instance.number]
        bound += [each for each in self.requests if each.holder is instance]
        hit += here + bound
        self.deliveries = [each for each in self.deliveries if self.requests[each[1]] not in bound]
        for other in self.instances:
            gone = [each for each in bound if each.instance == other.number]
            if other.status == DRAINING and other is not instance and gone:
                self.wake(other, now)
        self.parked[DECODING] = [each for each in self.parked[DECODING] if each.holder is not instance]
        instance.queue, instance.prefilling, instance.decoding, instance.decodes_now = [], [], [], []
        instance.chunks, instance.leaving, instance.job_queue, instance.jobs, instance.cache = [], [], [], [], {}
        instance.end_s, instance.running_step, instance.published_kv = math.inf, False, 0
        instance.busy = instance.busy[0], min(instance.busy[1], now)
        for request in sorted(hit, key=lambda each: each.number):
            self.displace(request, instance, now)
        if instance.status == DRAINING:
            self.retire_if_empty(instance, now)
        else:
            instance.status, instance.ready_s = DOWN, now + seconds
            self.give(Order(instance.ready_s, OPEN, instance.number))

    def lost_jobs(self, instance: Instance) -> list[Request]:
        """Requests whose images are in no job any more, as all jobs of an instance are lost."""
        hit = []
        for job in instance.jobs + instance.job_queue:
            job.request.jobs_left -= 1
            if job.request.failure == 0:
                hit += [job.request] if job.request.uncut == 0 else []
                job.request.uncut += job.images
        return hit

    def displace(self, request: Request, instance: Instance, now: float) -> None:
        """Have a request routed again, or give it up."""
        request.crashes += 1
        group = self.stage_again(request, instance)
        if request.crashes <= self.retries:
            self.parked[group].append(request)
            return
        self.withdraw(request)
        if group == DECODING:
            self.release(request, now)
        request.uncut, request.failure, request.failed_s = 0, GAVE_OUT, now

    def stage_again(self, request: Request, instance: Instance) -> int:
        """The group to which a request has to be routed again, with what it has lost."""
        if request.uncut > 0:
            return ENCODING
        request.coming = False
        if request.holder not in (None, instance):
            return DECODING
        request.holder, request.started_over = None, True
        request.in_transit = bool(self.groups[ENCODING]) and request.seen.images > 0
        if instance.prefills and instance.stages & ENCODE:
            request.images_left, request.encoded_s = int(request.seen.images), math.nan
        request.cached = set()
        request.prefilled = request.held = 0
        request.target = int(request.seen.prompt_tokens) + request.generated
        return PREFILLING

    # ---- who is served at all

    def consider(
        self, request: Request, instance: Instance, now: float, job: Job | None = None, door: bool = False
    ) -> bool:
        """Ask the admission policy, before the first token only; True if the request is dropped.

        Embeddings that travel one by one (overlap) are not called back: nobody is asked about between door and last.
        """
        if not self.admitting or request.generated > 0 or (self.missing(request) > 0 and not door):
            return False
        said = self.ask("admission", request, instance, now, job)
        if said > DEMOTE:
            request.failure, request.failed_s = DROPPED, now
        request.demoted = request.demoted or 0 < said <= DEMOTE
        return request.failure == DROPPED

    def admitted(self, instance: Instance, waiting: list[Any], now: float) -> Any:
        """The first of a queue in order (which is changed) that the admission policy neither drops nor demotes."""
        while waiting:
            first = waiting[0]
            request, job = (first.request, first) if isinstance(first, Job) else (first, None)
            before = request.demoted
            if self.consider(request, instance, now, job):
                self.withdraw(request)
                waiting[:] = [
                    each for each in waiting if each is not request and getattr(each, "request", None) is not request
                ]
            elif request.demoted == before:
                return first
            else:
                waiting.sort(key=_late)
        return None

    def least_busy_encoder(self) -> Instance:
        """The encoder of the least backlog."""
        return min(self.ready(ENCODING), key=lambda each: (float(self.view(each).backlog_s), each.number))

    def withdraw(self, request: Request) -> None:
        """Out of every queue."""
        for each in self.instances:
            request.jobs_left -= sum(job.request is request for job in each.job_queue)
            each.job_queue = [job for job in each.job_queue if job.request is not request]
            each.queue = [other for other in each.queue if other is not request]

    # ---- what policies see

    def ask(self, role: str, request: Request, instance: Instance, now: float, job: Job | None = None) -> float:
        """Ask a policy about an instance, with records computed from scratch."""
        return self.answer(role, request, self.view(instance), now, job)

    def seen_by_routers(self, instance: Instance) -> Any:
        """The record of an instance computed from scratch, or as it was sampled."""
        if self.samples:
            return self.samples[max(0, len(self.samples) - 1 - self.lag)][instance.number].copy()
        return self.view(instance)

    def answer(self, role: str, request: Request, view: Any, now: float, job: Job | None) -> float:
        """Ask a policy about an instance that looks like `view`."""
        policy, params = self.decisions[role]
        self.show(request, job)
        return float(policy(request.seen, view, now, params))

    def show(self, request: Request, job: Job | None) -> None:
        """Write what moves into the request's record."""
        seen, hidden = request.seen, request.hidden
        left = request.target - request.prefilled
        seen.images_left = request.images_left
        seen.queued_s = request.queued_s
        seen.prompt_tokens_left = left
        seen.encode_estimate_s = request.images_left * hidden.image_s
        if self.groups[ENCODING] and seen.images > 0:
            rounds = math.ceil(request.jobs_left / request.lanes)
            cut = request.job_s > 0.0  # before, all images are taken to be encoded one after another
            seen.encode_estimate_s = rounds * request.job_s if cut else seen.images * hidden.image_s
        seen.transfer_estimate_s = request.transfer_estimate_s if request.instance < 0 or request.in_transit else 0.0
        whole = request.prefilled == 0 and request.preemptions == 0 and not request.started_over
        seen.prefill_estimate_s = hidden.prefill_s if whole else hidden.prefill_s * left / seen.prompt_tokens
        seen.job_images = job.images if job else 0
        seen.job_image_tokens = seen.job_images * seen.tokens_per_image
        seen.job_tiles = seen.job_images * seen.tiles_per_image

    def view(self, instance: Instance) -> Any:
        """The INSTANCE record of an instance as it stands."""
        seen = instance.fixed.copy()[0]
        seen.index, seen.pool_size = self.position(instance)
        self.view_jobs(instance, seen)
        self.view_requests(instance, seen)
        tiles, tokens = seen.pending_tiles, seen.pending_prompt_tokens
        if not instance.composing:
            tiles, tokens = tiles - seen.in_service_tiles, tokens - seen.in_service_prompt_tokens
        seen.backlog_s = tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token
        seen.busy_since_s, seen.busy_until_s = instance.busy
        seen.steps, seen.assigned, seen.kv_used_tokens = instance.steps, instance.assigned, instance.published_kv
        if instance.composing:
            seen.token_budget_left, seen.encoder_budget_left = instance.token_budget, instance.encoder_budget
        return seen

    def position(self, instance: Instance) -> tuple[int, int]:
        """Its place among the ready instances of its group, -1 if it is not one, and their number."""
        ready = next(self.ready(group) for group, members in enumerate(self.groups) if instance in members)
        return (ready.index(instance) if instance in ready else -1), len(ready)

    def view_jobs(self, instance: Instance, seen: Any) -> None:
        """Encode jobs waiting and running."""
        for job in instance.job_queue + instance.jobs:
            seen.pending_images += job.images
            seen.pending_image_tokens += job.images * job.request.seen.tokens_per_image
            seen.pending_tiles += job.images * job.request.seen.tiles_per_image
        for job in instance.jobs:
            seen.in_service_image_tokens += job.images * job.request.seen.tokens_per_image
            seen.in_service_tiles += job.images * job.request.seen.tiles_per_image
        seen.waiting += len(instance.job_queue)
        seen.running += len(instance.jobs)

    def view_requests(self, instance: Instance, seen: Any) -> None:
        """Requests waiting, travelling here, prefilling and decoding."""
        here = [each for each in self.requests if each.instance == instance.number]
        waiting = [each for each in here if each in instance.queue or each.coming]
        if instance.prefills:
            self.view_prefills(instance, seen, waiting + instance.prefilling)
        seen.waiting += len(waiting)
        seen.running += len(instance.prefilling) + len(instance.decoding)

    def view_prefills(self, instance: Instance, seen: Any, requests: list[Request]) -> None:
        """Prompts to compute, and images where the same instance encodes them."""
        for each in requests:
            seen.pending_text_tokens += each.seen.text_tokens
            seen.pending_image_tokens += each.seen.image_tokens
            seen.pending_prompt_tokens += each.target - each.prefilled
            if instance.stages & ENCODE:
                seen.pending_images += each.images_left
                seen.pending_tiles += each.images_left * each.seen.tiles_per_image
        for chunk in instance.chunks:
            seen.in_service_prompt_tokens += chunk.tokens
            seen.in_service_image_tokens += chunk.images * chunk.request.seen.tokens_per_image
            seen.in_service_tiles += chunk.images * chunk.request.seen.tiles_per_image

    # ---- routing and encoders

    def choose(self, group: int, role: str, request: Request, job: Job | None, now: float) -> Instance:
        """The ready instance of the lowest cost."""
        draw = self.draws[self.draws_used % len(self.draws)]
        request.seen.sequence, request.seen.draw = self.asked[group], draw
        request.queued_s = NOT_QUEUED
        self.asked[group] += 1
        self.draws_used += 1
        best = min(self.ready(group), key=lambda each: (self.cost(role, request, each, now, job), each.number))
        best.assigned += 1
        return best

    def cost(self, role: str, request: Request, instance: Instance, now: float, job: Job | None) -> float:
        """What a router answers about an instance, shown also what that has kept of the work."""
        view = self.seen_by_routers(instance)
        if self.kept(instance, request, job):
            view.cached_image_tokens = job.images * int(request.seen.tokens_per_image) if job else 0
            view.cached_prefix_tokens = 0 if job else self.prefix_tokens(request)
        return self.answer(role, request, view, now, job)

    def cut(self, request: Request, now: float) -> list[Job]:
        """Cut the images into jobs as the chunking policy says."""
        ready, left = self.ready(ENCODING), request.uncut
        encoder, whole = ready[0], request.images_left
        jobs: list[Job] = []
        while left > 0:
            request.images_left = left
            images = min(left, max(1, int(self.ask("chunking", request, encoder, now))))
            first = int(request.seen.images) - left if request.cut_jobs == 0 else -1
            jobs.append(Job(request, images, request.cut_jobs + len(jobs), first))
            left -= images
        request.images_left, request.uncut = whole, 0
        request.cut_jobs += len(jobs)
        request.jobs_left, request.lanes = request.jobs_left + len(jobs), len(ready)
        request.jobs = jobs
        request.job_s = float(encoder.costs.encode_step_s + jobs[0].images * request.hidden.image_s)
        return jobs

    def ordered(self, instance: Instance, waiting: list[Any], now: float, role: str) -> list[Any]:
        """Requests or jobs in the batching policy's order, ties by arrival, then job."""
        fixed = instance.pool.fixed_job_order if role == "encode_batching" else instance.pool.fixed_order
        at, view = 0.0 if fixed else now, self.view(instance)

        def key(each: Any) -> tuple[float, int, int]:
            if (each.request if isinstance(each, Job) else each).demoted:
                return _late(each)[1:]
            if isinstance(each, Job):
                return self.answer(role, each.request, view, at, each), each.request.number, each.ordinal
            return self.answer(role, each, view, at, None), each.number, 0

        return sorted(waiting, key=key)

    def take_jobs(self, encoder: Instance, now: float) -> None:
        """Jobs in order while they fit; the first always does."""
        tokens, limit = 0, int(encoder.pool.encoder_budget_tokens)
        waiting = self.ordered(encoder, encoder.job_queue, now, "encode_batching")
        while waiting and not (encoder.jobs and len(encoder.jobs) >= encoder.pool.max_step_jobs):
            job = waiting[0] if self.overlap_tokens > 0 else self.admitted(encoder, waiting, now)
            if job is None:
                return
            tokens += job.images * int(job.request.seen.tokens_per_image)
            if encoder.jobs and tokens > limit:
                return
            waiting.remove(job)
            encoder.job_queue.remove(job)
            encoder.jobs.append(job)

    def end_found(self, request: Request, ordinal: int, now: float) -> None:
        """A job is done without work."""
        encoder, job = request.found.pop(ordinal)
        self.book_jobs(encoder, [job], now)

    def end_jobs(self, encoder: Instance, now: float) -> None:
        """The jobs of a step are done."""
        done, encoder.jobs = encoder.jobs, []
        self.book_jobs(encoder, done, now)

    def book_jobs(self, encoder: Instance, done: list[Job], now: float) -> None:
        """Requests whose last image is done are routed to a prefill instance and their embeddings sent."""
        for job in done:
            self.remember(encoder, self.key(job.request, job), job.images * int(job.request.seen.tokens_per_image))
            request = job.request
            request.images_left -= job.images
            request.jobs_left -= 1
            request.encoders.append(encoder)
            done_all = request.jobs_left == request.uncut == request.failure == 0
            if done_all:
                request.encoded_s = now
            if self.overlap_tokens > 0:
                self.send_part(encoder, job, now)
            elif done_all:
                request.in_transit = True
                self.enter_prefill(request, now)

    def send_part(self, encoder: Instance, job: Job, now: float) -> None:
        """The embeddings of one job travel; the first of a request say where the others go, once somebody is ready."""
        request = job.request
        if request.instance < 0 and (request.parts or not self.assign(request, now)):
            request.parts.append((encoder, job))
        else:
            self.send_parts(request, [(encoder, job)], now)

    def send_parts(self, request: Request, parts: list[tuple[Instance, Job]], now: float) -> None:
        """Each over its own link; a request whose first embeddings travel counts as waiting where they go."""
        request.coming = request.coming or not request.in_transit
        request.in_transit = True
        for encoder, job in parts:
            near = encoder.server == self.instances[request.instance].server
            latency_s = self.near_link[0] if near else self.link[0]
            whole_s = float(request.hidden.near_transfer_s if near else request.hidden.transfer_s)
            factor = max(encoder.link_factor, self.instances[request.instance].link_factor)
            share = job.images / int(request.seen.images)
            arrives_s = now + (latency_s + (whole_s - latency_s) * share) * factor
            self.deliveries.append((arrives_s, request.number, PART, job.ordinal))

    def land(self, request: Request, ordinal: int, now: float) -> None:
        """The embeddings of one job have come: the request is queued for prefill, or goes on with it."""
        instance, missing = self.instances[request.instance], self.missing(request)
        request.jobs[ordinal].landed = True
        request.in_transit = self.missing(request) > 0
        if not request.coming and self.missing(request) < missing:
            self.wake(instance, now)
        elif request.coming and self.may_join(request, instance):
            self.deliver(request, now)

    def may_join(self, request: Request, instance: Instance) -> bool:
        """Whether there is something to prefill; engines that take whole prompts wait for all images."""
        return self.missing(request) == 0 or not (instance.pool.prefill_first or self.awaits_images(request))

    def missing(self, request: Request) -> int:
        """Images from the first one on whose embeddings are not there."""
        if self.overlap_tokens == 0 or not request.jobs:
            return 0
        gap = next((job.ordinal for job in request.jobs if not job.landed), len(request.jobs))
        return sum(job.images for job in request.jobs[gap:])

    def tokens_here(self, request: Request) -> int:
        """Prompt tokens not yet computed before the first missing image."""
        images = int(request.seen.images) - self.missing(request)
        return images * int(request.hidden.sequence_tokens_per_image) - request.prefilled

    def awaits_images(self, request: Request) -> bool:
        """Whether there is too little to prefill until more embeddings come."""
        return self.missing(request) > 0 and self.tokens_here(request) < self.overlap_tokens

    def embeddings_s(self, request: Request) -> float:
        """Seconds until the embeddings of all encoders are there, over the slowest of the links."""
        to = self.instances[request.instance]
        near = all(each.server == to.server for each in request.encoders)
        return float(request.hidden.near_transfer_s if near else request.hidden.transfer_s)

    def send(self, request: Request, kind: int, arrives_s: float) -> None:
        """Schedule a delivery."""
        request.coming = request.coming or kind in (TO_QUEUE, LOST)
        self.deliveries.append((arrives_s, request.number, kind, 0))

    def transmit(self, request: Request, source: Instance, seconds: float, now: float) -> float:
        """Send what a request needs, again after a timeout if it is lost; when it is there, infinite if never."""
        seconds *= max(source.link_factor, self.instances[request.instance].link_factor)
        lost = 0
        if self.loss_word > 0:
            request.sends += 1
            luck, first = float(request.hidden.luck), request.sends * MOST_TRIES
            words = [random_word(luck, first + at) for at in range(self.tries)]
            lost = next((at for at, word in enumerate(words) if word >= self.loss_word), self.tries)
        begun_s = now + lost * self.timeout_s
        if lost == self.tries and lost > 0:
            self.send(request, LOST, begun_s)
            return math.inf
        self.send(request, TO_QUEUE, begun_s + seconds)
        return begun_s + seconds

    def lose(self, request: Request, now: float) -> None:
        """The last transfer that it may lose is lost."""
        instance = self.instances[request.instance]
        request.coming = False
        if request.holder is not None:
            self.release(request, now)
        request.failure, request.failed_s = LOST_FOR_GOOD, now
        if instance.status == DRAINING:
            self.wake(instance, now)

    def seconds(
        self, instance: Instance, tokens: int, kv_tokens: int, pairs: float, tiles: int, text_only: bool
    ) -> float:
        """Duration of a step."""
        return float(step_seconds(instance.costs, instance.pool.linear_s, tokens, kv_tokens, pairs, tiles, text_only))

    # ---- prefill and decode

    def assign(self, request: Request, now: float) -> bool:
        """Route a request to a prefill instance; False if none is ready, so that it waits, or if it is dropped."""
        if not self.ready(PREFILLING):
            self.parked[PREFILLING].append(request)
            return False
        instance = self.choose(PREFILLING, "routing", request, None, now)
        request.instance = instance.number
        return not self.consider(request, instance, now)

    def deliver(self, request: Request, now: float) -> None:
        """Queue a request where all it needs has come."""
        instance = self.instances[request.instance]
        request.in_transit, request.coming = self.missing(request) > 0, False
        request.queued_s = now
        instance.queue.append(request)
        request.stamps.setdefault("queued_s" if instance.prefills else "decode_queued_s", now)
        self.reuse_prefix(instance, request, now)
        if self.seat(instance):
            self.wake(instance, now)

    def hand_over(self, instance: Instance, request: Request, now: float) -> None:
        """Let a prefilled request move on to a decode instance."""
        instance.prefilling.remove(request)
        instance.leaving.append(request)
        request.holder = instance
        if self.ready(DECODING):
            self.send_kv(request, now)
        else:
            self.parked[DECODING].append(request)

    def send_kv(self, request: Request, now: float) -> None:
        """Route a prefilled request to a decode instance and send its KV cache."""
        request.instance = self.choose(DECODING, "decode_routing", request, None, now).number
        instance = request.holder
        assert instance is not None
        near = instance.server == self.instances[request.instance].server
        latency_s, token_s = self.near_link if near else self.link
        seconds = latency_s + token_s * request.held / int(instance.fixed[0].tensor_parallel)
        arrives_s = self.transmit(request, instance, seconds, now)
        if arrives_s < math.inf:
            self.send(request, RELEASE, arrives_s)

    def release(self, request: Request, now: float) -> None:
        """The KV cache has been moved."""
        holder, request.holder, request.held = request.holder, None, 0
        assert holder is not None
        holder.leaving.remove(request)
        holder.published_kv = holder.held
        self.wake(holder, now)

    def begin(self, instance: Instance, now: float) -> None:
        """Compose the next step."""
        instance.composing, self.preempted = True, False
        if instance.pool.prefill_first:
            self.budgets(instance, 0)
            self.admit_prompts(instance, now)
        if not instance.chunks:
            while instance.decoding and self.free(instance) < 0:
                self.preempt(instance, now)
        if not instance.pool.prefill_first:
            self.compose(instance, now)
            while self.stuck(instance) and len(instance.prefilling) > 1:
                self.preempt(instance, now)
                self.compose(instance, now)
        if not (instance.pool.prefill_first and instance.chunks):
            instance.decodes_now = list(instance.decoding)
        instance.composing = False
        self.time_step(instance, now)

    def stuck(self, instance: Instance) -> bool:
        """Whether nothing would run, and not for want of images alone."""
        if instance.chunks or instance.jobs or instance.decoding:
            return False
        return not all(self.awaits_images(each) for each in instance.prefilling)

    @staticmethod
    def stamp_begun(instance: Instance, now: float) -> None:
        """Remember when jobs, prefills and decodes first ran."""
        for job in instance.jobs:
            job.request.stamps.setdefault("encode_begun_s", now)
        for each in instance.prefilling if instance.prefills else instance.decoding:
            each.stamps.setdefault("prefill_begun_s" if instance.prefills else "decode_begun_s", now)

    def time_step(self, instance: Instance, now: float) -> None:
        """Set the end of the composed step."""
        instance.end_s, decodes, chunks = math.inf, instance.decodes_now, instance.chunks
        self.stamp_begun(instance, now)
        if not decodes and not chunks and not instance.jobs:
            self.retire_if_empty(instance, now)
            return
        fresh = [chunk.request for chunk in chunks if chunk.tokens > 0 and chunk.request.prefilled == 0]
        tokens = sum(chunk.tokens for chunk in chunks) + sum(int(each.hidden.extra_tokens) for each in fresh)
        pairs = sum(chunk.tokens * (chunk.request.prefilled + 0.5 * chunk.tokens) for chunk in chunks)
        encoding: list[Chunk | Job] = [*chunks, *instance.jobs]
        tiles = sum(each.images * int(each.request.seen.tiles_per_image) for each in encoding)
        inside = decodes + [chunk.request for chunk in chunks]
        text_only = not any(each.seen.images > 0 for each in inside)
        kv_tokens = sum(each.held for each in decodes)
        seconds = self.seconds(instance, tokens + len(decodes), kv_tokens, pairs, tiles, text_only)
        instance.start_s, instance.end_s = now, now + seconds * instance.slow
        if chunks or instance.jobs:
            instance.busy = (now, now + seconds)
        for chunk in chunks:
            chunk.request.held += self.first_kv(chunk.request) if chunk.tokens > 0 else 0
            chunk.request.held += chunk.tokens
        instance.running_step = True

    def end(self, instance: Instance, now: float) -> None:
        """Every decode has a token more; jobs and chunks move on."""
        instance.steps += instance.running_step
        instance.running_step = False
        changed = bool(instance.chunks or instance.jobs)
        for each in instance.decodes_now:
            each.held += 1
            each.token_s.append(now)
            each.generated += 1
        chunks, instance.chunks, instance.decodes_now = instance.chunks, [], []
        self.end_jobs(instance, now)
        for chunk in chunks:
            self.end_chunk(instance, chunk, now)
        for each in [each for each in instance.decoding if each.generated >= each.hidden.output_tokens]:
            each.finish_s, each.held = now, 0
            instance.decoding.remove(each)
            changed = True
        if changed:
            instance.published_kv = instance.held

    def end_chunk(self, instance: Instance, chunk: Chunk, now: float) -> None:
        """Images are encoded and prompt tokens computed; the last of them gives a token."""
        request = chunk.request
        request.images_left -= chunk.images
        if chunk.images > 0 and request.images_left == 0:
            request.encoded_s = now
        request.prefilled += chunk.tokens
        per_image = int(request.hidden.sequence_tokens_per_image)
        if chunk.tokens > 0:  # cross-attention uses all images with the first chunk
            request.cached = {each for each in request.cached if per_image * (each + 1) > request.prefilled}
            request.cached = request.cached if per_image > 0 else set()
        if chunk.tokens == 0 or request.prefilled < request.target:
            return
        kv_tokens = int(request.seen.prompt_tokens) + int(request.hidden.image_kv_tokens)
        self.remember(instance, self.key(request, None), kv_tokens)
        request.generated += 1
        request.token_s.append(now)
        if instance.stages & DECODE == 0 and request.generated < request.hidden.output_tokens:
            self.hand_over(instance, request, now)
            return
        instance.prefilling.remove(request)
        instance.decoding.append(request)

    # ---- composing a step

    def budgets(self, instance: Instance, decodes: int) -> None:
        """Full budgets for a new step."""
        instance.token_budget = int(instance.pool.max_step_tokens) - decodes
        instance.encoder_budget = int(instance.pool.encoder_budget_tokens)

    def free(self, instance: Instance) -> int:
        """KV tokens left after this step's decodes and the chunks taken so far."""
        taken = sum(
            chunk.tokens + (self.first_kv(chunk.request) if chunk.tokens > 0 else 0) for chunk in instance.chunks
        )
        return int(instance.fixed[0].kv_capacity_tokens) - instance.held - taken - len(instance.decoding)

    @staticmethod
    def first_kv(request: Request) -> int:
        """KV tokens of images outside the sequence, stored with the first chunk."""
        return int(request.hidden.image_kv_tokens) if request.prefilled == 0 else 0

    def compose(self, instance: Instance, now: float) -> None:
        """Decodes, unfinished prefills, then waiting requests."""
        admits = not self.preempted or not (instance.decoding or instance.prefilling)
        self.budgets(instance, 0)
        if admits and not instance.prefills:
            self.admit_decodes(instance, now)
        self.budgets(instance, len(instance.decoding))
        self.take_jobs(instance, now)
        if len(instance.prefilling) > 1:
            instance.prefilling = self.ordered(instance, instance.prefilling, now, "batching")
        for request in instance.prefilling:
            self.take(instance, request, *self.plan(instance, request, self.free(instance), now))
        if admits and instance.prefills:
            self.admit_chunks(instance, now)

    def admit_decodes(self, instance: Instance, now: float) -> None:
        """Requests whose KV cache has come, in order, while it fits."""
        for request in self.ordered(instance, instance.queue, now, "batching"):
            tokens = request.target + int(request.hidden.image_kv_tokens)
            if not self.seat(instance) or tokens + 1 > self.free(instance):
                return
            self.admit(instance, request)
            instance.prefilling.remove(request)
            instance.decoding.append(request)
            request.held = tokens

    def plan(self, instance: Instance, request: Request, kv_free: int, now: float) -> tuple[int, int]:
        """(prompt tokens, images) that a request may take now."""
        pool = instance.pool
        tokens = min(request.target - request.prefilled, instance.token_budget, int(pool.max_chunk_tokens))
        tokens = max(0, min(tokens, kv_free - self.first_kv(request)))
        if self.missing(request) > 0:
            return (0 if self.awaits_images(request) else min(tokens, self.tokens_here(request))), 0
        if request.images_left == 0 or instance.token_budget <= 0:
            return tokens, 0
        per_image, encoded = int(request.hidden.sequence_tokens_per_image), request.seen.images - request.images_left
        needed = request.images_left
        if per_image > 0:
            needed = min(needed, max(0, math.ceil((request.prefilled + tokens) / per_image) - encoded))
        if needed == 0:
            return tokens, 0
        asked = max(1, int(self.ask("chunking", request, instance, now)))
        fit = max(0, instance.encoder_budget // int(request.seen.tokens_per_image))
        if not any(chunk.images for chunk in instance.chunks):
            fit = max(1, fit)
        images = min(needed, asked, fit, self.cache_room(instance, request))
        if images < needed:
            tokens = max(0, min(tokens, (encoded + images) * per_image - request.prefilled))
        return int(tokens), int(images)

    def cache_room(self, instance: Instance, request: Request) -> int:
        """Images that the encoder cache has room for; one always fits an empty cache."""
        held = sum(len(each.cached) * int(each.seen.tokens_per_image) for each in instance.prefilling)
        room = (int(instance.pool.encoder_cache_tokens) - held) // int(request.seen.tokens_per_image)
        return max(1 if held == 0 else 0, room)

    def take(self, instance: Instance, request: Request, tokens: int, images: int) -> None:
        """Add a chunk to the step."""
        if tokens > 0 or images > 0:
            instance.chunks.append(Chunk(request, tokens, images))
            encoded = int(request.seen.images) - request.images_left
            request.cached |= set(range(encoded, encoded + images))
            instance.token_budget -= tokens
            instance.encoder_budget -= images * int(request.seen.tokens_per_image)

    def seat(self, instance: Instance) -> bool:
        """Whether another sequence may run."""
        return len(instance.decoding) + len(instance.prefilling) < instance.pool.max_sequences

    @staticmethod
    def reused_kv(request: Request) -> int:
        """KV tokens of a reused prefix, stored at admission."""
        return request.prefilled + int(request.hidden.image_kv_tokens) if request.prefilled > 0 else 0

    def admit(self, instance: Instance, request: Request) -> None:
        """From the queue to the unfinished prefills."""
        instance.queue.remove(request)
        if instance.prefills:
            request.held = self.reused_kv(request)
        instance.prefilling.append(request)
        request.admitted = instance.admissions
        instance.admissions += 1

    def admit_chunks(self, instance: Instance, now: float) -> None:
        """Waiting requests in order while a chunk fits the step and the whole prompt the KV cache."""
        if not self.seat(instance):
            return
        waiting = self.ordered(instance, instance.queue, now, "batching")
        while waiting and self.seat(instance) and instance.token_budget > 0:
            request = self.admitted(instance, waiting, now)
            if request is None:
                return
            tokens, images = self.plan(instance, request, 1 << 40, now)
            spare = self.free(instance) - int(instance.pool.watermark_tokens)
            whole = request.target + int(request.hidden.image_kv_tokens)
            if (tokens, images) == (0, 0) or whole > spare:
                return
            waiting.remove(request)
            self.admit(instance, request)
            self.take(instance, request, tokens, images)

    def admit_prompts(self, instance: Instance, now: float) -> None:
        """Whole prompts with all their images, in order, while they fit."""
        waiting = self.ordered(instance, instance.queue, now, "batching")
        while waiting and self.seat(instance):
            request = self.admitted(instance, waiting, now)
            if request is None:
                return
            tokens = request.target - request.prefilled
            over = instance.chunks and tokens > instance.token_budget
            spare = self.free(instance) - int(instance.pool.watermark_tokens)
            if over or tokens + self.first_kv(request) + self.reused_kv(request) > spare:
                return
            waiting.remove(request)
            self.admit(instance, request)
            self.take(instance, request, tokens, request.images_left)

    def preempt(self, instance: Instance, now: float) -> None:
        """The request admitted last starts again from the queue."""
        request = max(instance.decoding + instance.prefilling, key=lambda each: each.admitted)
        if request in instance.decoding:
            instance.decoding.remove(request)
            request.target = int(request.seen.prompt_tokens) + request.generated
        else:
            instance.prefilling.remove(request)
        request.prefilled = request.held = 0
        request.cached = set()
        request.preemptions += 1
        self.preempted = True
        instance.published_kv = instance.held
        if instance.prefills:
            request.queued_s = now
            instance.queue.append(request)
            self.reuse_prefix(instance, request, now)
        else:
            if self.assign(request, now):
                self.send(request, TO_QUEUE, now)


def _late(each: Any) -> tuple[bool, float, int, int]:
    """Sorts the demoted behind the others, among themselves by arrival, and leaves the others as they are."""
    request, ordinal = (each.request, each.ordinal) if isinstance(each, Job) else (each, 0)
    return (True, math.inf, request.number, ordinal) if request.demoted else (False, 0.0, 0, 0)
