"""What the plug-in does before, in and after each step of a scheduler: it stands between vLLM's state and the mind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from slackwise.adapters.vllm.counters import SOURCES, Counters
from slackwise.adapters.vllm.deadlines import objective
from slackwise.adapters.vllm.decisions import Decisions
from slackwise.adapters.vllm.settings import Settings
from slackwise.adapters.vllm.setup import Setup
from slackwise.adapters.vllm.steps import StepBook
from slackwise.latency.costs import StepCosts
from slackwise.policies.features import PENDING


class Conductor:
    """Fills the features from the scheduler's state, orders its queues, and books what came of it."""

    def __init__(
        self,
        scheduler: Any,
        settings: Settings,
        setup: Setup,
        counters: Counters,
        decisions: Decisions | None,
        origin_s: float,
    ) -> None:
        self.scheduler, self.settings, self.setup, self.mind = scheduler, settings, setup, setup.mind
        self.counters, self.decisions, self.origin_s = counters, decisions, origin_s
        self.steps = StepBook()
        self.asked_s = 0.0  # seconds spent inside vLLM's schedule(), in the chunking policy
        self.refused: tuple[str, str] | None = None  # (request, why) of the last image that did not go in
        self._encoded: dict[str, int] = {}  # images of each request that are encoded
        self._awaiting: dict[str, Any] = {}  # admitted and without a first token
        self._taking = ("", 0, 0)  # request, images it may take in this step, images taken
        self._stale = False
        self._ranked_at = -1  # state of the queue when everybody was ranked
        self._ranked: list[Any] = []
        self._ranked_rows: Any = None
        self._closed = False
        if decisions is not None:
            decisions.write("start", origin_s, policies=setup.winner.policies.to_dict(), limits=self._limits())

    def describe(self) -> str:
        """One line for the log."""
        policies, objectives = self.setup.winner.policies.to_dict(), self.setup.objectives
        told = ", ".join(
            f"{role} {policies[role]['name']} {policies[role]['knobs']}" for role in ("batching", "chunking")
        )
        return f"{told}; TTFT objectives {objectives.text_ttft_s:g} s text, {objectives.image_ttft_s:g} s image"

    def price(self, costs: StepCosts) -> None:
        """Predict by other costs than the engine's own."""
        self.mind.price(costs)

    def enter(self, request: Any, now_s: float) -> None:
        """A request has come."""
        images = [feature.mm_position.get_num_embeds() for feature in request.mm_features]
        sampling, lora = request.sampling_params, request.lora_request
        extra = getattr(sampling, "extra_args", None)
        name, of = request.request_id, self.setup.objectives
        model = getattr(lora, "lora_name", None)

        def seconds(work_s: float) -> float:
            self._said = objective(request.arrival_time, extra, request.priority, len(images), work_s, model, of)
            return self._said.seconds

        arrival_s = request.arrival_time - self.origin_s
        self.mind.book.add(name, arrival_s, images, request.num_prompt_tokens, self.mind.estimator, seconds)
        self.counters.source[SOURCES.index(self._said.source)] += 1
        self.counters.bad_deadlines += bool(self._said.complaint)
        self.counters.arrival(images, request.num_prompt_tokens)
        if found := sum(map(self._elsewhere, request.mm_features)):
            self.counters.images_found += found
            self._encoded[name] = found
            self._refresh(request)
        if self.decisions is not None:
            self._write_add(request, now_s, images)

    def order(self, now_s: float) -> None:
        """Bring the queue of waiting requests and the running ones into the policy's order."""
        now = now_s - self.origin_s
        queue, mind = self.scheduler.waiting, self.mind
        self._taking, self.refused = ("", 0, 0), None
        if queue or self.scheduler.running:
            self._show(now)
        if self.settings.correct_estimates and mind.relearn():
            self._stale = True
        if queue.fresh or (queue and (self._stale or not mind.fixed_order)):
            self._rank_waiting(queue, now)
        if self.settings.longest_wait_s is not None and queue:
            self.counters.starving += queue.move_up(now_s - self.settings.longest_wait_s)
        self._order_running(now)

    def recover(self) -> None:
        """Ranking has failed: this step goes by arrival, the next ranks everybody anew."""
        self.scheduler.waiting.by_arrival()
        self._stale = True

    def allows_image(
        self, request: Any, input_id: int, budget: int, taken: int, complain: Callable[[Exception], None]
    ) -> bool:
        """Whether the chunking policy lets the step take this image of a request, `taken` embeddings being in it.

        An embedding that only has to be loaded is nothing that it decides on.
        """
        began = time.perf_counter()
        name = request.request_id
        try:
            if self._elsewhere(request.mm_features[input_id]):
                return True
            if taken == 0 or self._taking[0] != name:
                left = len(request.mm_features) - input_id
                now = self.scheduler.clock() - self.origin_s
                self._taking = (name, self.mind.images_allowed(name, left, budget, now), 0)
        except Exception as error:
            complain(error)
            self._taking = (name, len(request.mm_features), 0)
        _, allowed, so_far = self._taking
        if so_far < allowed:
            self._taking = (name, allowed, so_far + 1)
        else:
            self.refused = (name, "chunking")
            self.counters.image_caps += 1
        self.asked_s += time.perf_counter() - began
        return so_far < allowed

    def note(self, output: Any, now_s: float) -> None:
        """Book what vLLM put into the step."""
        now, names = now_s - self.origin_s, [new.req_id for new in output.scheduled_new_reqs]
        names += output.scheduled_cached_reqs.resumed_req_ids
        for name in output.finished_req_ids:
            self._forget(name, now)
        for name in output.preempted_req_ids or ():
            self._preempted(name, now)
        for name in names:
            self._admitted(name, now)
        for name, inputs in output.scheduled_encoder_inputs.items():
            self._encoded[name] = self._encoded.get(name, 0) + len(inputs)
            self.counters.images_encoded += len(inputs)
        self.steps.begin(output, self.scheduler.requests, self.mind.book, now_s)
        self.counters.waiting = len(self.scheduler.waiting)
        if self.decisions is not None and self.scheduler.waiting:
            self._write_hold(output, now)

    def finished(self, output: Any, now_s: float) -> None:
        """Book a step whose tokens have come."""
        now = now_s - self.origin_s
        work, seconds = self.steps.end(output, now_s)
        if output.total_num_scheduled_tokens:
            self.mind.instance.steps += 1
        correction = self.mind.estimator.correction
        if work is not None and self.settings.correct_estimates:
            correction.learn(self.mind.estimator.costs, work, seconds)
            self.counters.prefill_correction, self.counters.encode_correction = correction.prefill, correction.encode
        for name in [name for name, request in self._awaiting.items() if request.num_output_tokens > 0]:
            self._first_token(name, now)
        if self.counters.due(time.monotonic(), idle=not (self.scheduler.running or self.scheduler.waiting)):
            self._show_pending()
            self.counters.pending = [float(self.mind.instance[name]) for name in PENDING]
            self.counters.publish()

    def close(self) -> None:
        """Write the rest of the decisions, remove the counters."""
        if not self._closed:
            self._closed = True
            self.counters.close()
            if self.decisions is not None:
                self.decisions.close()

    def _rank_waiting(self, queue: Any, now: float) -> None:
        """Rank who came since the last step, or everybody where the order changes with time."""
        fresh = list(queue.fresh.values())
        for request in fresh:
            self._enter_unknown(request)
            if request.num_preemptions > 0:
                self._refresh(request)
        if self._stale:
            for request in queue:
                self._refresh(request)
        elif self.mind.fixed_order:
            queue.place(fresh, self.mind.ranks([request.request_id for request in fresh], now).tolist())
            return
        self._rank_everybody(queue, now)
        self._stale = False

    def _rank_everybody(self, queue: Any, now: float) -> None:
        """Rank all who wait; where nobody came or left and the order stays, that is all."""
        if self._ranked_at != queue.changes:
            self._ranked = list(queue)
            self._ranked_rows = self.mind.rows([request.request_id for request in self._ranked])
        ranks = self.mind.rank(self._ranked_rows, now)
        if self._ranked_at == queue.changes and bool(np.all(ranks[1:] > ranks[:-1])):
            return
        queue.place_all(self._ranked, ranks.tolist())
        self._ranked = list(queue)
        self._ranked_rows = self.mind.rows([request.request_id for request in self._ranked])
        self._ranked_at = queue.changes

    def _order_running(self, now: float) -> None:
        """Decodes first, in the order of their admission, then unfinished prefills by rank."""
        running = self.scheduler.running
        prefills = [request for request in running if request.is_prefill_chunk]
        if not prefills or len(running) == 1:
            return
        if len(prefills) > 1:
            for request in prefills:
                self._enter_unknown(request)
                self._refresh(request)
            ranks = self.mind.ranks([request.request_id for request in prefills], now)
            book = self.mind.book
            keys = [(rank, book.row_order(request.request_id)) for rank, request in zip(ranks, prefills, strict=True)]
            prefills = [prefills[at] for at in sorted(range(len(prefills)), key=keys.__getitem__)]
        running[:] = [request for request in running if not request.is_prefill_chunk] + prefills

    def _elsewhere(self, feature: Any) -> bool:
        """Whether an encoder instance has written the embedding of this image, and this engine reads such."""
        connector = getattr(self.scheduler, "ec_connector", None)
        return connector is not None and connector.is_consumer and bool(connector.has_cache_item(feature.identifier))

    def _enter_unknown(self, request: Any) -> None:
        """A request whose entry failed when it came."""
        if request.request_id not in self.mind.book:
            self.enter(request, self.scheduler.clock())

    def _refresh(self, request: Any) -> None:
        name = request.request_id
        left = len(request.mm_features) - self._encoded.get(name, 0)
        self.mind.refresh(name, max(0, left), max(0, request.num_tokens - request.num_computed_tokens))

    def _show(self, now: float) -> None:
        """Fill the instance's features; those that cost a sum only if a policy reads them."""
        scheduler, seen, mind = self.scheduler, self.mind.instance, self.mind
        seen.waiting, seen.running = len(scheduler.waiting), len(scheduler.running)
        seen.token_budget_left = scheduler.max_num_scheduled_tokens
        seen.encoder_budget_left = scheduler.max_num_encoder_input_tokens
        if mind.reads("kv_used_tokens", "kv_capacity_tokens"):
            capacity = scheduler.kv_cache_config.num_blocks * scheduler.block_size
            seen.kv_capacity_tokens = capacity
            seen.kv_used_tokens = int(scheduler.kv_cache_manager.usage * capacity)
        if mind.reads("assigned"):
            seen.assigned = sum(self.counters.source)
        if mind.reads(*PENDING):
            self._show_pending()

    def _show_pending(self) -> None:
        scheduler, seen, book = self.scheduler, self.mind.instance, self.mind.book
        unfinished = [request for request in scheduler.running if request.is_prefill_chunk]
        names = [request.request_id for request in (*scheduler.waiting, *unfinished)]
        rows = book.rows[[book.row(name) for name in names if name in book]]
        seen.pending_image_tokens, seen.pending_text_tokens = rows.image_tokens.sum(), rows.text_tokens.sum()
        seen.pending_prompt_tokens, seen.pending_images = rows.prompt_tokens_left.sum(), rows.images_left.sum()
        seen.pending_tiles = (rows.images_left * rows.tiles_per_image).sum()
        encode_s = seen.pending_tiles * seen.encode_s_per_tile
        seen.backlog_s = encode_s + seen.pending_prompt_tokens * seen.prefill_s_per_token

    def _admitted(self, name: str, now: float) -> None:
        request = self.scheduler.requests.get(name)
        if request is None or name not in self.mind.book:
            return
        entry = self.mind.book.rows[self.mind.book.row(name)]
        slack_s = float(entry.deadline_s - now - entry.encode_estimate_s - entry.prefill_estimate_s)
        passed = bool(self.scheduler.waiting.oldest_arrival() < request.arrival_time)
        self.counters.admission(len(request.mm_features) > 0, slack_s, passed)
        if request.num_output_tokens == 0:
            self._awaiting[name] = request
        if self.decisions is not None:
            self.decisions.write("admit", now, step=self.counters.steps, id=name, slack_s=slack_s, passed=passed)

    def _preempted(self, name: str, now: float) -> None:
        self.counters.preempted += 1
        if self.decisions is not None:
            self.decisions.write("preempt", now, id=name)

    def _first_token(self, name: str, now: float) -> None:
        request = self._awaiting.pop(name)
        met = bool(now <= self.mind.book.rows[self.mind.book.row(name)].deadline_s)
        self.counters.first_token(len(request.mm_features) > 0, met)
        if self.decisions is not None:
            self.decisions.write("first", now, id=name, met=met)

    def _forget(self, name: str, now: float) -> None:
        self.mind.book.forget(name)
        self._awaiting.pop(name, None)
        self._encoded.pop(name, None)
        self.scheduler.waiting.forget(name)
        if self.decisions is not None:
            self.decisions.write("end", now, id=name)

    def _limits(self) -> dict[str, int]:
        scheduler = self.scheduler
        return {
            "sequences": scheduler.max_num_running_reqs,
            "tokens": scheduler.max_num_scheduled_tokens,
            "encoder_tokens": scheduler.max_num_encoder_input_tokens,
        }

    def _write_add(self, request: Any, now_s: float, images: list[int]) -> None:
        entry = self.mind.book.rows[self.mind.book.row(request.request_id)]
        assert self.decisions is not None
        self.decisions.write(
            "add",
            now_s - self.origin_s,
            id=request.request_id,
            arrival=round(request.arrival_time - self.origin_s, 6),
            objective_s=self._said.seconds,
            source=self._said.source,
            complaint=self._said.complaint,
            images=len(images),
            prompt_tokens=request.num_prompt_tokens,
            encode_s=float(entry.encode_estimate_s),
            prefill_s=float(entry.prefill_estimate_s),
        )

    def _write_hold(self, output: Any, now: float) -> None:
        assert self.decisions is not None
        queue = self.scheduler.waiting
        if queue.fresh:
            return
        head = queue.peek_request().request_id
        why = self._why(output, head)
        self.decisions.hold(now, self.counters.steps, head, queue.rank_of(head), len(queue), why)

    def _why(self, output: Any, head: str) -> str:
        scheduler = self.scheduler
        if output.preempted_req_ids:
            return "preemption"
        if len(scheduler.running) >= scheduler.max_num_running_reqs:
            return "sequences"
        if output.total_num_scheduled_tokens >= scheduler.max_num_scheduled_tokens:
            return "tokens"
        if self.refused is not None and self.refused[0] == head:
            return self.refused[1]
        return "memory" if output.total_num_scheduled_tokens else "paused"
