"""What a provisioning policy may know of a pool, once an interval, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any, TypeAlias

from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.knobs import Value

Memory: TypeAlias = tuple[Any, ...]
"""What a policy hands itself for the next time: numbers, and tuples of such; () at first. It has no other memory."""


WINDOWS_S = (60.0, 300.0, 600.0, 3600.0)
"""Windows of the arrival rates that a policy is shown."""


@dataclass(frozen=True)
class Plan:
    """The answer: instances of each pool that should work or be about to, in the order of the pools."""

    targets: tuple[int, ...]
    memory: Memory = ()
    switch_s: float | None = None  # seconds of a role switch where one pool shrinks and another grows; None: no switch
    knobs: tuple[tuple[str, str, Value], ...] = ()  # (role, knob, value) of other policies, from now on


@dataclass(frozen=True)
class Rates:
    """Mean arrivals over a window that ends now, by modality; tokens of the output are estimates."""

    window_s: float
    text_requests_per_s: float = 0.0
    image_requests_per_s: float = 0.0
    images_per_s: float = 0.0
    text_tokens_per_s: float = 0.0
    image_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    median_images_per_s: float = 0.0  # median over the minutes of the window; 0 below 600 s
    median_images: float = 0.0  # of an image request; 0 below 600 s


@dataclass(frozen=True)
class PoolView:
    """A pool of like instances as its controller sees it; nothing that a real server cannot know."""

    name: str
    stages: int  # bits ENCODE, PREFILL, DECODE
    gpus_per_instance: int
    configured: int  # instances that the cluster was set up with
    most: int = 1 << 30  # instances it may grow to
    gpu_cap: int = 1 << 30  # GPUs that all pools may hold together
    ready: int = 0  # instances that take work
    starting: int = 0  # instances loading the model, or waiting for the GPUs of a role switch
    draining: int = 0  # instances finishing their work before they stop
    idle: int = 0  # ready instances without work
    waiting: int = 0  # requests (or encode jobs) waiting in the pool, or for any instance of it
    running: int = 0  # requests (or encode jobs) begun and not finished
    backlog_s: float = 0.0  # predicted seconds of the encode and prefill work waiting, summed over instances
    pending_tokens: float = 0.0  # load there and not done, in the unit of `load_tokens_per_s`
    inverse_tokens: float = 0.0  # sum of 1 / length over the requests there: prompt, image or output tokens
    utilisation: float = 0.0  # share of the last interval that ready instances were busy, 0 to 1
    start_s: float = 0.0  # seconds from the order to a ready instance
    encode_s: float = 0.0  # seconds to encode an image alone here, 0 where nothing is encoded
    capacity_tokens_per_s: float = 0.0  # [M_s] load that one instance serves within the objectives
    images_in_prompt: bool = True  # whether image tokens are part of the prompt (decoder-only models)
    ttft_attainment: float = 1.0  # share within their TTFT objective of the requests judged in the last interval
    tbt_attainment: float = 1.0  # share within their TBT objective of the requests finished in the last interval
    hour: float = 0.0  # hour of the day, UTC, 0 to 24
    kv_used: float = 0.0  # share of the KV cache of ready instances
    busy: float = 0.0  # share of the instance-seconds held in the last interval that were spent in steps
    held_gpus: int = 0  # by all pools together
    parked: tuple[int, ...] = (0, 0, 0)  # requests that wait for any ready encoder, prefill and decode instance
    missed: tuple[float, ...] = (0.0, 0.0, 0.0)  # share missed of the requests judged in the last interval, by class
    rates: tuple[Rates, ...] = field(default=())  # shortest window first

    @property
    def working(self) -> int:
        """Instances that take work or soon will."""
        return self.ready + self.starting

    @property
    def attainment(self) -> float:
        """The worse of both attainments."""
        return min(self.ttft_attainment, self.tbt_attainment)

    def rates_over(self, window_s: float) -> Rates:
        """The rates of the shortest window of `window_s` or more, else of the longest; zeros if there is none."""
        longer = [rates for rates in self.rates if rates.window_s >= window_s]
        return longer[0] if longer else self.rates[-1] if self.rates else Rates(window_s)

    def load_tokens_per_s(self, rates: Rates) -> float:
        """[L_s] what arrives for the pool, in the unit of its capacity (ModServe 2025, 4.2).

        Encoders: image tokens. Prefill: text tokens, and image tokens too if they are part of the prompt or encoded
        here. Decode apart: output tokens.
        """
        load = 0.0
        if self.stages & ENCODE or (self.stages & PREFILL and self.images_in_prompt):
            load += rates.image_tokens_per_s
        if self.stages & PREFILL:
            load += rates.text_tokens_per_s
        elif self.stages & DECODE:
            load += rates.output_tokens_per_s
        return load


def keep(pools: Sequence[PoolView], memory: Memory = ()) -> Plan:
    """The plan that changes nothing."""
    return Plan(tuple(pool.working for pool in pools), memory)


def lot(giver: PoolView, taker: PoolView) -> tuple[int, int]:
    """Fewest instances of one pool, and instances of another on exactly their GPUs: four of TP-1 are one of TP-4."""
    gives, takes = giver.gpus_per_instance, taker.gpus_per_instance
    common = gives * takes // gcd(gives, takes)
    return common // gives, common // takes


def may_give(giver: PoolView, taker: PoolView) -> bool:
    """Whether a lot can move: one ready instance stays, and the other pool has room."""
    out, into = lot(giver, taker)
    return giver is not taker and giver.ready - out >= 1 and taker.working + into <= taker.most


def moved(pools: Sequence[PoolView], giver: int, taker: int) -> tuple[int, ...]:
    """Targets after one lot has moved from pool `giver` to pool `taker`."""
    out, into = lot(pools[giver], pools[taker])
    change = {giver: -out, taker: into}
    return tuple(pool.working + change.get(at, 0) for at, pool in enumerate(pools))
