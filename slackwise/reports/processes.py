"""The same function on several arguments, one process each, at most a few at a time, with progress."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from slackwise.errors import SlackwiseError
from slackwise.interrupts import interrupts_held

Report = Callable[[int, str, float], None]
"""Is told the argument's place, what is being done with it, and the share that is over."""

Work = Callable[[Any, Callable[[str, float], None]], Any]
"""What is run: takes an argument and a function to report progress to; importable by name, picklable result."""


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(work: Work, arguments: Sequence[Any], processes: int, report: Report) -> list[Any]:
    """`work` on each of `arguments`, results in their order; in this process if one process is enough.

    The first SlackwiseError of a process is raised here; a process that dies raises RuntimeError. Whatever ends the
    call, also Ctrl-C, ends the processes.
    """
    if min(processes, len(arguments)) <= 1:
        return [work(each, _told(report, at)) for at, each in enumerate(arguments)]
    waiting, running = list(enumerate(arguments)), dict[Connection, tuple[int, BaseProcess]]()
    results: dict[int, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                _start(work, *waiting.pop(0), running)
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                _receive(connection, running, results, report)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()
    return [results[at] for at in range(len(arguments))]


def _start(work: Work, at: int, argument: Any, running: dict[Connection, tuple[int, BaseProcess]]) -> None:
    # A fresh interpreter, not a fork: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, work, argument), daemon=True)
    with interrupts_held():
        process.start()
    theirs.close()
    running[ours] = (at, process)


def _receive(
    connection: Connection,
    running: dict[Connection, tuple[int, BaseProcess]],
    results: dict[int, Any],
    report: Report,
) -> None:
    at, process = running[connection]
    try:
        kind, content = connection.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a process ended unexpectedly, with code {process.exitcode}") from None
    if kind == "progress":
        report(at, *content)
    elif kind == "error":
        raise content
    else:
        results[at] = content
        del running[connection]
        connection.close()
        process.join()


def _serve(connection: Connection, work: Work, argument: Any) -> None:
    """The whole life of the other process."""
    try:
        result = work(argument, lambda what, share: connection.send(("progress", (what, share))))
    except SlackwiseError as error:
        connection.send(("error", error))
    else:
        connection.send(("result", result))


def _told(report: Report, at: int) -> Callable[[str, float], None]:
    return lambda what, share: report(at, what, share)
