"""Random but valid feature records, for conformance checks and golden decisions: what a real server could show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.features import IMAGE, INSTANCE, REQUEST, TEXT, VIDEO
from slackwise.streams import stream

STAGE_SETS = np.array([1, 2, 4, 3, 5, 6, 7], dtype=np.int32)
"""Every set of stages an instance can have: encoders, LLM instances, monoliths and what lies between."""


@dataclass(frozen=True)
class Cases:
    """Arguments of n policy calls: requests and instances as record arrays, shape (n,), and the times in seconds."""

    requests: Any  # np.recarray of dtype REQUEST
    instances: Any  # np.recarray of dtype INSTANCE
    nows: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.nows)


def random_cases(count: int, seed: int) -> Cases:
    """`count` cases from the stream "records"; each request has arrived and has images left, where it has images."""
    generator = stream(seed, "records")
    requests = random_requests(count, generator)
    waited_s = np.where(generator.random(count) < 0.1, 0.0, generator.exponential(20.0, count))
    return Cases(requests, random_instances(count, generator), requests.arrival_s + waited_s)


def random_requests(count: int, generator: np.random.Generator) -> Any:
    """A record array of `count` requests: text, images and videos, with and without predictions, some barely begun."""
    records = np.zeros(count, REQUEST).view(np.recarray)
    has_images = generator.random(count) < 0.7
    records.images = np.where(has_images, np.minimum(generator.geometric(0.3, count), 64), 0)
    records.modality = np.where(has_images, generator.choice([IMAGE, IMAGE, IMAGE, VIDEO], count), TEXT)
    records.tiles_per_image = np.where(has_images, generator.integers(1, 14, count), 0)
    records.tokens_per_image = records.tiles_per_image * generator.choice([256, 729, 1601], count)
    _fill_tokens(records, generator)
    _fill_job(records, generator)
    _fill_times(records, generator)
    records.draw = generator.random(count)
    records.queued_s = np.where(generator.random(count) < 0.5, -1.0, records.arrival_s)
    records.sequence = generator.integers(0, 1_000_000, count)
    records.id = np.arange(count)
    return records


def random_instances(count: int, generator: np.random.Generator) -> Any:
    """A record array of `count` instances: idle and busy, of every set of stages, in pools of 1 to 64."""
    records = np.zeros(count, INSTANCE).view(np.recarray)
    busy = generator.random(count) < 0.7
    for name in ("pending_image_tokens", "pending_text_tokens", "pending_prompt_tokens", "pending_tiles"):
        records[name] = np.where(busy, generator.integers(0, 200_000, count), 0)
    for name in ("image_tokens", "prompt_tokens", "tiles"):
        records[f"in_service_{name}"] = records[f"pending_{name}"] * generator.random(count)
    records.kv_capacity_tokens = generator.integers(10_000, 2_000_000, count)
    records.kv_used_tokens = records.kv_capacity_tokens * generator.random(count)
    for name, high in (("waiting", 1000), ("running", 256), ("pending_images", 100)):
        records[name] = np.where(busy, generator.integers(0, high, count), 0)
    for name, high in (("steps", 1_000_000), ("assigned", 100_000), ("encoder_budget_left", 70_000)):
        records[name] = generator.integers(0, high, count)
    for name in ("cached_image_tokens", "cached_prefix_tokens"):
        records[name] = np.where(generator.random(count) < 0.2, generator.integers(0, 20_000, count), 0)
    records.token_budget_left = generator.integers(0, 16_384, count)
    records.pool_size = generator.integers(1, 65, count)
    records.index = generator.integers(0, records.pool_size)
    records.stages = generator.choice(STAGE_SETS, count)
    records.tensor_parallel = generator.choice([1, 2, 4, 8], count)
    _fill_speeds(records, busy, generator)
    return records


def random_pool(size: int, generator: np.random.Generator) -> Any:
    """A record array of the `size` instances of one pool, of like stages."""
    records = random_instances(size, generator)
    records.index, records.pool_size, records.stages = np.arange(size), size, records.stages[0]
    return records


def _fill_tokens(records: Any, generator: np.random.Generator) -> None:
    count = len(records)
    records.image_tokens = records.images * records.tokens_per_image
    records.text_tokens = np.maximum(generator.lognormal(6.0, 1.5, count), 1)
    decoder_only = generator.random(count) < 0.5
    records.prompt_tokens = records.text_tokens + np.where(decoder_only, records.image_tokens, 0)
    done = np.where(generator.random(count) < 0.3, generator.random(count), 0.0)
    records.prompt_tokens_left = np.ceil(records.prompt_tokens * (1.0 - done))
    records.output_estimate_tokens = generator.integers(1, 4096, count)


def _fill_job(records: Any, generator: np.random.Generator) -> None:
    records.images_left = np.ceil(records.images * generator.random(len(records)))
    records.job_images = np.ceil(records.images_left * generator.choice([0.0, 0.5, 1.0], len(records)))
    records.job_image_tokens = records.job_images * records.tokens_per_image
    records.job_tiles = records.job_images * records.tiles_per_image


def _fill_times(records: Any, generator: np.random.Generator) -> None:
    count = len(records)
    records.arrival_s = generator.uniform(0.0, 604_800.0, count)
    records.deadline_s = records.arrival_s + generator.lognormal(0.5, 1.0, count)
    known = generator.random(count) < 0.9
    records.encode_estimate_s = records.images_left * records.tiles_per_image * generator.uniform(0.0, 0.05, count)
    records.transfer_estimate_s = np.where(records.images > 0, generator.uniform(0.0, 0.02, count), 0.0)
    records.prefill_estimate_s = np.where(known, records.prompt_tokens_left * generator.uniform(1e-6, 1e-3, count), 0.0)
    records.estimate_sigma = np.where(generator.random(count) < 0.5, generator.uniform(0.0, 1.0, count), 0.0)


def _fill_speeds(records: Any, busy: NDArray[np.bool_], generator: np.random.Generator) -> None:
    count = len(records)
    records.backlog_s = np.where(busy, generator.exponential(5.0, count), 0.0)
    records.busy_since_s = generator.uniform(0.0, 604_800.0, count)
    records.busy_until_s = records.busy_since_s + np.where(busy, generator.exponential(60.0, count), 0.0)
    records.encode_s_per_tile = np.where(records.stages & 1, generator.uniform(1e-3, 0.1, count), 0.0)
    records.prefill_s_per_token = np.where(records.stages & 2, generator.uniform(1e-6, 1e-3, count), 0.0)
    records.tightest_ttft_s = generator.uniform(0.05, 5.0, count)
