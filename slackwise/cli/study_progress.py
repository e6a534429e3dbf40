"""Progress of studies that run side by side: a bar each on a terminal, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY = 0.2
"""Share of a study between two plain lines."""


@contextmanager
def study_bars(names: Sequence[str]) -> Iterator[Callable[[int, str, float], None]]:
    """A function to call with the place of the study in `names`, what it does, and the share that is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console, names)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks = [bars.add_task(name, total=1.0, what="") for name in names]
        yield lambda at, what, share: bars.update(tasks[at], completed=share, what=what)


def _plain_lines(console: Console, names: Sequence[str]) -> Callable[[int, str, float], None]:
    shown = [-1.0] * len(names)

    def report(at: int, what: str, share: float) -> None:
        if shown[at] < 0 or share >= min(1.0, shown[at] + LINE_EVERY) > shown[at]:
            shown[at] = share
            console.print(f"{names[at]}: {what}", highlight=False, soft_wrap=True)

    return report
