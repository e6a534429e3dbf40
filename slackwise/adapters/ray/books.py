"""What a router knows of its replicas: what they reported, corrected by what it sent and what came back since.

Reports reach routers late, and the calls of one request are routed before the first of them arrives anywhere: work is
counted when a replica is chosen. A report says when it was made; work sent after that is added to it, work that came
back after that is taken away. Without reports the router's own counts remain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slackwise.jit import compiled
from slackwise.policies.features import INSTANCE, PENDING

COUNTED = ("waiting", *PENDING)
"""Features of an instance to which a call adds while it is there."""

REPORTED = (*COUNTED, "running", "busy_since_s", "busy_until_s", "kv_used_tokens", "kv_capacity_tokens", "steps")
"""Features that a replica may report."""

MADE_S = "made_s"
"""Key of a report that says when it was made, seconds since 1970."""

KEPT_S = 60.0
"""How long a call that came back is remembered, in case a report from before then arrives."""


@compiled()
def _count(instances: Any, at: int, work: Any, sign: float) -> None:
    """Add (sign 1) or take away (-1) what a call brings; nothing falls below 0, whatever reports say."""
    row = instances[at]
    ended = min(row.running, work.waiting) if sign < 0.0 else 0  # what comes back was running, if anything was
    row.running -= ended
    row.waiting = max(0, row.waiting + int(sign) * work.waiting + ended)
    row.pending_images = max(0, row.pending_images + int(sign) * work.pending_images)
    row.pending_image_tokens = max(0, row.pending_image_tokens + int(sign) * work.pending_image_tokens)
    row.pending_tiles = max(0, row.pending_tiles + int(sign) * work.pending_tiles)
    row.pending_text_tokens = max(0, row.pending_text_tokens + int(sign) * work.pending_text_tokens)
    row.pending_prompt_tokens = max(0, row.pending_prompt_tokens + int(sign) * work.pending_prompt_tokens)
    row.backlog_s = max(0.0, row.backlog_s + sign * work.backlog_s)


@dataclass(eq=False)
class Call:
    """A call that was sent: to whom, what it brings (INSTANCE, shape (1,)), when, and when it came back."""

    replica: str
    work: Any
    sent_s: float
    back_s: float = math.inf
    left: bool = False  # nobody will say when it comes back: from the next report on it counts there, or not at all


@dataclass
class Pages:
    """What is known of one replica."""

    report: dict[str, float] = field(default_factory=dict)
    made_s: float = -math.inf  # of the report
    assigned: int = 0
    calls: list[Call] = field(default_factory=list)  # in the order they were sent


class Books:
    """INSTANCE rows of a pool's replicas, in the order of their names. `pattern` holds what all have in common."""

    def __init__(self, pattern: Any) -> None:
        self.pattern = np.array(pattern, INSTANCE).reshape(1)
        self.names: tuple[str, ...] = ()
        self.rows = np.zeros(0, INSTANCE)
        self._pages: dict[str, Pages] = {}
        self._at: dict[str, int] = {}

    def members(self, names: Iterable[str]) -> None:
        """These replicas take work from now on; a replica that is gone is forgotten with all that was sent to it."""
        there = tuple(sorted(set(names)))
        if there == self.names:
            return
        self.names, self._at = there, {name: at for at, name in enumerate(there)}
        self._pages = {name: self._pages.get(name, Pages()) for name in there}
        self.rows = np.repeat(self.pattern, len(there))
        for name in there:
            self._rewrite(name)

    def hear(self, name: str, report: Mapping[str, Any], made_s: float) -> None:
        """Take in what a replica reported at `made_s`; an older report, another key or no number is left out."""
        pages = self._pages.get(name)
        if pages is None or not made_s > pages.made_s:
            return
        pages.report = {key: value for key, value in report.items() if key in REPORTED and _is_count(value)}
        pages.made_s = made_s
        self._rewrite(name)

    def send(self, at: int, work: Any, now: float) -> Call:
        """Count a call, which brings `work` (INSTANCE, shape (1,)), to the replica in row `at`."""
        name = self.names[at]
        pages, call = self._pages[name], Call(name, work, now)
        pages.calls.append(call)
        pages.assigned += 1
        self.rows["assigned"][at] = pages.assigned
        _count(self.rows, at, work[0], 1.0)
        return call

    def back(self, call: Call, now: float) -> None:
        """The call came back, or never went: no longer counted. A second time has no effect."""
        pages = self._pages.get(call.replica)
        if call.back_s < math.inf:
            return
        call.back_s = now
        if pages is not None and call in pages.calls:
            _count(self.rows, self._at[call.replica], call.work[0], -1.0)
            if pages.made_s == -math.inf or len(pages.calls) > 4096:
                pages.calls = [each for each in pages.calls if each.back_s > now - KEPT_S]

    def _rewrite(self, name: str) -> None:
        """Row of a replica anew: the pattern, the report, and what it cannot have known."""
        pages, at = self._pages[name], self._at[name]
        self.rows[at] = self.pattern[0]
        for key, value in pages.report.items():
            self.rows[key][at] = value
        self.rows["index"][at], self.rows["pool_size"][at] = at, len(self.names)
        self.rows["assigned"][at] = pages.assigned
        pages.calls = [
            call
            for call in pages.calls
            if call.back_s > pages.made_s and not (call.left and call.sent_s <= pages.made_s)
        ]
        for call in pages.calls:
            if call.sent_s > pages.made_s and call.back_s == math.inf:
                _count(self.rows, at, call.work[0], 1.0)
            elif call.sent_s <= pages.made_s and call.back_s < math.inf:
                _count(self.rows, at, call.work[0], -1.0)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
