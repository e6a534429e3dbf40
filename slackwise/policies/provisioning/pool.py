"""What a provisioning policy may know of a pool, once an interval."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rates:
    """Mean arrivals over a window that ends now, by modality."""

    window_s: float
    text_requests_per_s: float = 0.0
    image_requests_per_s: float = 0.0
    images_per_s: float = 0.0
    text_tokens_per_s: float = 0.0
    image_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0


@dataclass(frozen=True)
class PoolView:
    """A pool of like instances as its controller sees it; nothing that a real server cannot know."""

    name: str
    stages: int  # bits ENCODE, PREFILL, DECODE
    gpus_per_instance: int
    configured: int  # instances that the cluster was set up with
    ready: int = 0  # instances that take work
    starting: int = 0  # instances loading the model
    draining: int = 0  # instances finishing their work before they stop
    waiting: int = 0  # requests (or encode jobs) waiting in the pool
    backlog_s: float = 0.0  # predicted seconds of the work waiting, summed over instances
    utilisation: float = 0.0  # share of the last interval that ready instances were busy, 0 to 1
    start_s: float = 0.0  # seconds from the order to a ready instance
    ttft_attainment: float = 1.0  # share of first tokens within their objective in the last interval
    tbt_attainment: float = 1.0  # share of requests within their TBT objective in the last interval
    hour: float = 0.0  # hour of the day, UTC, 0 to 24
    rates: tuple[Rates, ...] = field(default=())  # shortest window first
