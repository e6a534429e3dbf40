"""The requests of an engine as policies see them: one row of REQUEST each, in a table that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from slackwise.adapters.vllm.estimates import Estimator
from slackwise.policies.features import IMAGE, NOT_QUEUED, OUTPUT_ESTIMATE_TOKENS, REQUEST, TEXT

FIRST_ROWS = 256


class Book:
    """Rows by request id. `rows` may move when the table grows: take it anew after `add`."""

    def __init__(self) -> None:
        self.rows: Any = np.zeros(FIRST_ROWS, REQUEST).view(np.recarray)
        self._free = list(range(FIRST_ROWS - 1, -1, -1))
        self._row_of: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, name: str) -> bool:
        return name in self._row_of

    def row(self, name: str) -> int:
        """The row of a request that was added."""
        return self._row_of[name]

    def rows_of(self, names: Iterable[str]) -> list[int]:
        """The rows of requests that were added."""
        return [*map(self._row_of.__getitem__, names)]

    def row_order(self, name: str) -> tuple[float, int]:
        """(arrival, number) of a request: how ties are broken."""
        entry = self.rows[self._row_of[name]]
        return float(entry.arrival_s), int(entry.sequence)

    def add(
        self,
        name: str,
        arrival_s: float,
        image_tokens: list[int],
        prompt_tokens: int,
        estimator: Estimator,
        objective_s: Callable[[float], float],
    ) -> int:
        """Enter a request; `image_tokens` are those of each image, `objective_s` its TTFT objective given its work [s].

        Images are taken to be alike: policies see the mean of their tokens, rounded up.
        """
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._row_of[name] = row
        entry, images = self.rows[row], len(image_tokens)
        each = -(-sum(image_tokens) // images) if images else 0
        entry.arrival_s, entry.id, entry.sequence = arrival_s, self._count % (1 << 31), self._count
        entry.queued_s, entry.images, entry.modality = NOT_QUEUED, images, IMAGE if images else TEXT
        entry.tokens_per_image, entry.tiles_per_image = each, estimator.tiles_per_image(each, images)
        entry.image_tokens = sum(image_tokens)
        entry.text_tokens = max(0, prompt_tokens - int(entry.image_tokens))
        entry.prompt_tokens, entry.draw, entry.estimate_sigma = prompt_tokens, 0.0, 0.0
        entry.transfer_estimate_s, entry.output_estimate_tokens = 0.0, OUTPUT_ESTIMATE_TOKENS[int(entry.modality)]
        entry.job_images, entry.job_image_tokens, entry.job_tiles = 0, 0, 0
        self.refresh(row, images, prompt_tokens, estimator)
        entry.deadline_s = arrival_s + objective_s(float(entry.encode_estimate_s + entry.prefill_estimate_s))
        self._count += 1
        return row

    def put(self, name: str, features: Any) -> int:
        """Enter a request whose features, REQUEST, are known; its row."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._row_of[name] = row
        self.rows[row] = features
        self._count += 1
        return row

    def refresh(self, row: int, images_left: int, tokens_left: int, estimator: Estimator) -> None:
        """Enter how much of a request is left to do."""
        entry = self.rows[row]
        entry.images_left, entry.prompt_tokens_left = images_left, tokens_left
        entry.encode_estimate_s = estimator.encode_s(images_left * int(entry.tiles_per_image))
        entry.prefill_estimate_s = estimator.prefill_s(tokens_left, int(entry.prompt_tokens))

    def forget(self, name: str) -> None:
        """The request is gone; unknown names are ignored."""
        row = self._row_of.pop(name, None)
        if row is not None:
            self._free.append(row)

    def _grow(self) -> None:
        old = len(self.rows)
        grown = np.zeros(2 * old, REQUEST)
        grown[:old] = self.rows
        self.rows = grown.view(np.recarray)
        self._free = list(range(2 * old - 1, old - 1, -1))
