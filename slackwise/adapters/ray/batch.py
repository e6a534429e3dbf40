"""Continuous batching in an emulated instance: what each step takes and what came of it.

A step takes one token of every running decode, then images and prompt chunks in the batching policy's order as far as
the chunking policy, the engine's limits and the KV cache allow; the rules are those of the simulator. While an instance
only decodes, any number of steps is one move of known length. Times are seconds of the modelled instance.
"""

from __future__ import annotations

import math

from slackwise.adapters.ray.sequences import Sequence, Step
from slackwise.adapters.vllm.mind import Mind
from slackwise.errors import InputError
from slackwise.latency.costs import StepCosts
from slackwise.latency.rules import EngineRules
from slackwise.policies.features import DECODE, PREFILL

UNBOUNDED = 1 << 30


class Batch:
    """The sequences of one instance. `mind` asks the policies; its `instance` holds the features that they see.

    `encoder_tokens` may be encoded in a step, and `encoder_cache` kept until prefill has used them.
    """

    def __init__(
        self, mind: Mind, rules: EngineRules, costs: StepCosts, encoder_tokens: int, encoder_cache: int
    ) -> None:
        self.mind, self.rules, self.costs, self.seen = mind, rules, costs, mind.instance
        self.encoder_tokens, self.encoder_cache = encoder_tokens, encoder_cache
        self.stages = int(self.seen.stages)
        self.prefills_first = rules.prefill_first and bool(self.stages & PREFILL)
        self.waiting: list[Sequence] = []
        self.begun: list[Sequence] = []  # encode jobs and prefills
        self.decodes: list[Sequence] = []
        self.seen.kv_capacity_tokens = costs.kv_capacity_tokens
        self._watermark = math.ceil(rules.watermark * costs.kv_capacity_tokens)
        self._admissions = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.begun or self.decodes)

    def add(self, each: Sequence) -> None:
        """A sequence has come. Raises InputError if the KV cache could never hold it."""
        if each.prompt and each.whole_kv + each.output > self.costs.kv_capacity_tokens - self._watermark:
            raise InputError(f"{each.prompt} prompt and {each.output} output tokens are more than the KV cache holds")
        self.mind.book.put(each.name, each.features[0])
        self.waiting.append(each)
        self.seen.assigned += 1
        self.show()

    def drop(self, each: Sequence) -> None:
        """A sequence is over, or nobody wants it any more."""
        for group in (self.waiting, self.begun, self.decodes):
            if each in group:
                group.remove(each)
        each.gone = True
        self.mind.book.forget(each.name)
        self.show()

    def compose(self, now: float) -> Step:
        """The next step; an empty one if nothing can be done."""
        step = Step()
        if self.prefills_first:
            self._open(0)
            self._admit(step, now)
        if not step.chunks:
            preempted = self._make_room()
            if not self.prefills_first:
                self._mix(step, now, preempted)
            step.decodes = list(self.decodes)
            held = bool(self.waiting) and (preempted or not self.mind.fixed_order)
            step.price(self.costs, 1 if held else self._steps())
        else:
            step.price(self.costs, 1)
        self.show(step, now)
        return step

    def finish(self, step: Step, now: float) -> list[Sequence]:
        """Book a step that ended at `now`; the sequences that have a token more, or are done."""
        changed = [each for each in step.decodes if not each.gone]
        for each in changed:
            each.generated += step.steps
            each.computed += step.steps
        for each, _, _ in step.chunks:
            if not each.gone and self._end_chunk(each):
                changed.append(each)
        for each in changed:
            each.first_s = now if math.isnan(each.first_s) else each.first_s
            if each.done:
                self.drop(each)
        self.seen.steps += step.steps
        self.show()
        return changed

    def show(self, step: Step | None = None, now: float = 0.0) -> None:
        """Fill the instance's features as they are between two compositions, `step` being under way since `now`."""
        seen, unfinished = self.seen, [*self.waiting, *self.begun]
        chunks = step.chunks if step is not None else []
        seen.waiting, seen.running = len(self.waiting), len(self.begun) + len(self.decodes)
        seen.in_service_prompt_tokens = sum(tokens for _, tokens, _ in chunks)
        seen.in_service_image_tokens = sum(images * each.tokens_per_image for each, _, images in chunks)
        seen.in_service_tiles = sum(images * each.tiles_per_image for each, _, images in chunks)
        tiles = sum(each.images_left * each.tiles_per_image for each in unfinished)
        tokens = sum(each.prompt - each.computed for each in unfinished)
        seen.pending_images = sum(each.images_left for each in unfinished) + sum(images for _, _, images in chunks)
        seen.pending_tiles = tiles + seen.in_service_tiles
        seen.pending_prompt_tokens = tokens + seen.in_service_prompt_tokens
        seen.pending_image_tokens = sum(each.image_tokens for each in unfinished)
        seen.pending_text_tokens = sum(each.text_tokens for each in unfinished)
        seen.backlog_s = tiles * seen.encode_s_per_tile + tokens * seen.prefill_s_per_token
        seen.kv_used_tokens = self._kv_used()
        seen.token_budget_left, seen.encoder_budget_left = self.rules.max_step_tokens, self.encoder_tokens
        if step is not None and chunks:
            seen.busy_since_s, seen.busy_until_s = now, now + step.seconds

    def _mix(self, step: Step, now: float, preempted: bool) -> None:
        """Decodes with chunks of unfinished prefills, then of waiting sequences (vLLM V1).

        None is admitted after a preemption, unless nothing else would run; prefills that all lack memory make room.
        """
        if not self.stages & PREFILL:
            self._admit(step, now)
            return
        self._open(len(self.decodes))
        self._sort(self.begun, now)
        for each in list(self.begun):
            self._take(step, each, *self._plan(each, self._kv_free(), step, now))
        if not preempted or not (self.begun or self.decodes):
            self._admit(step, now)
        while not step.chunks and not self.decodes and len(self.begun) > 1:
            self._preempt()
            self._mix(step, now, True)

    def _open(self, decodes: int) -> None:
        self.seen.token_budget_left = self.rules.max_step_tokens - decodes
        self.seen.encoder_budget_left = self.encoder_tokens

    def _admit(self, step: Step, now: float) -> None:
        """Begin waiting sequences in rank order while they fit; the first that does not ends it."""
        self._sort(self.waiting, now)
        if not self.stages & PREFILL:
            self._open(len(self.decodes))
        while self.waiting and len(self.decodes) + len(self.begun) < self.rules.max_sequences:
            if not self._begin(step, self.waiting[0], now):
                return

    def _begin(self, step: Step, each: Sequence, now: float) -> bool:
        """Take a waiting sequence into the step, if it fits."""
        tokens, images = 0, each.images_left
        spare = self._kv_free() - self._watermark
        if each.prompt == 0:  # an encode job, run whole
            fits = not step.chunks or (
                len(step.chunks) < self.rules.max_step_jobs and self.seen.encoder_budget_left >= each.image_tokens
            )
        elif not self.stages & PREFILL:  # its KV cache has come
            fits = each.whole_kv + 1 <= self._kv_free()
        elif self.prefills_first:  # whole prompts with all their images
            tokens = each.prompt
            fits = each.whole_kv <= spare and (not step.chunks or tokens <= self.seen.token_budget_left)
        else:
            tokens, images = self._plan(each, UNBOUNDED, step, now)
            fits = each.whole_kv <= spare and tokens + images > 0 and self.seen.token_budget_left > 0
        if not fits:
            return False
        self.waiting.remove(each)
        each.number, self._admissions = self._admissions, self._admissions + 1
        if each.prompt and not self.stages & PREFILL:
            each.computed = each.prompt
            self.decodes.append(each)
        else:
            self.begun.append(each)
            self._take(step, each, tokens, images)
        return True

    def _plan(self, each: Sequence, kv_free: int, step: Step, now: float) -> tuple[int, int]:
        """(prompt tokens, images) that a sequence may take in the step: images come first in the prompt."""
        room = kv_free - (each.outside_kv if each.computed == 0 else 0)
        budget = int(self.seen.token_budget_left)
        tokens = max(0, min(each.prompt - each.computed, budget, self.rules.max_chunk_tokens, room))
        if each.images_left == 0 or budget <= 0:
            return tokens, 0
        needed = each.images_left
        if each.inside:
            needed = min(needed, max(0, -(-(each.computed + tokens) // each.inside) - each.taken))
        images = min(needed, self._images_allowed(each, step, now)) if needed else 0
        if images < needed:
            tokens = max(0, min(tokens, (each.taken + images) * each.inside - each.computed))
        return tokens, images

    def _images_allowed(self, each: Sequence, step: Step, now: float) -> int:
        """Images that the chunking policy, the step's encoder budget (its first always fits) and the cache allow."""
        budget, size = int(self.seen.encoder_budget_left), each.tokens_per_image
        asked = self.mind.images_allowed(each.name, each.images_left, budget, now)
        held = sum(other.cached * other.tokens_per_image for other in self.begun)
        room = max(1 if held == 0 else 0, (self.encoder_cache - held) // size)
        return max(0, min(asked, max(0 if step.tiles else 1, budget // size), room))

    def _take(self, step: Step, each: Sequence, tokens: int, images: int) -> None:
        if tokens or images:
            step.take(each, tokens, images)
            self.seen.token_budget_left -= tokens
            self.seen.encoder_budget_left -= images * each.tokens_per_image

    def _end_chunk(self, each: Sequence) -> bool:
        """Whether the sequence has a token, or is done."""
        if each.prompt == 0:
            return each.done
        each.use_embeddings()
        if each.images_left or each.computed < each.prompt:
            self.mind.refresh(each.name, each.images_left, each.prompt - each.computed)
            return False
        self.begun.remove(each)
        each.generated += 1
        if self.stages & DECODE:
            self.decodes.append(each)
        return True

    def _sort(self, group: list[Sequence], now: float) -> None:
        """Bring sequences into the policy's order; ties by (arrival, number)."""
        if len(group) > 1:
            ranks = self.mind.ranks([each.name for each in group], now)
            keys = {each.name: (rank, each.order) for each, rank in zip(group, ranks.tolist(), strict=True)}
            group.sort(key=lambda each: keys[each.name])

    def _steps(self) -> int:
        """Decode steps up to the first end of a sequence or of the KV cache."""
        if not self.decodes:
            return 1
        left = min(each.output - each.generated for each in self.decodes)
        return max(1, min(left, 1 + self._kv_free() // len(self.decodes)))

    def _kv_used(self) -> int:
        return sum(each.kv_tokens for each in self.begun) + sum(each.kv_tokens for each in self.decodes)

    def _kv_free(self) -> int:
        """KV tokens left once this step's decodes have stored theirs."""
        return self.costs.kv_capacity_tokens - self._kv_used() - len(self.decodes)

    def _make_room(self) -> bool:
        """Preempt while the decodes outgrow the KV cache; whether any was."""
        preempted = False
        while self.decodes and self._kv_free() < 0:
            self._preempt()
            preempted = True
        return preempted

    def _preempt(self) -> None:
        """Let the sequence admitted last wait and be computed again (vLLM, recomputation)."""
        each = max((*self.begun, *self.decodes), key=lambda other: other.number)
        (self.begun if each in self.begun else self.decodes).remove(each)
        each.restart()
        self.mind.refresh(each.name, each.images_left, each.prompt)
        self.waiting.append(each)
