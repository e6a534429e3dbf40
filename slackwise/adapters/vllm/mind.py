"""The policies of a bundle as one engine asks them: ranks of requests, images that a step may take.

Nothing here knows vLLM. Times are seconds since the engine's start, as in the simulator's records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.adapters.vllm.book import Book
from slackwise.adapters.vllm.estimates import Estimator
from slackwise.adapters.vllm.ranks import rank_rows
from slackwise.errors import CheckError
from slackwise.latency.costs import StepCosts
from slackwise.policies.bundle import Policies
from slackwise.policies.features import DECODE, ENCODE, INSTANCE, PREFILL

APPLIED = ("batching", "chunking")
"""Roles of a bundle that a scheduler inside one engine can play."""

MOVED = 0.02
"""Relative change of a correction after which the estimates of all who wait are computed anew."""


class Mind:
    """What the batching and chunking policies of a bundle say about an engine's requests.

    `role` is that of the policy which orders the queue: `encode_batching` in a pool of encoders.
    """

    def __init__(
        self,
        policies: Policies,
        estimator: Estimator,
        tightest_ttft_s: float,
        tensor_parallel: int,
        role: str = "batching",
    ) -> None:
        self.batching, self.batching_params = policies.policy(role), policies.params(role)
        self.chunking, self.chunking_params = policies.policy("chunking"), policies.params("chunking")
        self.rank_policy, self.chunk_policy = self.batching.compiled, self.chunking.compiled
        self.fixed_order = self.batching.fixed_order(self.batching_params)
        self.inputs = frozenset(self.batching.inputs) | frozenset(self.chunking.inputs)
        self.estimator, self.book = estimator, Book()
        self.instance: Any = np.zeros(1, INSTANCE).view(np.recarray)[0]
        self.instance.stages, self.instance.pool_size = ENCODE | PREFILL | DECODE, 1
        self.instance.tensor_parallel, self.instance.tightest_ttft_s = tensor_parallel, tightest_ttft_s
        self._show_speed()

    def price(self, costs: StepCosts) -> None:
        """Predict by other costs from now on: those of an instance that is not the engine's own."""
        self.estimator.costs = costs
        self._show_speed()

    def reads(self, *features: str) -> bool:
        """Whether a policy reads one of these features of the instance."""
        return any(f"instance.{name}" in self.inputs for name in features)

    def ranks(self, names: Sequence[str], now: float) -> NDArray[np.float64]:
        """Ranks of requests by name, see `rank`."""
        return self.rank(self.rows(names), now)

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of requests in the book, int64, shape (n,)."""
        return np.array(self.book.rows_of(names), np.int64)

    def rank(self, rows: NDArray[np.int64], now: float) -> NDArray[np.float64]:
        """Ranks of rows of the book, shape (n,). A policy of fixed order is asked at time 0, as in the simulator.

        Raises CheckError if one is not a number, and whatever the policy raises.
        """
        found = np.empty(len(rows))
        at = 0.0 if self.fixed_order else now
        rank_rows(self.rank_policy, self.book.rows, rows, self.instance, at, self.batching_params, found)
        if np.isnan(found).any():
            raise CheckError(f"{self.batching.name} gives a rank that is not a number")
        return found

    def images_allowed(self, name: str, images_left: int, budget_left: int, now: float) -> int:
        """Images of a request that its next chunk may take, 1 at least. Raises CheckError for a NaN."""
        entry = self.book.rows[self.book.row(name)]
        if entry.images_left != images_left:
            self.book.refresh(self.book.row(name), images_left, int(entry.prompt_tokens_left), self.estimator)
        self.instance.encoder_budget_left = budget_left
        said = float(self.chunk_policy(entry, self.instance, now, self.chunking_params))
        if np.isnan(said):
            raise CheckError(f"{self.chunking.name} gives a number of images that is not a number")
        return max(1, int(min(said, images_left)))

    def refresh(self, name: str, images_left: int, tokens_left: int) -> None:
        """Enter how much of a request is left to do."""
        self.book.refresh(self.book.row(name), images_left, tokens_left, self.estimator)

    def relearn(self) -> bool:
        """Take over the estimator's correction if it has moved; whether estimates are to be computed anew."""
        correction = self.estimator.correction
        now = (correction.prefill, correction.encode)
        if all(abs(new / old - 1.0) <= MOVED for new, old in zip(now, self._speed, strict=True)):
            return False
        self._show_speed()
        return True

    def _show_speed(self) -> None:
        correction, record = self.estimator.correction, self.estimator.costs.record
        self._speed = (correction.prefill, correction.encode)
        self.instance.encode_s_per_tile = float(record["encode_s_per_tile"]) * correction.encode
        self.instance.prefill_s_per_token = self.estimator.prefill_s_per_token
