"""Tiles instead of images as the unit that encode work is cut in, for models that encode each tile on its own."""

from __future__ import annotations

import numpy as np

from slackwise.errors import InputError
from slackwise.latency.model import Model
from slackwise.simulator.workload import MAX_IMAGES, Workload

APART = ("anyres", "dynamic")
"""Tilings whose tiles know nothing of each other: LLaVA-OneVision, InternVL2.5, NVLM-D. Llama 3.2 attends over the
tiles of an image jointly, and `native` models have none."""


def cut_by_tile(work: Workload, model: Model) -> None:
    """Let every tile count as an image of its own: it is encoded, sent and waited for alone.

    Tokens that do not divide by the tiles of an image are rounded down where they count against budgets and caches of
    the encoder; sums over the request stay. Raises InputError for a model whose tiles cannot be encoded apart, and for
    too many tiles.
    """
    if model.vision.tiling not in APART or model.vision.joint_tiles > 1:
        raise InputError(f"encode_unit: {model.name} encodes the tiles of an image together; they cannot be cut apart")
    requests, progress = work.requests, work.progress
    tiles = np.maximum(1, requests.tiles_per_image)
    units = requests.images.astype(np.int64) * tiles
    if units.max() > MAX_IMAGES:
        raise InputError(f"a request has {units.max()} tiles; at most {MAX_IMAGES} can be simulated")
    requests.images = requests.images_left = units
    requests.tokens_per_image = np.where(units > 0, np.maximum(1, requests.tokens_per_image // tiles), 0)
    requests.tiles_per_image = np.minimum(1, requests.tiles_per_image)
    progress.image_s /= tiles
    inside = progress.sequence_tokens_per_image > 0
    progress.sequence_tokens_per_image = np.where(inside, requests.tokens_per_image, 0)
