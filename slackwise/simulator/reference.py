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
from slackwise.policies.features import ENCODE, INSTANCE, REQUEST
from slackwise.simulator.simulation import Simulation
from slackwise.simulator.state import records

ARRIVAL, DELIVERY, STEP_END = 0, 1, 2
"""Kinds of events, in the order in which those of one time are processed."""


@dataclass(eq=False)
class Job:
    """An encode job: some images of a request."""

    request: Request
    images: int
    ordinal: int


@dataclass(eq=False)
class Request:
    """A request on its way."""

    number: int
    seen: Any  # REQUEST record handed to policies
    hidden: Any  # PROGRESS record with the facts that policies must not see
    target: int
    images_left: int
    jobs_left: int = 0
    job_s: float = 0.0
    prefilled: int = 0
    generated: int = 0
    held: int = 0  # KV tokens
    admitted: int = -1
    instance: int = -1
    in_transit: bool = False
    delivered_s: float = math.inf
    preemptions: int = 0
    encoded_s: float = math.nan
    finish_s: float = math.nan
    token_s: list[float] = field(default_factory=list)


@dataclass
class Chunk:
    """What one request does in a step."""

    request: Request
    tokens: int
    images: int


@dataclass(eq=False)
class Instance:
    """One instance: an encoder, an LLM, or both."""

    number: int
    pool: Any  # POOL record
    costs: Any  # COSTS record
    fixed: Any  # INSTANCE record with the facts that never change
    queue: list[Any] = field(default_factory=list)  # requests, or jobs on a separate encoder
    prefilling: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)  # of the running encode step
    chunks: list[Chunk] = field(default_factory=list)  # of the running step
    decodes_now: list[Request] = field(default_factory=list)  # that get a token in the running step
    start_s: float = 0.0
    end_s: float = math.inf
    busy: tuple[float, float] = (0.0, 0.0)
    steps: int = 0
    assigned: int = 0
    admissions: int = 0
    published_kv: int = 0
    composing: bool = False
    token_budget: int = 0
    encoder_budget: int = 0

    @property
    def held(self) -> int:
        """KV tokens in use."""
        return sum(each.held for each in self.prefilling + self.decoding)


class Reference:
    """Runs the trace and configuration of `simulation` (which must not have run yet) step by step."""

    def __init__(self, simulation: Simulation) -> None:
        state = simulation.state
        self.decisions = {
            role: (policy.compiled, params) for role, (policy, params) in zip(_ROLES, simulation.decisions, strict=True)
        }
        self.draws = [float(each) for each in state.draws.value]
        self.asked = [0] * len(state.pools)
        self.draws_used = 0
        self.encode_pool, self.llm_pool = int(state.clock[0].encode_pool), int(state.clock[0].llm_pool)
        self.pools = [np.copy(state.pools)[at : at + 1].view(np.recarray)[0] for at in range(len(state.pools))]
        self.instances = [self._instance(state, number) for number in range(len(state.instances))]
        self.requests = [self._request(state, number) for number in range(len(state.requests))]
        self.preempted = False

    def _instance(self, state: Any, number: int) -> Instance:
        pool = int(state.engines[number].pool)
        fixed = np.copy(state.instances)[number : number + 1].view(np.recarray)
        costs = np.copy(state.costs)[pool : pool + 1].view(np.recarray)[0]
        return Instance(number, self.pools[pool], costs, fixed)

    def _request(self, state: Any, number: int) -> Request:
        seen = records(1, REQUEST)
        seen[0] = state.requests[number]
        hidden = np.copy(state.progress)[number : number + 1].view(np.recarray)[0]
        return Request(number, seen[0], hidden, int(hidden.target_tokens), int(seen[0].images))

    # ---- the loop

    def run(self) -> None:
        """Process all events in order of time; at one time arrivals, deliveries, then step ends by instance."""
        arrivals = list(self.requests)
        self.travelling: list[Request] = []
        while True:
            coming = [(float(arrivals[0].seen.arrival_s), ARRIVAL, 0)] if arrivals else []
            coming += [(each.delivered_s, DELIVERY, each.number) for each in self.travelling]
            coming += [(each.end_s, STEP_END, each.number) for each in self.instances if each.end_s < math.inf]
            if not coming:
                return
            now, kind, number = min(coming)
            if kind == ARRIVAL:
                self.arrive(arrivals.pop(0), now)
            elif kind == DELIVERY:
                self.travelling.remove(self.requests[number])
                self.deliver(self.requests[number], now)
            else:
                self.end_step(self.instances[number], now)

    def arrive(self, request: Request, now: float) -> None:
        """Images go to separate encoders if there are any; otherwise straight to the LLM."""
        if self.encode_pool < 0 or request.seen.images == 0:
            self.assign(request, now)
            self.deliver(request, now)
            return
        jobs = self.cut(request, now)
        for job in jobs:
            encoder = self.choose(self.encode_pool, "encode_routing", request, job, now)
            encoder.queue.append(job)
            if encoder.end_s == math.inf:
                self.begin_encode(encoder, now)

    def end_step(self, instance: Instance, now: float) -> None:
        """Book the step and begin the next."""
        if instance.pool.stages == ENCODE:
            self.end_encode(instance, now)
            self.begin_encode(instance, now)
        else:
            self.end_llm(instance, now)
            self.begin_llm(instance, now)

    # ---- what policies see

    def ask(self, role: str, request: Request, instance: Instance, now: float, job: Job | None = None) -> float:
        """Ask a policy about an instance, with records computed from scratch."""
        return self.answer(role, request, self.view(instance), now, job)

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
        seen.prompt_tokens_left = left
        seen.encode_estimate_s = request.images_left * hidden.image_s
        if self.encode_pool >= 0 and seen.images > 0:
            lanes = int(self.pools[self.encode_pool].members)
            rounds = math.ceil(request.jobs_left / lanes)
            cut = request.job_s > 0.0  # before, all images are taken to be encoded one after another
            seen.encode_estimate_s = rounds * request.job_s if cut else seen.images * hidden.image_s
        seen.transfer_estimate_s = hidden.transfer_s if request.instance < 0 or request.in_transit else 0.0
        whole = request.prefilled == 0 and request.preemptions == 0
        seen.prefill_estimate_s = hidden.prefill_s if whole else hidden.prefill_s * left / seen.prompt_tokens
        seen.job_images = job.images if job else 0
        seen.job_image_tokens = seen.job_images * seen.tokens_per_image
        seen.job_tiles = seen.job_images * seen.tiles_per_image

    def view(self, instance: Instance) -> Any:
        """The INSTANCE record of an instance as it stands."""
        seen = instance.fixed.copy()[0]
        self.view_encoder(instance, seen) if instance.pool.stages == ENCODE else self.view_llm(instance, seen)
        tiles, tokens = seen.pending_tiles, seen.pending_prompt_tokens
        if not instance.composing:
            tiles, tokens = tiles - seen.in_service_tiles, tokens - seen.in_service_prompt_tokens
        seen.backlog_s = tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token
        seen.busy_since_s, seen.busy_until_s = instance.busy
        seen.steps, seen.assigned, seen.kv_used_tokens = instance.steps, instance.assigned, instance.published_kv
        if instance.composing:
            seen.token_budget_left, seen.encoder_budget_left = instance.token_budget, instance.encoder_budget
        return seen

    def view_encoder(self, instance: Instance, seen: Any) -> None:
        """Jobs waiting and running."""
        for job in instance.queue + instance.jobs:
            seen.pending_images += job.images
            seen.pending_image_tokens += job.images * job.request.seen.tokens_per_image
            seen.pending_tiles += job.images * job.request.seen.tiles_per_image
        for job in instance.jobs:
            seen.in_service_image_tokens += job.images * job.request.seen.tokens_per_image
            seen.in_service_tiles += job.images * job.request.seen.tiles_per_image
        seen.waiting, seen.running = len(instance.queue), len(instance.jobs)

    def view_llm(self, instance: Instance, seen: Any) -> None:
        """Requests waiting, travelling, prefilling and decoding."""
        travelling = [each for each in self.travelling if each.instance == instance.number]
        waiting = instance.queue + travelling
        for each in waiting + instance.prefilling:
            seen.pending_text_tokens += each.seen.text_tokens
            seen.pending_image_tokens += each.seen.image_tokens
            seen.pending_prompt_tokens += each.target - each.prefilled
            if instance.pool.stages & ENCODE:
                seen.pending_images += each.images_left
                seen.pending_tiles += each.images_left * each.seen.tiles_per_image
        for chunk in instance.chunks:
            seen.in_service_prompt_tokens += chunk.tokens
            seen.in_service_image_tokens += chunk.images * chunk.request.seen.tokens_per_image
            seen.in_service_tiles += chunk.images * chunk.request.seen.tiles_per_image
        seen.waiting, seen.running = len(waiting), len(instance.prefilling) + len(instance.decoding)

    # ---- routing and encoders

    def choose(self, pool: int, role: str, request: Request, job: Job | None, now: float) -> Instance:
        """The instance of the lowest cost."""
        request.seen.sequence, request.seen.draw = self.asked[pool], self.draws[self.draws_used]
        self.asked[pool] += 1
        self.draws_used += 1
        first = int(self.pools[pool].first)
        members = self.instances[first : first + int(self.pools[pool].members)]
        best = min(members, key=lambda each: (self.ask(role, request, each, now, job), each.number))
        best.assigned += 1
        return best

    def cut(self, request: Request, now: float) -> list[Job]:
        """Cut the images into jobs as the chunking policy says."""
        encoder, left = self.instances[int(self.pools[self.encode_pool].first)], int(request.seen.images)
        jobs: list[Job] = []
        while left > 0:
            request.images_left = left
            images = min(left, max(1, int(self.ask("chunking", request, encoder, now))))
            jobs.append(Job(request, images, len(jobs)))
            left -= images
        request.images_left = int(request.seen.images)
        request.jobs_left = len(jobs)
        request.job_s = float(encoder.costs.encode_step_s + jobs[0].images * request.hidden.image_s)
        return jobs

    def ordered(self, instance: Instance, waiting: list[Any], now: float, role: str) -> list[Any]:
        """Requests or jobs in the batching policy's order, ties by arrival, then job."""
        at, view = 0.0 if instance.pool.fixed_order else now, self.view(instance)

        def key(each: Any) -> tuple[float, int, int]:
            if isinstance(each, Job):
                return self.answer(role, each.request, view, at, each), each.request.number, each.ordinal
            return self.answer(role, each, view, at, None), each.number, 0

        return sorted(waiting, key=key)

    def begin_encode(self, encoder: Instance, now: float) -> None:
        """Take jobs in order while they fit."""
        encoder.end_s = math.inf
        taken: list[Job] = []
        tokens = 0
        encoder.jobs = []
        for job in self.ordered(encoder, encoder.queue, now, "encode_batching"):
            need = job.images * int(job.request.seen.tokens_per_image)
            full = len(taken) >= encoder.pool.max_step_jobs or tokens + need > encoder.pool.encoder_budget_tokens
            if taken and full:
                break
            taken.append(job)
            tokens += need
        if not taken:
            return
        encoder.queue = [job for job in encoder.queue if job not in taken]
        encoder.jobs = taken
        tiles = sum(job.images * int(job.request.seen.tiles_per_image) for job in taken)
        encoder.start_s = now
        encoder.end_s = now + self.seconds(encoder, 0, 0, 0.0, tiles, False)
        encoder.busy = (now, encoder.end_s)

    def end_encode(self, encoder: Instance, now: float) -> None:
        """Finished requests are routed to the LLM and their embeddings sent."""
        done, encoder.jobs, encoder.end_s = encoder.jobs, [], math.inf
        encoder.steps += 1
        for job in done:
            request = job.request
            request.images_left -= job.images
            request.jobs_left -= 1
            if request.jobs_left == 0:
                request.encoded_s = now
                self.assign(request, now)
                request.in_transit = True
                request.delivered_s = now + float(request.hidden.transfer_s)
                self.travelling.append(request)

    def seconds(
        self, instance: Instance, tokens: int, kv_tokens: int, pairs: float, tiles: int, text_only: bool
    ) -> float:
        """Duration of a step."""
        return float(step_seconds(instance.costs, instance.pool.linear_s, tokens, kv_tokens, pairs, tiles, text_only))

    # ---- the LLM

    def assign(self, request: Request, now: float) -> None:
        """Route a request to an instance of the LLM."""
        request.instance = self.choose(self.llm_pool, "routing", request, None, now).number

    def deliver(self, request: Request, now: float) -> None:
        """Queue a request; an idle instance begins at once."""
        instance = self.instances[request.instance]
        request.in_transit = False
        instance.queue.append(request)
        if instance.end_s == math.inf:
            self.begin_llm(instance, now)

    def begin_llm(self, instance: Instance, now: float) -> None:
        """Compose the next step."""
        instance.composing, self.preempted = True, False
        instance.chunks, instance.decodes_now = [], []
        if instance.pool.prefill_first:
            self.budgets(instance, 0)
            self.admit_prompts(instance, now)
        if not instance.chunks:
            while instance.decoding and self.free(instance) < 0:
                self.preempt(instance, now)
        if not instance.pool.prefill_first:
            self.compose(instance, now)
            while not instance.chunks and not instance.decoding and len(instance.prefilling) > 1:
                self.preempt(instance, now)
                self.compose(instance, now)
        if not (instance.pool.prefill_first and instance.chunks):
            instance.decodes_now = list(instance.decoding)
        instance.composing = False
        self.time_step(instance, now)

    def time_step(self, instance: Instance, now: float) -> None:
        """Set the end of the composed step."""
        instance.end_s, decodes, chunks = math.inf, instance.decodes_now, instance.chunks
        if not decodes and not chunks:
            return
        fresh = [chunk.request for chunk in chunks if chunk.tokens > 0 and chunk.request.prefilled == 0]
        tokens = sum(chunk.tokens for chunk in chunks) + sum(int(each.hidden.extra_tokens) for each in fresh)
        pairs = sum(chunk.tokens * (chunk.request.prefilled + 0.5 * chunk.tokens) for chunk in chunks)
        tiles = sum(chunk.images * int(chunk.request.seen.tiles_per_image) for chunk in chunks)
        inside = decodes + [chunk.request for chunk in chunks]
        text_only = not any(each.seen.images > 0 for each in inside)
        kv_tokens = sum(each.held for each in decodes)
        seconds = self.seconds(instance, tokens + len(decodes), kv_tokens, pairs, tiles, text_only)
        instance.start_s, instance.end_s = now, now + seconds
        if chunks:
            instance.busy = (now, now + seconds)
            for chunk in chunks:
                chunk.request.held += self.first_kv(chunk.request) if chunk.tokens > 0 else 0
                chunk.request.held += chunk.tokens

    def end_llm(self, instance: Instance, now: float) -> None:
        """Every decode has a token more; chunks move on."""
        instance.steps += 1
        changed = bool(instance.chunks)
        for each in instance.decodes_now:
            each.held += 1
            each.token_s.append(now)
            each.generated += 1
        for chunk in instance.chunks:
            self.end_chunk(instance, chunk, now)
        instance.chunks, instance.decodes_now = [], []
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
        if chunk.tokens > 0 and request.prefilled == request.target:
            instance.prefilling.remove(request)
            instance.decoding.append(request)
            request.generated += 1
            request.token_s.append(now)

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
        self.budgets(instance, len(instance.decoding))
        if len(instance.prefilling) > 1:
            instance.prefilling = self.ordered(instance, instance.prefilling, now, "batching")
        for request in instance.prefilling:
            self.take(instance, request, *self.plan(instance, request, self.free(instance), now))
        if not self.preempted or not (instance.decoding or instance.prefilling):
            self.admit_chunks(instance, now)

    def plan(self, instance: Instance, request: Request, kv_free: int, now: float) -> tuple[int, int]:
        """(prompt tokens, images) that a request may take now."""
        pool = instance.pool
        tokens = min(request.target - request.prefilled, instance.token_budget, int(pool.max_chunk_tokens))
        tokens = max(0, min(tokens, kv_free - self.first_kv(request)))
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
        images = min(needed, asked, fit)
        if images < needed:
            tokens = max(0, min(tokens, (encoded + images) * per_image - request.prefilled))
        return int(tokens), int(images)

    def take(self, instance: Instance, request: Request, tokens: int, images: int) -> None:
        """Add a chunk to the step."""
        if tokens > 0 or images > 0:
            instance.chunks.append(Chunk(request, tokens, images))
            instance.token_budget -= tokens
            instance.encoder_budget -= images * int(request.seen.tokens_per_image)

    def seat(self, instance: Instance) -> bool:
        """Whether another sequence may run."""
        return len(instance.decoding) + len(instance.prefilling) < instance.pool.max_sequences

    def admit(self, instance: Instance, request: Request) -> None:
        """From the queue to the unfinished prefills."""
        instance.queue.remove(request)
        instance.prefilling.append(request)
        request.admitted = instance.admissions
        instance.admissions += 1

    def admit_chunks(self, instance: Instance, now: float) -> None:
        """Waiting requests in order while their first chunk fits; the first that does not ends it."""
        if not self.seat(instance):
            return
        for request in self.ordered(instance, instance.queue, now, "batching"):
            if not self.seat(instance) or instance.token_budget <= 0:
                return
            tokens, images = self.plan(instance, request, 1 << 40, now)
            spare = self.free(instance) - int(instance.pool.watermark_tokens)
            if (tokens, images) == (0, 0) or (tokens > 0 and tokens + self.first_kv(request) > spare):
                return
            self.admit(instance, request)
            self.take(instance, request, tokens, images)

    def admit_prompts(self, instance: Instance, now: float) -> None:
        """Whole prompts with all their images, in order, while they fit."""
        for request in self.ordered(instance, instance.queue, now, "batching"):
            over = instance.chunks and request.target > instance.token_budget
            spare = self.free(instance) - int(instance.pool.watermark_tokens)
            if not self.seat(instance) or over or request.target + self.first_kv(request) > spare:
                return
            self.admit(instance, request)
            self.take(instance, request, request.target, request.images_left)

    def preempt(self, instance: Instance, now: float) -> None:
        """The request admitted last starts again from the queue."""
        request = max(instance.decoding + instance.prefilling, key=lambda each: each.admitted)
        if request in instance.decoding:
            instance.decoding.remove(request)
            request.target = int(request.seen.prompt_tokens) + request.generated
        else:
            instance.prefilling.remove(request)
        request.prefilled = request.held = 0
        request.preemptions += 1
        self.preempted = True
        instance.queue.append(request)
        instance.published_kv = instance.held


_ROLES = ("encode_routing", "encode_batching", "chunking", "routing", "batching")
__all__ = ["INSTANCE", "Reference"]
