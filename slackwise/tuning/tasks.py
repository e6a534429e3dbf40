"""Pure functions run somewhere: one after the other in this process, or on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Waiting = Callable[[], Any]
"""A task that was begun: call it for the outcome."""


class Tasks(Protocol):
    """Runs functions of a module; what they come to hangs on their arguments alone, not on where they run."""

    width: int  # tasks that may be under way

    def keep(self, value: Any) -> Any:
        """A value that many tasks take, sent once; give what is returned to `begin`."""

    def begin(self, function: Callable[..., Any], *arguments: Any) -> Waiting:
        """Begin a task."""


class HereTasks:
    """In this process, when the outcome is asked for."""

    width = 1

    def keep(self, value: Any) -> Any:
        return value

    def begin(self, function: Callable[..., Any], *arguments: Any) -> Waiting:
        return lambda: function(*arguments)
