"""Ctrl-C at a good moment: what is under way is finished, then the work ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """A function to call between two pieces of work: raises KeyboardInterrupt if Ctrl-C came since.

    A second Ctrl-C raises it at once. An interrupt that strikes inside a callback of compiled code would be lost.
    Outside the main thread, which alone hears signals, nothing changes.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
