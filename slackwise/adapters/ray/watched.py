"""The path of requests, watched at the endpoint: judged by their objectives, counted, and told to who asks."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from slackwise.adapters.ray.attainment import Judge, class_of
from slackwise.adapters.ray.hot import Bundle
from slackwise.adapters.ray.path import Path, Piece, ReplicaError
from slackwise.adapters.ray.spans import begin, encoding, generating
from slackwise.adapters.ray.telemetry import Telemetry
from slackwise.adapters.ray.workload import Asked, Work, work_for
from slackwise.policies.features import PREFILL


@dataclass
class Flight:
    """One request on its way."""

    name: str
    kind: str  # of attainment.CLASSES
    arrival_s: float
    tokens: int = 0
    first_s: float | None = None


class Watch:
    """What all requests of a process went through. `bundle` may change; the objectives are the newest one's."""

    def __init__(self, bundle: Bundle, tensor_parallel: int, telemetry: Telemetry) -> None:
        self.bundle, self.tensor_parallel, self.telemetry = bundle, tensor_parallel, telemetry
        self.version, self.flying = bundle.version, 0
        self.work = self._work()
        self.judge = Judge(bundle.winner.objectives)
        self._told = self.judge.counters(0.0)

    async def pieces(
        self, asked: Asked, pieces: AsyncGenerator[Piece, None], arrival_s: float
    ) -> AsyncGenerator[Piece, None]:
        """The same pieces, seen go by."""
        flight = self._begin(asked, arrival_s)
        outcome = "left"  # unless it ends or fails: the client has hung up
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._see(flight, piece)
                    yield piece
            outcome = "answered" if flight.tokens else "failed"
        except ReplicaError as error:
            outcome = "full" if error.status == 429 else "refused" if error.status < 500 else "failed"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._end(flight, outcome)

    def counters(self) -> dict[str, float]:
        """Counters of attainment.JUDGED, shown as metrics too."""
        counted = self.judge.counters(time.time())
        self.telemetry.show("slackwise_in_flight", self.flying)  # Ray forgets a gauge that nobody sets
        for objective in ("ttft", "tbt"):
            for what in ("judged", "met"):
                new = counted[f"{objective}_{what}"] - self._told[f"{objective}_{what}"]
                self.telemetry.add(f"slackwise_{what}", new, objective=objective)
        self._told = counted
        return counted

    def _begin(self, asked: Asked, arrival_s: float) -> Flight:
        if self.version != self.bundle.version:
            self.version, self.work = self.bundle.version, self._work()
            self.judge.load(self.bundle.winner.objectives)
        images = len(asked.images)
        flight = Flight(uuid.uuid4().hex, class_of(images), arrival_s)
        self.judge.arrive(flight.name, images, float(self.work.request(asked, arrival_s)["deadline_s"][0]))
        self.flying += 1
        self.telemetry.show("slackwise_in_flight", self.flying)
        return flight

    def _see(self, flight: Flight, piece: Mapping[str, Any]) -> None:
        flight.tokens += int(piece.get("tokens", 0))
        if flight.first_s is None and flight.tokens:
            flight.first_s = time.time()
            self.judge.first(flight.name, flight.first_s)
            self.telemetry.see("slackwise_ttft_seconds", flight.first_s - flight.arrival_s, **{"class": flight.kind})

    def _end(self, flight: Flight, outcome: str) -> None:
        now = time.time()
        if outcome == "answered":
            self.judge.end(flight.name, flight.tokens, now)
            if flight.tokens > 1 and flight.first_s is not None:
                between_s = (now - flight.first_s) / (flight.tokens - 1)
                self.telemetry.see("slackwise_tbt_seconds", between_s, **{"class": flight.kind})
        elif outcome in ("failed", "full"):
            self.judge.fail(flight.name)
        else:
            self.judge.leave(flight.name)
        self.flying -= 1
        self.telemetry.show("slackwise_in_flight", self.flying)
        self.telemetry.add("slackwise_requests", 1.0, **{"class": flight.kind, "outcome": outcome})

    def _work(self) -> Work:
        return work_for(self.bundle.winner, self.tensor_parallel)


class WatchedPath(Path):
    """A path whose requests are watched and traced."""

    def __init__(self, watch: Watch, pools: Any, encode: Any, generate: Any, at_once: int) -> None:
        names = {each["name"]: "prefill" if int(each["stages"]) & PREFILL else "transfer" for each in pools}
        super().__init__(pools, encoding(encode), generating(generate, names), at_once)
        self.watch = watch

    async def pieces(
        self, asked: Asked, body: Mapping[str, Any], arrival_s: float, trace: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Piece, None]:
        """As of the path."""
        span = begin("request", trace or {}, arrival_s, images=len(asked.images))
        seen = self.watch.pieces(asked, super().pieces(asked, body, arrival_s, span.headers), arrival_s)
        try:
            async with aclosing(seen):
                async for piece in seen:
                    yield piece
        except BaseException as error:
            span.end(None if isinstance(error, GeneratorExit) else error)
            raise
        span.end()
