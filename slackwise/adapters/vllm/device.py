"""A modelled device: what an engine would give back for a step, and how long the step takes by the latency model."""

from __future__ import annotations

from typing import Any

from slackwise.adapters.vllm.estimates import StepWork
from slackwise.latency.costs import StepCosts, step_seconds

TOKEN = 7
"""Every token generated."""


class ModelledDevice:
    """Keeps what each request has computed; `tiles_per_image` says what its images cost: request id -> tiles."""

    def __init__(self, costs: StepCosts, tiles_per_image: Any) -> None:
        self.costs, self.tiles_per_image = costs, tiles_per_image
        self._known: dict[str, int] = {}  # prompt and generated tokens so far
        self._target: dict[str, int] = {}  # of these, to be prefilled before the next is generated

    def run(self, output: Any) -> tuple[list[str], list[list[int]], float]:
        """(request ids, tokens sampled for each, seconds) of the step in a SchedulerOutput."""
        for name in output.finished_req_ids:
            self._known.pop(name, None)
            self._target.pop(name, None)
        computed = self._computed_before(output)
        sampled, names = [], list(output.num_scheduled_tokens)
        work = self.work(output, computed)
        for name, count in output.num_scheduled_tokens.items():
            done = computed[name] + count >= self._known[name]
            self._known[name] += done
            sampled.append([TOKEN] if done else [])
        return names, sampled, self.seconds(work)

    def seconds(self, work: StepWork) -> float:
        """Seconds of a step; 0 for an empty one."""
        tokens = work.decodes + work.prompt_tokens
        return float(
            step_seconds(
                self.costs.record, self.costs.linear_s, tokens, float(work.kv_tokens), work.pairs, work.tiles, False
            )
        )

    def work(self, output: Any, computed: dict[str, int]) -> StepWork:
        """What the step computes; `computed` tokens were before it, by request."""
        decodes = kv_tokens = prompt_tokens = tiles = 0
        pairs = 0.0
        for name, count in output.num_scheduled_tokens.items():
            done = computed[name]
            if done >= self._target[name]:
                decodes, kv_tokens = decodes + 1, kv_tokens + done
            else:
                prompt_tokens, pairs = prompt_tokens + count, pairs + count * (done + 0.5 * count)
        for name, inputs in output.scheduled_encoder_inputs.items():
            tiles += len(inputs) * self.tiles_per_image(name)
        return StepWork(decodes, kv_tokens, prompt_tokens, pairs, tiles)

    def _computed_before(self, output: Any) -> dict[str, int]:
        found = {}
        for new in output.scheduled_new_reqs:
            length = len(new.prompt_token_ids)
            self._known[new.req_id] = self._target[new.req_id] = length
            found[new.req_id] = new.num_computed_tokens
        cached = output.scheduled_cached_reqs
        for name, done in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
            if name in cached.resumed_req_ids:
                self._target[name] = self._known[name]
            found[name] = done
        return found
