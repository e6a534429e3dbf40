"""Moving image embeddings from the instance that encodes to the one that prefills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import unknown
from slackwise.latency.model import BYTES, Model


@dataclass(frozen=True)
class Link:
    """A way between two instances: what one image's embeddings see of it."""

    latency_s: float
    bytes_s: float
    source: str


LINKS: Mapping[str, Link] = {
    "nvlink": Link(10e-6, 240e9, "NVLink 3, 300 GB/s one way, 80 % reached (assumption)"),
    "infiniband": Link(
        20e-6, 20e9, "HDR InfiniBand, 25 GB/s, 80 % reached: 5 ms for an image as in ModServe (2025) 5.3"
    ),
    "tcp": Link(0.2e-3, 1e9, "1 GB/s: the 100 ms at P50 of ModServe (2025) 5.3; its P99 of 180 ms is congestion"),
}

INSIDE = "nvlink"
"""The link between two instances on one server."""


def transfer_seconds(model: Model, tokens: NDArray[np.integer] | int, link: str) -> NDArray[np.float64]:
    """Seconds to move the embeddings of `tokens` image tokens (scalar or array) over "nvlink", "infiniband" or "tcp".

    Embeddings travel before the connector, which lives with the LLM (ModServe, 2025), where the model allows it:
    latency + tokens * values * 2 bytes / bandwidth, 0 for no tokens. Raises InputError for an unknown link.
    """
    if link not in LINKS:
        raise unknown("link", link, LINKS)
    way = LINKS[link]
    count = np.asarray(tokens, dtype=np.float64)
    seconds = way.latency_s + count * (model.vision.output_values * BYTES / way.bytes_s)
    return np.where(count > 0, seconds, 0.0)
