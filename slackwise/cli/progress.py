"""Progress on stderr: a spinner or bar on a terminal, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

LINE_EVERY = 0.1
"""Share of the work between two plain lines."""


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is being done while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what} ...", highlight=False, soft_wrap=True)
        yield
        return
    with console.status(f"{what} ..."):
        yield


@contextmanager
def download_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with the bytes done and the bytes in all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console, what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(console: Console, what: str) -> Callable[[int, int | None], None]:
    shown = -1.0

    def report(done: int, total: int | None) -> None:
        nonlocal shown
        share = done / total if total else 0.0
        if shown < 0 or share >= min(1.0, shown + LINE_EVERY) > shown:
            shown = share
            of = f" of {total:,}" if total else ""
            console.print(f"{what}: {done:,}{of} bytes", highlight=False, soft_wrap=True)

    return report
