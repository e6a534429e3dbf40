"""Random but valid views of pools, for conformance checks and golden plans: what a controller could be shown."""

from __future__ import annotations

import numpy as np

from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.provisioning.pool import WINDOWS_S, PoolView, Rates
from slackwise.streams import stream

FLEETS = (
    (("EPD", ENCODE | PREFILL | DECODE, 4),),
    (("E", ENCODE, 1), ("PD", PREFILL | DECODE, 4)),
    (("E", ENCODE, 1), ("P", PREFILL, 4), ("D", DECODE, 2)),
    (("ED", ENCODE | DECODE, 4), ("P", PREFILL, 4)),
)
"""Pools by name, stages and GPUs of an instance."""

Question = tuple[tuple[PoolView, ...], float]


def random_questions(count: int, seed: int, kind: int) -> tuple[Question, ...]:
    """`count` looks in turn at one fleet of FLEETS, seconds to minutes apart: (pools, now in seconds)."""
    generator = stream(seed, f"views {kind}")
    now, asked = 0.0, []
    for _ in range(count):
        now += float(generator.choice([1.0, 15.0, 60.0, 400.0]))
        asked.append((random_views(generator, kind), now))
    return tuple(asked)


def random_views(generator: np.random.Generator, kind: int) -> tuple[PoolView, ...]:
    """The pools of a fleet at some moment: idle or overloaded, whole or just starting, with or without arrivals."""
    load = float(generator.choice([0.0, 1.0, 1.0, 30.0]))
    rates = tuple(_rates(window_s, load, generator) for window_s in WINDOWS_S)
    return tuple(_view(name, stages, gpus, load, rates, generator) for name, stages, gpus in FLEETS[kind % len(FLEETS)])


def _rates(window_s: float, load: float, generator: np.random.Generator) -> Rates:
    requests, images = load * generator.exponential(5.0, 2), float(generator.integers(1, 6))
    return Rates(
        window_s,
        text_requests_per_s=float(requests[0]),
        image_requests_per_s=float(requests[1]),
        images_per_s=float(requests[1]) * images,
        text_tokens_per_s=800.0 * float(requests.sum()),
        image_tokens_per_s=1500.0 * float(requests[1]) * images,
        output_tokens_per_s=100.0 * float(requests.sum()),
        median_images_per_s=float(requests[1]) * images * float(generator.uniform(0.5, 1.5)),
        median_images=images if requests[1] > 0 else 0.0,
    )


def _view(
    name: str, stages: int, gpus: int, load: float, rates: tuple[Rates, ...], generator: np.random.Generator
) -> PoolView:
    ready, starting, draining = (int(generator.integers(0, high)) for high in (9, 3, 2))
    busy = load > 0
    return PoolView(
        name,
        stages,
        gpus,
        configured=4,
        most=int(generator.integers(max(1, ready + starting), 20)),
        gpu_cap=64,
        ready=ready,
        starting=starting,
        draining=draining,
        idle=0 if busy else ready,
        waiting=int(generator.integers(0, 200)) if busy else 0,
        running=int(generator.integers(0, 50)) if busy else 0,
        backlog_s=float(generator.exponential(5.0)) if busy else 0.0,
        pending_tokens=float(generator.exponential(20_000.0)) if busy else 0.0,
        inverse_tokens=float(generator.exponential(0.1)) if busy else 0.0,
        utilisation=float(generator.random()) if busy else 0.0,
        start_s=60.0,
        encode_s=0.2 if stages & ENCODE else 0.0,
        capacity_tokens_per_s=float(generator.choice([500.0, 5000.0, 50_000.0])),
        images_in_prompt=bool(generator.random() < 0.5),
        ttft_attainment=float(generator.choice([1.0, 0.7])),
        tbt_attainment=float(generator.choice([1.0, 0.9])),
        hour=float(generator.uniform(0, 24)),
        rates=rates,
    )
