"""Counters of the scheduler's process, in a file mapped into memory that the API server's process reads.

One writer, any number of readers. The file lies on one machine: an engine on another host than its API server shows no
counters there.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.policies.features import PENDING

SLACK_S = (-30.0, -10.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Upper ends of the buckets of slack at admission."""

POLICY_US = (10.0, 30.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 3000.0, 10000.0)
"""Upper ends of the buckets of the plug-in's time in a step."""

CLASSES = ("text", "image")
SOURCES = ("request", "priority", "class")
"""Where an objective came from."""

COUNTERS = np.dtype(
    [
        ("version", "i8"),  # of this layout
        ("steps", "i8"),  # steps composed
        ("admitted", "i8"),
        ("reorders", "i8"),  # admissions before somebody who came earlier
        ("image_caps", "i8"),  # chunks that the chunking policy ended before the next image
        ("fallbacks", "i8"),  # times that the plug-in failed, and the engine went on in arrival order
        ("bad_deadlines", "i8"),  # deadlines of requests that make no sense
        ("starving", "i8"),  # requests moved up by the guard against starvation
        ("preempted", "i8"),
        ("images_encoded", "i8"),  # by this engine
        ("images_found", "i8"),  # whose embeddings an encoder instance had written when the request came
        ("waiting", "i8"),
        ("prefill_correction", "f8"),  # measured over modelled seconds
        ("encode_correction", "f8"),
        ("policy_us", "f8"),  # sum
        ("policy_us_buckets", "i8", len(POLICY_US) + 1),
        ("slack_s", "f8", len(CLASSES)),  # sums at admission
        ("slack_s_buckets", "i8", (len(CLASSES), len(SLACK_S) + 1)),
        ("first_tokens", "i8", len(CLASSES)),
        ("met", "i8", len(CLASSES)),  # of these, within their deadlines
        ("source", "i8", len(SOURCES)),
        ("requests", "i8", len(CLASSES)),  # that have come, with what they brought
        ("images", "i8"),
        ("image_tokens", "i8"),
        ("text_tokens", "i8"),
        ("pending", "f8", len(PENDING)),  # of what waits or is not yet prefilled
    ]
)
"""The layout of the file."""

VERSION = 3

PUBLISH_S = 0.2
"""Seconds between two writes."""


class Counters:
    """The counters of one scheduler: plain numbers here, written to `path` now and then (None: never)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.steps = self.admitted = self.reorders = self.image_caps = self.fallbacks = 0
        self.images_encoded = self.images_found = 0
        self.bad_deadlines = self.starving = self.preempted = self.waiting = 0
        self.prefill_correction = self.encode_correction = 1.0
        self.policy_us = 0.0
        self.policy_us_buckets = [0] * (len(POLICY_US) + 1)
        self.slack_s = [0.0] * len(CLASSES)
        self.slack_s_buckets = [[0] * (len(SLACK_S) + 1) for _ in CLASSES]
        self.first_tokens, self.met = [0] * len(CLASSES), [0] * len(CLASSES)
        self.source = [0] * len(SOURCES)
        self.requests, self.images, self.image_tokens, self.text_tokens = [0] * len(CLASSES), 0, 0, 0
        self.pending = [0.0] * len(PENDING)
        self._map: Any = None
        self._published_s = -PUBLISH_S
        if path is not None:
            self._map = _mapped(path)
            self.publish()

    def arrival(self, image_tokens: list[int], prompt_tokens: int) -> None:
        """Book a request that has come, by the tokens of each of its images."""
        tokens = sum(image_tokens)
        self.requests[bool(image_tokens)] += 1
        self.images += len(image_tokens)
        self.image_tokens += tokens
        self.text_tokens += max(0, prompt_tokens - tokens)

    def policy_time(self, seconds: float) -> None:
        """Book the plug-in's own time in a step."""
        micros = 1e6 * seconds
        self.steps += 1
        self.policy_us += micros
        self.policy_us_buckets[bisect_left(POLICY_US, micros)] += 1

    def admission(self, image: bool, slack_s: float, reordered: bool) -> None:
        """Book an admission with its slack [s]."""
        self.admitted += 1
        self.reorders += reordered
        self.slack_s[image] += slack_s
        self.slack_s_buckets[image][bisect_left(SLACK_S, slack_s)] += 1

    def first_token(self, image: bool, met: bool) -> None:
        """Book a first token."""
        self.first_tokens[image] += 1
        self.met[image] += met

    def record(self) -> tuple[Any, ...]:
        """The values in the order of COUNTERS."""
        return (VERSION, *(_fixed(getattr(self, name)) for name in (COUNTERS.names or ())[1:]))

    def due(self, now_s: float, idle: bool = False) -> bool:
        """Whether the last writing is PUBLISH_S ago, and then counted as now; on any clock that only goes forward.

        Always if the engine has become `idle`: nothing would correct what the file says then.
        """
        due = self._map is not None and (idle or now_s - self._published_s >= PUBLISH_S)
        if due:
            self._published_s = now_s
        return due

    def publish(self) -> None:
        """Write the file."""
        if self._map is not None:
            self._map[0] = self.record()

    def close(self) -> None:
        """Remove the file."""
        self._map = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _mapped(path: Path) -> Any:
    try:
        return np.memmap(path, COUNTERS, "w+", shape=(1,))
    except OSError as error:
        raise InputError(f"cannot write the counters to {path}: {error.strerror}") from None


def _fixed(value: Any) -> Any:
    return [_fixed(each) for each in value] if isinstance(value, list) else value


def counters_path(setting: str | None, instance: str, rank: int = 0) -> Path:
    """Where the scheduler of an engine writes and its API server reads: both know the engine's `instance` id."""
    if setting is not None:
        return Path(f"{setting}.{rank}" if rank else setting)
    return Path(tempfile.gettempdir()) / f"slackwise-{os.getuid()}-{instance}-{rank}.counters"


def read_counters(path: Path) -> Any | None:
    """The counters at `path` as a record, None where there are none yet."""
    try:
        data = np.fromfile(path, COUNTERS, 1)
    except OSError:
        return None
    if len(data) != 1 or data[0]["version"] != VERSION:
        return None
    return data[0]
