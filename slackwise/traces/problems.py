"""What is wrong with the rows of a trace: counted, named by line, refused or skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError

SHOWN = 5
"""Bad rows named in an error; the rest are counted."""


@dataclass
class Problems:
    """Rows found bad, each under its first reason. `line(row)` is the row's place in the file, as a user counts it."""

    rows: int
    line: Callable[[int], str]
    kinds: dict[str, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    bad: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.bad = np.zeros(self.rows, np.bool_)

    def add(self, kind: str, where: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        """Mark the rows in `where` that are not bad yet; `reason(row)` is asked only for the first few."""
        fresh = where & ~self.bad
        count = int(np.count_nonzero(fresh))
        if not count:
            return
        self.bad |= fresh
        self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.reasons.update({int(row): reason(int(row)) for row in np.flatnonzero(fresh)[:SHOWN]})

    @property
    def count(self) -> int:
        """How many rows are bad."""
        return int(np.count_nonzero(self.bad))

    def refuse(self, path: object, hint: str = "") -> None:
        """Raise InputError naming the first bad rows, if there is any; `hint` ends the sentence."""
        if not self.count:
            return
        first = sorted(self.reasons)[:SHOWN]
        named = "; ".join(f"{self.line(row)}: {self.reasons[row]}" for row in first)
        more = f"; and {self.count - len(first)} more" if self.count > len(first) else ""
        rows = "row" if self.count == 1 else "rows"
        raise InputError(
            f"{path}: {self.count} bad {rows} of {self.rows} ({named}{more}); --skip-bad-rows leaves them out"
        )

    def note(self) -> str:
        """What was skipped, for the notes of a trace: the count and the kinds."""
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.kinds.items()))
        return f"{self.count} of {self.rows} ({kinds})"
