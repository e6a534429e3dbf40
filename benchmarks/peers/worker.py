"""What the workers have in common: no more than NumPy, since each runs in the interpreter of its simulator."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np

BLOCK_TOKENS = 16
"""Tokens of a KV block, where a simulator has blocks."""


class Clock:
    """CPU seconds of this process since the clock was made or last read."""

    def __init__(self) -> None:
        self.at = time.process_time()

    def lap(self) -> float:
        now, before = time.process_time(), self.at
        self.at = now
        return now - before


def step_seconds(job: Any, tokens: int, kv_tokens: float, pairs: float) -> float:
    """Seconds of a step: see job.py. Tokens beyond the table follow its last slope."""
    base = job["base_s"]
    last = len(base) - 1
    if tokens <= last:
        seconds = float(base[tokens])
    else:
        seconds = float(base[last] + (base[last] - base[last - 1]) * (tokens - last))
    return seconds + float(job["kv_s_per_token"]) * kv_tokens + float(job["attention_s_per_pair"]) * pairs


def leave(out: str, ttft_s: Any, end_to_end_s: Any, **facts: Any) -> None:
    """Write the seconds of every request, in order of arrival, and print the facts as one line of JSON."""
    np.savez(out, ttft_s=np.asarray(ttft_s, dtype=float), end_to_end_s=np.asarray(end_to_end_s, dtype=float))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write("\n" + json.dumps({**facts, "peak_rss_mb": round(peak, 1)}) + "\n")
