"""A batch in real time: every step is slept through, to absolute times, so that late wake-ups do not add up.

Tokens are handed out in bunches: the first as soon as it is there, the rest every BUNCH_S to whoever reads them as they
come, and at the end to whoever does not.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from slackwise.adapters.ray.batch import Batch
from slackwise.adapters.ray.sequences import Sequence, Step

BUNCH_S, BUSY_WINDOW_S = 0.05, 5.0


@dataclass(eq=False)
class Reader:
    """Who waits for a sequence."""

    streams: bool
    told_s: float = 0.0  # when it was told last, monotonic
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Pace:
    """Runs a batch, `speed` times as fast as the instance that it stands for, and `slow` times slower when it ails."""

    def __init__(self, batch: Batch, speed: float) -> None:
        self.batch, self.speed, self.slow = batch, speed, 1.0
        self.readers: dict[Sequence, Reader] = {}
        self.late_s = 0.0  # the latest that a step's end was noticed
        self._origin_s = time.time() - time.monotonic()
        self._woken = asyncio.Event()
        self._spans: deque[list[float]] = deque()  # [begin, end] of steps lately
        self._loop: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Seconds of the modelled instance: of the clock since 1970, times the speed."""
        return (self._origin_s + time.monotonic()) * self.speed

    async def serve(self, each: Sequence, streams: bool = False) -> AsyncGenerator[int, None]:
        """Tokens as they come; ends when the sequence is done. Whoever stops reading gives the sequence up.

        Raises InputError if the instance could never hold it.
        """
        each.entered_s = self.now()
        self.batch.add(each)
        reader, told = Reader(streams), each.generated
        self.readers[each] = reader
        if self._loop is None or self._loop.done():
            self._loop = asyncio.get_running_loop().create_task(self._run())
        self._woken.set()
        try:
            ended = False
            while not ended:
                await reader.news.wait()
                reader.news.clear()
                ended = each.gone  # now: it may end while its reader is busy with what is handed out here
                if each.generated > told:
                    told, fresh = each.generated, each.generated - told
                    yield fresh
        finally:
            del self.readers[each]
            if not each.gone:
                self.batch.drop(each)

    def busy(self) -> float:
        """Share of the last seconds spent in steps."""
        now = self.now()
        since = now - BUSY_WINDOW_S * self.speed
        while self._spans and self._spans[0][1] < since:
            self._spans.popleft()
        return sum(min(end, now) - max(begin, since) for begin, end in self._spans) / (now - since)

    async def _run(self) -> None:
        """Step after step, for ever."""
        at = self.now()
        while True:
            step = self.batch.compose(at)
            if not step.chunks and not step.decodes:
                self._woken.clear()
                await self._woken.wait()
                at = max(at, self.now())
                continue
            if any(self.readers[each].streams for each in step.decodes if each in self.readers):
                step.cut(BUNCH_S * self.speed / self.slow)
            at = await self._pass(step, at)
            for each in self.batch.finish(step, at):
                self._tell(each)

    async def _pass(self, step: Step, begin: float) -> float:
        """Sleep through a step that began at `begin`; its end. Decodes end with the step in which a sequence comes."""
        span, slow = [begin, begin + step.seconds * self.slow], self.slow
        self._spans.append(span)
        self._woken.clear()
        await asyncio.sleep(0)
        while (left_s := (span[1] - self.now()) / self.speed) > 0:
            try:
                await asyncio.wait_for(self._woken.wait(), left_s)
            except TimeoutError:
                continue
            self._woken.clear()
            step.cut((self.now() - begin) / slow)
            span[1] = begin + step.seconds * slow
        self.late_s = max(self.late_s, -left_s)
        return span[1]

    def _tell(self, each: Sequence) -> None:
        """Wake who reads, if there is something to say that does not keep."""
        reader, now = self.readers.get(each), time.monotonic()
        if reader is None:
            return
        first = each.generated == 1 or reader.told_s == 0.0
        if each.gone or first or (reader.streams and now - reader.told_s >= BUNCH_S):
            reader.told_s = now
            reader.news.set()
