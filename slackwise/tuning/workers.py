"""Where trials run: in this process, or several side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol

from slackwise.interrupts import interrupts_held
from slackwise.simulator import Configuration
from slackwise.tuning.trials import Measured, Task, measure

Waiting = Callable[[], Measured]
"""A trial that was begun: call it for the outcome."""


class Workers(Protocol):
    """Runs trials of one task. `width` of them may be under way; what they come to hangs on their arguments alone."""

    width: int

    def begin(self, configuration: Configuration, best: Measured | None) -> Waiting:
        """Begin a trial."""


class Here:
    """One trial at a time, in this process."""

    width = 1

    def __init__(self, task: Task) -> None:
        self.task = task

    def begin(self, configuration: Configuration, best: Measured | None) -> Waiting:
        return lambda: measure(self.task, configuration, best)


class Processes:
    """As many trials at a time as there are processes."""

    def __init__(self, pool: ProcessPoolExecutor, width: int) -> None:
        self.pool, self.width = pool, width

    def begin(self, configuration: Configuration, best: Measured | None) -> Waiting:
        future = self.pool.submit(_measure, configuration, best)
        return lambda: _result(future)


@contextmanager
def workers(task: Task, jobs: int) -> Iterator[Workers]:
    """Workers for `task`: `jobs` processes, or this one. However the block ends, nothing is left running."""
    if jobs <= 1:
        yield Here(task)
        return
    # Fresh interpreters, not forks: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(task,))
    try:
        with interrupts_held():
            started = [pool.submit(_ready) for _ in range(jobs)]
        for each in started:
            each.result()
        yield Processes(pool, jobs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_tasks: list[Task] = []
"""The task of this process, where it is a worker."""


def _prepare(task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _tasks.append(task)


def _ready() -> None:
    """Load the kernel."""
    import slackwise.simulator.kernel  # noqa: F401


def _measure(configuration: Configuration, best: Measured | None) -> Measured:
    return measure(_tasks[0], configuration, best)


def _result(future: Future[Measured]) -> Measured:
    try:
        return future.result()
    except BrokenProcessPool:
        raise RuntimeError("a process of the search ended unexpectedly; --resume goes on with what was done") from None
