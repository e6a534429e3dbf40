"""An open-loop load generator: requests go out when they are due, whatever has become of those before them."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from fleet import objectives

from slackwise.simulator import Configuration, Simulation
from slackwise.traces import Trace

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
CHARACTERS = 4
"""Of a token, as the endpoint reckons."""


@dataclass(frozen=True)
class Ask:
    """A request that is to be sent."""

    at_s: float  # after the beginning
    images: int
    text_tokens: int
    output_tokens: int

    def body(self) -> bytes:
        """A chat request whose answer is streamed."""
        content = [{"type": "text", "text": "x" * (CHARACTERS * self.text_tokens)}, *[IMAGE] * self.images]
        message = {"role": "user", "content": content}
        return json.dumps({"messages": [message], "max_tokens": self.output_tokens, "stream": True}).encode()


@dataclass
class Record:
    """What became of it; times in seconds after the beginning."""

    sent_s: float
    first_s: float = math.nan  # its first token
    last_s: float = math.nan  # the end of its answer, good or bad
    status: int = 0  # 0: no answer
    finished: bool = False  # the answer came to its end
    error: str = ""  # what the server said, or why there was no answer
    took_s: float = math.nan  # in the instances until the first token, as they say: modelled seconds

    @property
    def outcome(self) -> str:
        """answered, refused (429), failed (an answer that says so) or lost (none within the limit)."""
        if self.finished:
            return "answered"
        if self.status == 429:
            return "refused"
        return "failed" if self.status and self.error else "lost"


def asks_of(trace: Trace, configured: Configuration) -> list[Ask]:
    """The requests of a trace as the simulator reads it: what of the context is text, how many images."""
    state = Simulation(trace, configured, objectives(configured)).state
    rows = zip(state.requests, state.progress.output_tokens, strict=True)
    return [Ask(float(row.arrival_s), int(row.images), int(row.text_tokens), int(output)) for row, output in rows]


async def drive(
    endpoint: str, asks: Sequence[Ask], limit_s: float, seen: Callable[[int, Record], None] | None = None
) -> list[Record]:
    """Send every request when it is due; an answer may take `limit_s`. `seen(place, record)` is told of each end."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=limit_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        began = time.monotonic()

        async def one(at: int, ask: Ask) -> Record:
            await asyncio.sleep(max(0.0, ask.at_s - (time.monotonic() - began)))
            record = Record(time.monotonic() - began)
            await _ask(http, f"{endpoint}/chat/completions", ask.body(), record, began)
            record.last_s = time.monotonic() - began
            if seen is not None:
                seen(at, record)
            return record

        return await asyncio.gather(*(one(at, ask) for at, ask in enumerate(asks)))


async def _ask(http: Any, url: str, body: bytes, record: Record, began: float) -> None:
    try:
        async with http.post(url, data=body) as reply:
            if reply.status != 200:
                record.error, record.status = (await reply.text())[:200], reply.status
                return
            async for line in reply.content:
                _read(line, record, time.monotonic() - began)
            record.status = 200
    except (TimeoutError, aiohttp.ClientError) as error:
        record.error, record.status = f"{type(error).__name__} {error}", 0


def _read(line: bytes, record: Record, now: float) -> None:
    """Take in a line of server-sent events."""
    if not line.startswith(b"data: "):
        return
    if line.startswith(b"data: [DONE]"):
        record.finished = True
        return
    document: dict[str, Any] = json.loads(line[6:])
    if "error" in document:
        record.error = str(document["error"])[:200]
    if math.isnan(record.first_s) and document.get("choices"):
        record.first_s = now
        record.took_s = float(document.get("slackwise", {}).get("took_s", math.nan))


def ttft(records: Sequence[Record], asks: Sequence[Ask] | None = None) -> dict[str, float]:
    """Quantiles of seconds to the first token of what was answered; from when it was due if `asks` are given."""
    due = [each.sent_s for each in records] if asks is None else [ask.at_s for ask in asks]
    taken = [each.first_s - at for each, at in zip(records, due, strict=True) if each.outcome == "answered"]
    return {name: round(float(np.quantile(taken, each)), 4) for name, each in QUANTILES.items()} if taken else {}


def outcomes(records: Sequence[Record]) -> dict[str, int]:
    """How many of each outcome."""
    counted = Counter(each.outcome for each in records)
    return {"sent": len(records)} | {name: counted[name] for name in ("answered", "refused", "failed", "lost")}
