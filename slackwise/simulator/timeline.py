"""The next event among the instances: a tournament whose leaves are the instances' step ends."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator.tables import engine_of, match_of


@part
def replay(s: Any, instance: int) -> None:
    """Replay the matches of `instance` after its step end changed; ties go to the lower index."""
    node = (s.leaves + instance) >> 1
    while node >= 1:
        left, right = match_of(s, 2 * node).winner, match_of(s, 2 * node + 1).winner
        if right < 0 or (left >= 0 and engine_of(s, left).step_end_s <= engine_of(s, right).step_end_s):
            match_of(s, node).winner = left
        else:
            match_of(s, node).winner = right
        node >>= 1
