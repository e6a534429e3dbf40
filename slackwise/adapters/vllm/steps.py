"""What each step computed and how long it took: what the correction of the estimates learns from."""

from __future__ import annotations

from typing import Any

from slackwise.adapters.vllm.book import Book
from slackwise.adapters.vllm.estimates import StepWork

MOST_OPEN = 64
"""Steps composed and not ended beyond which the oldest are given up: an engine has two at most."""


class StepBook:
    """Steps on their way. A step lasts from its composition, or the end of the one before it if later, to its end."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[float, StepWork | None]] = {}
        self._ended_s = 0.0

    def begin(self, output: Any, requests: Any, book: Book, now_s: float) -> None:
        """A step was composed at `now_s`. Its work is worked out only if it prefills."""
        while len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]
        decode_only = output.total_num_scheduled_tokens == len(output.num_scheduled_tokens)
        self._open[id(output)] = (now_s, None if decode_only else step_work(output, requests, book))

    def end(self, output: Any, now_s: float) -> tuple[StepWork | None, float]:
        """(work, seconds) of a step that ended at `now_s`; no work if it only decoded or was never composed here."""
        begun_s, work = self._open.pop(id(output), (now_s, None))
        seconds = now_s - max(begun_s, self._ended_s)
        self._ended_s = now_s
        return work, seconds


def step_work(output: Any, requests: Any, book: Book) -> StepWork:
    """The work in a SchedulerOutput. Called after vLLM has moved `num_computed_tokens` on."""
    decodes = kv_tokens = prompt_tokens = tiles = 0
    pairs = 0.0
    for name, count in output.num_scheduled_tokens.items():
        request = requests.get(name)
        if request is None:
            continue
        done = request.num_computed_tokens - count
        if count == 1 and done >= request.num_prompt_tokens:
            decodes, kv_tokens = decodes + 1, kv_tokens + done
        else:
            prompt_tokens, pairs = prompt_tokens + count, pairs + count * (done + 0.5 * count)
    for name, inputs in output.scheduled_encoder_inputs.items():
        if name in book:
            tiles += len(inputs) * int(book.rows[book.row(name)].tiles_per_image)
    return StepWork(decodes, kv_tokens, prompt_tokens, pairs, tiles)
