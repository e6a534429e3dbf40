"""From a trace to requests of a model: how many tokens are text, what the images become, what a server would expect.

The trace's context counts text and image tokens together, of a model that is not ours. Its single-image requests fit
the published tile sizes of GPT-4o (85 tokens for low detail, else 85 + 170 a tile: 255, 425, 765, 1105, 1445), so the
text part is taken to be what the largest size that fits leaves over, and each image is charged by the model's own rule.
An inference, not a fact: `image_context = "keep"` treats the whole context as text instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown
from slackwise.latency.alone import prefill_alone_seconds
from slackwise.latency.costs import StepCosts
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import Model, load_model
from slackwise.latency.transfer import INSIDE, transfer_seconds
from slackwise.policies.features import (
    ENCODE,
    HEAVY_IMAGES,
    IMAGE,
    KINDS,
    NOT_QUEUED,
    OUTPUT_ESTIMATE_TOKENS,
    PREFILL,
    REQUEST,
    TEXT,
)
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.faults import Faults, estimate_factors
from slackwise.simulator.objectives import Objectives
from slackwise.simulator.state import PROGRESS, STAMPS
from slackwise.streams import stream
from slackwise.traces import Trace

IMAGE_SIZES = np.array([85, 255, 425, 765, 1105, 1445])
IMAGE_CONTEXTS = {
    "subtract": "text = context minus the largest GPT-4o image size that fits, for each image",
    "keep": "the whole context is text",
}
MAX_IMAGES = 65535

ROWS = 8192
"""Requests filled in at a time, so that their records stay in the cache while column after column is written."""


def _new_progress() -> Any:
    progress = np.zeros((), PROGRESS)
    for name in (*STAMPS, "failed_s"):
        progress[name] = np.nan
    for name in ("first_job", "cached", "encoder", "instance", "holder", "encode_server"):
        progress[name] = -1
    return progress


NEW_REQUEST, NEW_PROGRESS = np.zeros((), REQUEST), _new_progress()
"""A request before anything is known of it."""

NEW_REQUEST["queued_s"] = NOT_QUEUED


def filled(count: int, record: Any) -> Any:
    """So many copies of a record, whose fields are attributes."""
    copies, opaque = np.empty(count, record.dtype), f"V{record.dtype.itemsize}"
    copies.view(opaque)[:] = np.frombuffer(record.tobytes(), opaque)  # bytes, not field by field
    return copies.view(np.recarray)


@dataclass(frozen=True)
class Workload:
    """The requests of a run: what policies see, and what only the simulator knows."""

    requests: Any  # REQUEST (n,)
    progress: Any  # PROGRESS (n,)


def text_tokens(trace: Trace, image_context: str = "subtract") -> NDArray[np.int32]:
    """Text part of each request's context, int32, shape (n,), at least 1."""
    if image_context not in IMAGE_CONTEXTS:
        raise unknown("image context", image_context, IMAGE_CONTEXTS)
    context = np.maximum(1, trace.context_tokens)
    if image_context == "keep":
        return context.astype(np.int32)
    images = trace.images
    per_image = context / np.maximum(images, 1)
    fits = np.searchsorted(IMAGE_SIZES, per_image, side="left") - 1
    size = np.where((images > 0) & (fits >= 0), IMAGE_SIZES[np.maximum(fits, 0)], 0)
    return np.maximum(1, context - images * size).astype(np.int32)


def workload(
    trace: Trace,
    cluster: Cluster,
    costs: tuple[StepCosts, ...],
    objectives: Objectives,
    image_context: str = "subtract",
) -> Workload:
    """The requests of `trace` for `cluster`, whose pools cost `costs`. Raises InputError for an empty trace."""
    if len(trace) == 0:
        raise InputError("the trace has no request in the window")
    if trace.images.max() > MAX_IMAGES:
        raise InputError(f"a request has {trace.images.max()} images; at most {MAX_IMAGES} can be simulated")
    built = Workload(filled(len(trace), NEW_REQUEST), filled(len(trace), NEW_PROGRESS))
    model = load_model(cluster.model)
    for first in range(0, len(trace), ROWS):
        rows = slice(first, first + ROWS)
        part = Workload(*(table.view(np.ndarray)[rows] for table in (built.requests, built.progress)))
        _fill_sizes(part, trace.take(rows), model, cluster, image_context)
        _fill_estimates(part, model, cluster, costs)
        _fill_deadlines(part, objectives)
        part.requests["id"] += first
    return built


def _fill_deadlines(built: Workload, objectives: Objectives) -> None:
    requests = built.requests
    work_s = requests["encode_estimate_s"] + requests["transfer_estimate_s"] + requests["prefill_estimate_s"]
    requests["deadline_s"] = requests["arrival_s"] + objectives.ttft_s(requests["images"], work_s)


def trouble(built: Workload, faults: Faults, seed: int) -> None:
    """Give each request its luck with transfers, and the errors of its predictions.

    The predicted encode and prefill seconds and the expected output are multiplied by theirs. Deadlines, true costs and
    transfers stay as they are. `estimate_sigma` becomes the spread, which a server can know.
    """
    if faults.loss > 0:
        built.progress.luck = stream(seed, "faults/transfer").random(len(built.progress))
    if faults.estimate_sigma == 0 and faults.estimate_bias == 0:
        return
    requests, progress = built.requests, built.progress
    service, output = estimate_factors(faults, len(requests), seed)
    progress.image_s *= service
    progress.prefill_s *= service
    requests.encode_estimate_s *= service
    requests.prefill_estimate_s *= service
    requests.output_estimate_tokens = np.maximum(1, np.rint(requests.output_estimate_tokens * output))
    requests.estimate_sigma = faults.estimate_sigma


def contents(context_tokens: NDArray[np.int32], requests: Any, window_s: float) -> NDArray[np.int64]:
    """For each request the first of those that it repeats, itself if it is new, shape (n,).

    A quarter of the published rows repeat an earlier pair of images and context tokens. That such requests bring the
    same pictures and prompt is an inference: it is made for requests with images, each at most `window_s` after the
    one before of its pair.
    """
    first, images = np.arange(len(requests)), requests.images
    order = np.lexsort((requests.arrival_s, context_tokens, images))
    gap_s = np.diff(requests.arrival_s[order], prepend=-np.inf)
    alike = (np.diff(images[order], prepend=-1) == 0) & (np.diff(context_tokens[order], prepend=-1) == 0)
    repeats = alike & (gap_s <= window_s) & (images[order] > 0) & (window_s > 0)
    runs = np.cumsum(~repeats) - 1
    first[order] = order[~repeats][runs]
    return first


def _fill_sizes(built: Workload, trace: Trace, model: Model, cluster: Cluster, image_context: str) -> None:
    requests, progress, images = built.requests, built.progress, trace.images
    requests["id"] = np.arange(len(trace))
    requests["arrival_s"] = trace.arrival_s
    requests["images"] = requests["images_left"] = images
    requests["modality"] = np.where(images > 0, IMAGE, TEXT)
    tokens, tiles = _image_shape(images, model, cluster)
    requests["tokens_per_image"], requests["tiles_per_image"] = tokens, tiles
    requests["image_tokens"] = images * tokens
    requests["text_tokens"] = text_tokens(trace, image_context)
    inside = 0 if model.cross_attention else 1
    requests["prompt_tokens"] = requests["text_tokens"] + inside * requests["image_tokens"]
    requests["prompt_tokens_left"] = requests["prompt_tokens"]
    requests["output_estimate_tokens"] = np.where(
        images > 0, OUTPUT_ESTIMATE_TOKENS[IMAGE], OUTPUT_ESTIMATE_TOKENS[TEXT]
    )
    progress["output_tokens"] = np.maximum(1, trace.output_tokens)
    progress["target_tokens"] = requests["prompt_tokens"]
    progress["sequence_tokens_per_image"] = inside * tokens
    if model.cross_attention:
        progress["image_kv_tokens"] = np.ceil(requests["image_tokens"] * model.kv_tokens_per_image_token)
        sizes, at = np.unique(tokens, return_inverse=True)
        extra = np.array([model.prefill_tokens_per_image(int(size)) for size in sizes])
        progress["extra_tokens"] = np.rint(images * extra[at])
    progress["category"] = np.where(images >= HEAVY_IMAGES, 2, (images > 0).astype(int))


def _image_shape(
    images: NDArray[np.int32], model: Model, cluster: Cluster
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(tokens, padded tiles) of one image of each request; some models tile a lone image finer than one of several."""
    at, (width, height) = np.minimum(images, 2), cluster.image_size
    tokens = [0, *(image_tokens(model, width, height, count) for count in (1, 2))]
    tiles = [0, *(image_tiles(model, width, height, count) for count in (1, 2))]
    return np.array(tokens, np.int32)[at], np.array(tiles, np.int32)[at]


def _fill_estimates(built: Workload, model: Model, cluster: Cluster, costs: tuple[StepCosts, ...]) -> None:
    """Predicted seconds, alone on an instance: what a server computes from the latency model at arrival."""
    requests, progress = built.requests, built.progress
    kinds = [KINDS[pool.stages] for pool in cluster.pools]
    encoder = next(cost for cost, bits in zip(costs, kinds, strict=True) if bits & ENCODE)
    llm = next(cost for cost, bits in zip(costs, kinds, strict=True) if bits & PREFILL)
    progress["image_s"] = requests["tiles_per_image"] * encoder.record["encode_s_per_tile"]
    requests["encode_estimate_s"] = requests["images"] * progress["image_s"]
    if not any(bits & ENCODE and bits & PREFILL for bits in kinds):
        progress["transfer_s"] = transfer_seconds(model, requests["image_tokens"], cluster.link)
        progress["near_transfer_s"] = transfer_seconds(model, requests["image_tokens"], INSIDE)
    one_server = len(set(cluster.placed)) == 1
    requests["transfer_estimate_s"] = progress["link_estimate_s"] = (
        progress["near_transfer_s"] if one_server else progress["transfer_s"]
    )
    tokens = requests["prompt_tokens"] + progress["extra_tokens"]
    progress["prefill_s"] = prefill_alone_seconds(llm, tokens, requests["prompt_tokens"])
    requests["prefill_estimate_s"] = progress["prefill_s"]
