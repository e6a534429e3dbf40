"""The reference stepper under observation: it counts which corners of the rules a run has really been in."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Simulation
from slackwise.simulator.histogram import upper_edge
from slackwise.simulator.reference import Instance, Job, Kept, Order, Reference, Request
from slackwise.simulator.state import BUCKETS, CLASSES, DRAIN, DRAINING, GAVE_OUT, OFF, READY, STARTING

CORNERS = (
    "requests", "decode preempted", "preempted twice", "leap", "leap cut by a delivery",
    "delivery finds no free sequence", "chunked prompt", "chunked images", "partial image step", "several jobs",
    "several jobs in a step", "several unfinished prefills", "prompt held back by its images", "image over the budget",
    "waits for KV", "stalled decodes", "mixed step", "text-only step", "step with images", "order changes with time",
    "handed over", "KV held for another", "jobs beside decodes", "preempted away",
    "embeddings on the server", "embeddings between servers", "embeddings on several servers", "KV on the server",
    "KV between servers", "start called off", "drains with work", "released empty", "called back", "parked at encoders",
    "parked at prefill", "parked at decode", "role switch", "switch waits for several",
    "preprocessed", "overtaken in preprocessing",
    "prefill overlaps encode", "embeddings out of order", "prefill waits for an image", "routed before it is encoded",
    "parts wait for an LLM", "encoder cache full", "embeddings kept", "prefix kept", "prefix spares images",
    "oldest displaced",
)  # fmt: skip
"""What a sample of random cases has to contain before it may be said to prove anything."""


ADMISSION_CORNERS = (
    "dropped when routed", "dropped before encoding", "dropped from the head of a queue", "dropped with jobs elsewhere",
    "dropped with a job running", "demoted when routed", "demoted at the head of a queue", "demoted and served",
)  # fmt: skip
"""The same for admission."""

BEGUN = ("encode_begun_s", "queued_s", "prefill_begun_s", "decode_queued_s", "decode_begun_s")
"""Times that the reference keeps in `stamps`."""
FAULT_CORNERS = (
    "crash within a leap", "crash of a mixed step", "crash with requests queued", "crash with jobs",
    "crash with embeddings on their way", "crash with a KV cache on its way", "crash with KV held for another",
    "crash while draining", "crash while loading", "crash of a token given", "jobs cut again beside others",
    "crashed once too often", "transfer lost", "lost for good", "slow step", "slow link", "routed by an old record",
)  # fmt: skip
"""The same for faults."""

EDGE = 1e-8
"""Relative distance from the edge of a bucket within which rounding may put a gap on either side."""


class Watched(Reference):
    """Runs as the reference does, and counts in `met` what happened."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.arrived: list[Request] = []
        self.met: Counter[str] = Counter(requests=len(self.requests))

    def arrive(self, request: Request, now: float) -> None:
        self.met["preprocessed"] += now > float(request.seen.arrival_s)
        self.met["overtaken in preprocessing"] += any(each.number > request.number for each in self.arrived)
        self.arrived.append(request)
        super().arrive(request, now)

    def deliver(self, request: Request, now: float) -> None:
        instance = self.instances[request.instance]
        if instance.end_s < math.inf and instance.decodes_now and not instance.chunks and not instance.jobs:
            left = min(int(each.hidden.output_tokens) - each.generated for each in instance.decodes_now)
            free = self.seat(instance)
            self.met["leap cut by a delivery"] += free and left > 1
            self.met["delivery finds no free sequence"] += not free
        super().deliver(request, now)

    def obey(self, order: Order, now: float) -> None:
        instance = self.instances[order.instance]
        before = instance.status
        parked = [len(each) for each in self.parked]
        super().obey(order, now)
        self.met["start called off"] += order.kind == DRAIN and before == STARTING
        self.met["drains with work"] += order.kind == DRAIN and before == READY and instance.status == DRAINING
        self.met["called back"] += before == DRAINING and instance.status == READY
        for group, name in enumerate(("encoders", "prefill", "decode")):
            self.met[f"parked at {name}"] += parked[group] - len(self.parked[group])

    def retire_if_empty(self, instance: Instance, now: float) -> None:
        coming, before = list(instance.then), instance.status
        super().retire_if_empty(instance, now)
        self.met["released empty"] += before == DRAINING and instance.status == OFF
        self.met["role switch"] += bool(coming) and coming[0].status == STARTING
        self.met["switch waits for several"] += bool(coming) and coming[0].awaits > 0

    def cut(self, request: Request, now: float) -> list[Job]:
        jobs = super().cut(request, now)
        self.met["several jobs"] += len(jobs) > 1
        return jobs

    def land(self, request: Request, ordinal: int, now: float) -> None:
        missing = self.missing(request)
        super().land(request, ordinal, now)
        self.met["embeddings out of order"] += self.missing(request) == missing

    def end_found(self, request: Request, ordinal: int, now: float) -> None:
        super().end_found(request, ordinal, now)
        self.met["embeddings kept"] += 1

    def reuse_prefix(self, instance: Instance, request: Request, now: float) -> None:
        images, before = request.images_left, request.prefilled
        super().reuse_prefix(instance, request, now)
        self.met["prefix kept"] += request.prefilled > before
        self.met["prefix kept through preemption"] += request.prefilled > before and request.preemptions > 0
        self.met["prefix spares images"] += request.images_left < images

    def remember(self, instance: Instance, key: Kept, tokens: int) -> None:
        before = set(instance.cache)
        super().remember(instance, key, tokens)
        self.met["oldest displaced"] += not before <= set(instance.cache)

    def send_part(self, encoder: Instance, job: Job, now: float) -> None:
        self.met["routed before it is encoded"] += job.request.instance < 0 and job.request.jobs_left > 0
        super().send_part(encoder, job, now)
        self.met["parts wait for an LLM"] += bool(job.request.parts)

    def cache_room(self, instance: Instance, request: Request) -> int:
        room = super().cache_room(instance, request)
        self.met["encoder cache full"] += room == 0
        return room

    def take_jobs(self, encoder: Instance, now: float) -> None:
        self.met["order changes with time"] += len(encoder.job_queue) > 1 and not encoder.pool.fixed_job_order
        super().take_jobs(encoder, now)
        self.met["several jobs in a step"] += len(encoder.jobs) > 1
        self.met["jobs beside decodes"] += len(encoder.jobs) > 0 and len(encoder.decoding) > 0

    def embeddings_s(self, request: Request) -> float:
        servers = {each.server for each in request.encoders}
        near = servers == {self.instances[request.instance].server}
        self.met["embeddings on the server" if near else "embeddings between servers"] += 1
        self.met["embeddings on several servers"] += len(servers) > 1
        return super().embeddings_s(request)

    def hand_over(self, instance: Instance, request: Request, now: float) -> None:
        super().hand_over(instance, request, now)
        near = instance.server == self.instances[request.instance].server
        self.met["KV on the server" if near else "KV between servers"] += 1
        self.met["handed over"] += 1
        self.met["KV held for another"] += len(instance.leaving) > 1

    def consider(
        self, request: Request, instance: Instance, now: float, job: Job | None = None, door: bool = False
    ) -> bool:
        queued, before = request.queued_s >= 0, request.demoted
        dropped = super().consider(request, instance, now, job, door)
        where = "at the head of a queue" if queued else "when routed"
        self.met[f"demoted {where}"] += request.demoted and not before
        if dropped:
            first = not queued and not instance.prefills
            self.met["dropped from the head of a queue"] += queued
            self.met["dropped before encoding"] += first
            self.met["dropped when routed"] += not queued and not first
            self.count_jobs(request, instance)
        return dropped

    def count_jobs(self, request: Request, instance: Instance) -> None:
        """Where else a request has jobs that is dropped."""
        others = [each for each in self.instances if each is not instance]
        waiting = any(job.request is request for each in others for job in each.job_queue)
        self.met["dropped with jobs elsewhere"] += waiting
        self.met["dropped with a job running"] += any(
            job.request is request for each in self.instances for job in each.jobs
        )

    def crash(self, instance: Instance, seconds: float, now: float) -> None:
        coming = [each for each in self.requests if each.coming and each.instance == instance.number]
        leap = bool(instance.decodes_now and not instance.chunks and not instance.jobs)
        self.met["crash within a leap"] += leap
        self.met["crash of a mixed step"] += bool(instance.chunks)
        self.met["crash with requests queued"] += bool(instance.queue)
        self.met["crash with jobs"] += bool(instance.jobs or instance.job_queue)
        self.met["crash with embeddings on their way"] += any(each.in_transit for each in coming)
        self.met["crash with a KV cache on its way"] += any(each.holder is not None for each in coming)
        self.met["crash with KV held for another"] += bool(instance.leaving)
        self.met["crash while draining"] += instance.status == DRAINING
        self.met["crash while loading"] += instance.status == STARTING
        self.met["crash of a token given"] += any(each.generated > 0 for each in instance.decoding)
        super().crash(instance, seconds, now)

    def choose(self, group: int, role: str, request: Request, job: Job | None, now: float) -> Instance:
        self.met["routed by an old record"] += len(self.samples) > self.lag > 0
        return super().choose(group, role, request, job, now)

    def displace(self, request: Request, instance: Instance, now: float) -> None:
        self.met["jobs cut again beside others"] += request.uncut > 0 and request.jobs_left > 0
        super().displace(request, instance, now)
        self.met["crashed once too often"] += request.failure == GAVE_OUT

    def transmit(self, request: Request, source: Instance, seconds: float, now: float) -> float:
        arrives_s = super().transmit(request, source, seconds, now)
        self.met["transfer lost"] += now + self.timeout_s <= arrives_s < math.inf and self.loss_word > 0
        self.met["lost for good"] += arrives_s == math.inf
        self.met["slow link"] += max(source.link_factor, self.instances[request.instance].link_factor) > 1
        return arrives_s

    def admit(self, instance: Instance, request: Request) -> None:
        super().admit(instance, request)
        self.met["demoted and served"] += request.demoted

    def time_step(self, instance: Instance, now: float) -> None:
        super().time_step(instance, now)
        self.count_step(instance)
        self.met["slow step"] += instance.slow > 1 and instance.end_s < math.inf
        for chunk in instance.chunks:
            request, encoded = chunk.request, chunk.request.seen.images - chunk.request.images_left
            self.met["prefill overlaps encode"] += chunk.tokens > 0 and self.missing(request) > 0
            self.met["chunked prompt"] += 0 < chunk.tokens < request.target
            self.met["chunked images"] += 0 < chunk.images < request.seen.images
            self.met["partial image step"] += chunk.images > 0 and chunk.tokens == 0
            reach = (encoded + chunk.images) * int(request.hidden.sequence_tokens_per_image)
            held_back = chunk.images < request.images_left and request.prefilled + chunk.tokens == reach
            self.met["prompt held back by its images"] += chunk.tokens > 0 and held_back
            budget = instance.pool.encoder_budget_tokens
            self.met["image over the budget"] += chunk.images * request.seen.tokens_per_image > budget

    def count_step(self, instance: Instance) -> None:
        """Kinds of steps."""
        decodes, chunks = instance.decodes_now, instance.chunks
        inside = decodes + [chunk.request for chunk in chunks]
        images = any(each.seen.images > 0 for each in inside)
        self.met["mixed step"] += bool(decodes and chunks)
        self.met["text-only step"] += bool(inside) and not images
        self.met["step with images"] += images
        self.met["prefill waits for an image"] += any(self.awaits_images(each) for each in instance.prefilling)
        self.met["stalled decodes"] += bool(chunks and instance.decoding and not decodes)
        self.met["several unfinished prefills"] += len(instance.prefilling) > 1
        self.met["waits for KV"] += bool(instance.queue) and self.seat(instance) and instance.token_budget > 0
        self.met["order changes with time"] += len(instance.queue) > 1 and not instance.pool.fixed_order
        self.met["leap"] += bool(decodes) and not chunks

    def preempt(self, instance: Instance, now: float) -> None:
        victim = max(instance.decoding + instance.prefilling, key=lambda each: each.admitted)
        if victim in instance.decoding:
            self.met["decode preempted"] += 1
            self.met["decode preempted beside an unfinished prefill"] += bool(instance.prefilling)
            stalled = instance.pool.prefill_first and len(victim.token_s) == 1
            self.met["decode preempted before its first step"] += bool(stalled)
        else:
            self.met["prefill preempted"] += 1
        self.met["preempted twice"] += victim.preemptions > 0
        self.met["preempted away"] += not instance.prefills
        super().preempt(instance, now)


def differences(simulation: Simulation, reference: Reference) -> list[str]:
    """What differs between a finished kernel and a finished reference: times beyond 1e-9 relative, counts at all."""
    hidden, requests = simulation.state.progress, reference.requests
    first = [each.token_s[0] if each.token_s else math.nan for each in requests]
    found = [
        *_apart("first token", hidden.first_token_s, first),
        *_apart("finish", hidden.finish_s, [each.finish_s for each in requests]),
        *_apart("encoded", hidden.encoded_s, [each.encoded_s for each in requests]),
        *(line for name in BEGUN for line in _apart(name, hidden[name], [_stamp(each, name) for each in requests])),
        *_unlike("instance", hidden.instance, [each.instance for each in requests]),
        *_unlike("preemptions", hidden.preemptions, [each.preemptions for each in requests]),
        *_unlike("steps", simulation.state.instances.steps, [each.steps for each in reference.instances]),
        *_unlike("assigned", simulation.state.instances.assigned, [each.assigned for each in reference.instances]),
        *_unlike("status", simulation.state.engines.status, [each.status for each in reference.instances]),
        *_apart("GPU-seconds", simulation.state.engines.held_gpu_s, [_gpu_s(each) for each in reference.instances]),
        *_histogram(simulation, reference),
        *_unlike("tokens", simulation.state.tbt.tokens.sum(), sum(max(0, len(each.token_s) - 1) for each in requests)),
        *_unlike("failure", hidden.failure, [each.failure for each in requests]),
        *_apart("failed", hidden.failed_s, [each.failed_s for each in requests]),
        *_unlike("demoted", hidden.demoted, [each.demoted for each in requests]),
    ]
    if (np.isnan(hidden.finish_s) & (hidden.failure == 0)).any() or not simulation.done:
        found.append("not finished")
    return found


def _gpu_s(instance: Instance) -> float:
    """As the kernel writes it: what waits for a role switch is charged from time 0 until it is known until when."""
    return instance.gpu_s - sum(gpus * since_s for gpus, since_s in instance.waits_since)


def _stamp(request: Request, name: str) -> float:
    return request.stamps.get(name, math.nan)


def gaps(reference: Reference, category: int) -> NDArray[np.float64]:
    """Every time between tokens of the requests of a class, in order of size."""
    mine = [each for each in reference.requests if each.hidden.category == category]
    return np.sort(np.concatenate([np.zeros(0), *(np.diff(each.token_s) for each in mine)]))


def _histogram(simulation: Simulation, reference: Reference) -> list[str]:
    """Tokens of the TBT histogram up to each edge must be those of the reference; on the edge itself either way."""
    edges, found = np.array([upper_edge(at) for at in range(BUCKETS - 1)]), []
    for category in range(len(CLASSES)):
        every = gaps(reference, category)
        told = np.cumsum(simulation.state.tbt.tokens[category])[:-1]
        fewest, most = (np.searchsorted(every, edges * (1 + error)) for error in (-EDGE, EDGE))
        wrong = np.flatnonzero((told < fewest) | (told > most))
        found += [f"TBT of class {category} around {edges[wrong[0]]} s"] if len(wrong) else []
    return found


def _apart(name: str, kernel: Any, reference: list[float]) -> list[str]:
    same = np.isclose(kernel, reference, rtol=1e-9, atol=0.0, equal_nan=True)
    return [] if same.all() else [f"{name} of {np.flatnonzero(~same)}"]


def _unlike(name: str, kernel: Any, reference: Any) -> list[str]:
    same = np.atleast_1d(np.equal(kernel, reference))
    return [] if same.all() else [f"{name} of {np.flatnonzero(~same)}"]
