"""The routing policy of a bundle over a pool of replicas: features of a call, books, choice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.adapters.ray.books import Books, Call
from slackwise.adapters.ray.cheapest import cheapest
from slackwise.adapters.ray.workload import Work
from slackwise.errors import InputError
from slackwise.policies.bundle import Policies
from slackwise.policies.features import ENCODE, INSTANCE, PREFILL


@dataclass(frozen=True)
class Choice:
    """A decision and what it was made of: the features as they were, to be replayed."""

    replica: str
    call: Call
    now_s: float
    request: Any  # REQUEST, shape (1,)
    instances: Any  # INSTANCE, shape (n,), before the call was counted; empty unless decisions are recorded
    names: tuple[str, ...] = ()  # of all replicas, in the order of the rows


class PoolRouter:
    """Chooses replicas of one pool by the policy of `role`, one of encode_routing, routing and decode_routing."""

    def __init__(self, policies: Policies, role: str, work: Work, stages: int, recording: bool = False) -> None:
        self.role, self.work, self.stages, self.recording = role, work, stages, recording
        self.books = Books(self._pattern())
        self.load(policies)

    def load(self, policies: Policies) -> None:
        """Decide by these policies from now on; what is counted stays. Raises InputError if they do not compile."""
        policy = policies.policy(self.role)
        self._cheapest, self._params = cheapest(policy), policies.params(self.role)

    def members(self, names: Iterable[str]) -> None:
        """These replicas take work from now on."""
        self.books.members(names)

    def choose(self, request: Any, now: float) -> Choice:
        """The replica for a call with the features `request` (REQUEST, shape (1,)), counted at once.

        Raises InputError if there is no replica.
        """
        books = self.books
        if not books.names:
            raise InputError(f"no replica for {self.role}")
        at = self._cheapest(request, books.rows, now, self._params)
        seen = books.rows.copy() if self.recording else books.rows[:0]
        call = books.send(at, brings(self.work, self.stages, request), now)
        return Choice(books.names[at], call, now, request, seen, books.names)

    def back(self, choice: Choice, now: float) -> None:
        """The call came back, well or not."""
        self.books.back(choice.call, now)

    def leave(self, choice: Choice) -> None:
        """Nobody will say when the call comes back: it counts until its replica's next report."""
        choice.call.left = True

    def _pattern(self) -> Any:
        pattern = np.zeros(1, INSTANCE)
        pattern["stages"], pattern["tensor_parallel"] = self.stages, self.work.tensor_parallel
        pattern["encode_s_per_tile"] = self.work.encode_s_per_tile if self.stages & ENCODE else 0.0
        pattern["prefill_s_per_token"] = self.work.prefill_s_per_token if self.stages & PREFILL else 0.0
        pattern["tightest_ttft_s"] = self.work.tightest_ttft_s
        return pattern


def brings(work: Work, stages: int, request: Any) -> Any:
    """What a call adds to an instance of these stages, INSTANCE, shape (1,)."""
    brought, asked = np.zeros(1, INSTANCE), request[0]
    job = int(asked["job_images"]) > 0
    brought["waiting"] = 1
    if job or stages & ENCODE:
        brought["pending_images"] = asked["job_images"] if job else asked["images_left"]
        tiles = int(asked["job_tiles"]) if job else int(asked["images_left"]) * int(asked["tiles_per_image"])
        brought["pending_tiles"], brought["backlog_s"] = tiles, work.encode_s(tiles)
    brought["pending_image_tokens"] = asked["job_image_tokens"] if job else asked["image_tokens"]
    if not job and stages & PREFILL:
        brought["pending_text_tokens"] = asked["text_tokens"]
        brought["pending_prompt_tokens"] = asked["prompt_tokens_left"]
        brought["backlog_s"] += asked["prefill_estimate_s"]
    return brought


def compile_routing(policies: Policies) -> None:
    """Compile all that routes, so that the first request does not wait for it."""
    for role in ("encode_routing", "routing", "decode_routing"):
        cheapest(policies.policy(role))
