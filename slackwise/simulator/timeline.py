"""The next event among the instances: a tournament whose leaves are the instances' step ends."""

from __future__ import annotations

from typing import Any

from slackwise.jit import part
from slackwise.simulator.tables import engine_of, match_of


@part
def replay(s: Any, instance: int) -> None:
    """Replay the matches of `instance` after its step end changed; ties go to the lower index."""
    node, key, winner = s.leaves + instance, engine_of(s, instance).step_end_s, instance
    match_of(s, node).key = key
    while node > 1:
        other = match_of(s, node ^ 1)
        loses = other.key < key or (other.key == key and node & 1 == 1)
        key, winner = (other.key, other.winner) if loses else (key, winner)
        node >>= 1
        mine = match_of(s, node)
        if mine.winner == winner and mine.key == key:
            return  # nor does anything change above
        mine.key, mine.winner = key, winner
