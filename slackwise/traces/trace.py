"""The trace: what arrived, when, and where it is known from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import unknown

IMAGE_COUNTS = ("sqrt", "raw")
"""Readings of the recorded image count."""


@dataclass(frozen=True)
class Trace:
    """Requests in order of arrival, as columns of one length n.

    `image_count` says how `recorded_images` became `images`: "sqrt" (the recorded count of the Azure LMM 2025
    trace is a square, see docs/traces.md) or "raw"; another one raises InputError. Rows are
    sorted by `arrival_s`, which counts from `start`.
    """

    arrival_s: NDArray[np.float64]  # seconds since `start`, non-decreasing
    recorded_images: NDArray[np.int32]  # as in the file, 0 = text-only
    context_tokens: NDArray[np.int32]  # prompt tokens, text and image together
    output_tokens: NDArray[np.int32]  # generated tokens
    image_count: str = "sqrt"
    start: str = "1970-01-01T00:00:00Z"  # UTC time of arrival_s = 0, ISO 8601
    source: str = "unnamed"  # where it is from, printed with every result
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image_count not in IMAGE_COUNTS:
            raise unknown("image count", str(self.image_count), IMAGE_COUNTS)

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def images(self) -> NDArray[np.int32]:
        """Images of each request under the reading `image_count`, int32, shape (n,)."""
        if self.image_count == "raw":
            return self.recorded_images
        roots: NDArray[np.int32] = np.rint(np.sqrt(self.recorded_images)).astype(np.int32)
        return roots

    @property
    def span_s(self) -> float:
        """Seconds from the first to the last arrival, 0 for fewer than two requests."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) if len(self) > 1 else 0.0

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Trace:
        """The trace with only `rows`, in their order; times are kept."""
        return replace(
            self,
            arrival_s=self.arrival_s[rows],
            recorded_images=self.recorded_images[rows],
            context_tokens=self.context_tokens[rows],
            output_tokens=self.output_tokens[rows],
        )


def facts(trace: Trace) -> dict[str, Any]:
    """What a trace is, for a record of what was done with it: source, window, size, and its digest."""
    return {
        "source": trace.source,
        "start": trace.start,
        "span_s": trace.span_s,
        "requests": len(trace),
        "image_count": trace.image_count,
        "notes": dict(trace.notes),
        "sha256": digest(trace),
    }


def digest(trace: Trace) -> str:
    """SHA-256 of the requests: arrivals, images as they are read, tokens; in hexadecimal."""
    found = hashlib.sha256()
    for column in (trace.arrival_s, trace.images, trace.context_tokens, trace.output_tokens):
        found.update(str(column.dtype).encode() + column.tobytes())
    return found.hexdigest()
