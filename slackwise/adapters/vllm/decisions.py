"""The replay file: what the scheduler decided and why, one JSON object a line.

    {"e": "start", "t": ..., "policies": {...}, "limits": {...}}          t = seconds since 1970; later t since then
    {"e": "add", "t": ..., "id": ..., "objective_s": ..., "source": ..., "images": ..., "prompt_tokens": ...}
    {"e": "admit", "t": ..., "step": ..., "id": ..., "rank": ..., "slack_s": ..., "passed": bool}
    {"e": "hold", "t": ..., "step": ..., "head": ..., "rank": ..., "waiting": ..., "why": one of WHY}
    {"e": "first", "t": ..., "id": ..., "met": bool}     {"e": "preempt" | "end", "t": ..., "id": ...}

A `hold` is written when the head of the queue or the reason that holds it changes, not at each step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slackwise.errors import InputError

WHY = {
    "sequences": "as many requests run as the engine allows (max_num_seqs)",
    "tokens": "the step's token budget was used up",
    "encoder": "the next image did not fit the step's encoder budget or the encoder cache",
    "chunking": "the chunking policy ended the step's images",
    "preemption": "a running request had to be preempted: nobody is admitted in such a step",
    "memory": "the KV cache had no room for the whole prompt",
    "paused": "the engine was paused or held prefills back",
}
"""Why the head of the queue was not admitted."""

FLUSH_ROWS = 200


class Decisions:
    """Writes the file; a disk that fails ends the writing, never the engine."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write decisions to {path}: {error.strerror}") from None
        self._rows: list[str] = []
        self._held: tuple[str, str] | None = None
        self.broken = ""

    def write(self, kind: str, now: float, **what: Any) -> None:
        """Add a line."""
        if self.broken:
            return
        self._rows.append(json.dumps({"e": kind, "t": round(now, 6), **what}, allow_nan=True))
        if len(self._rows) >= FLUSH_ROWS:
            self.flush()

    def hold(self, now: float, step: int, head: str, rank: float, waiting: int, why: str) -> None:
        """Add a line if the head of the queue or what holds it has changed."""
        if self._held != (head, why):
            self._held = (head, why)
            self.write("hold", now, step=step, head=head, rank=rank, waiting=waiting, why=why)

    def flush(self) -> None:
        """Write what has gathered."""
        try:
            self._file.write("".join(row + "\n" for row in self._rows))
            self._file.flush()
        except (OSError, ValueError) as error:
            self.broken = str(error)
        self._rows.clear()

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        self._file.close()
