"""The waiting queue keeps everybody, in the order of ranks, ties by arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.adapters.vllm.queue import RankedQueue


@dataclass(eq=False)
class Waits:
    """What the queue reads of a request."""

    request_id: str
    arrival_time: float


def queue_of(*arrivals: float) -> tuple[RankedQueue, list[Waits]]:
    requests = [Waits(f"r{at}", arrival) for at, arrival in enumerate(arrivals)]
    return RankedQueue(requests), requests


def order(queue: RankedQueue) -> list[str]:
    return [queue.pop_request().request_id for _ in range(len(queue))]


def test_lowest_rank_first_ties_by_arrival_then_by_turn() -> None:
    queue, requests = queue_of(3.0, 1.0, 1.0, 0.0)
    queue.place(requests, [1.0, 2.0, 2.0, 5.0])
    assert order(queue) == ["r0", "r1", "r2", "r3"]
    assert not queue


def test_whoever_has_no_rank_waits_by_arrival() -> None:
    queue, _ = queue_of(3.0, 1.0, 2.0)
    assert order(queue) == ["r1", "r2", "r0"]


def test_a_failed_ranking_falls_back_to_arrival() -> None:
    queue, requests = queue_of(1.0, 2.0, 3.0)
    queue.place(requests[:2], [9.0, 1.0])
    queue.by_arrival()
    assert order(queue) == ["r0", "r1", "r2"]


def test_who_has_waited_too_long_goes_first_oldest_first_and_stays_there() -> None:
    queue, requests = queue_of(1.0, 2.0, 30.0)
    queue.place(requests, [9.0, 8.0, 1.0])
    assert queue.move_up(10.0) == 2
    assert queue.move_up(10.0) == 0
    queue.place_all(requests, [9.0, 8.0, 1.0])
    assert order(queue) == ["r0", "r1", "r2"]


def test_removing_somebody_who_does_not_wait_is_an_error_of_one_and_nothing_of_many() -> None:
    queue, requests = queue_of(1.0)
    queue.remove_requests([Waits("other", 0.0)])
    with pytest.raises(ValueError, match="does not wait"):
        queue.remove_request(Waits("other", 0.0))
    queue.remove_request(requests[0])
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.peek_request()


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from("apkrf"), st.integers(0, 9), st.floats(-5, 5)), max_size=60))
def test_nobody_is_lost_and_the_order_is_that_of_ranks(moves: list[tuple[str, int, float]]) -> None:
    queue, inside = RankedQueue(), dict[str, Waits]()
    for turn, (move, which, rank) in enumerate(moves):
        known = sorted(inside)
        if move == "a":
            request = Waits(f"r{turn}", rank)
            inside[request.request_id] = request
            queue.add_request(request)
        elif move == "p" and known:
            del inside[queue.pop_request().request_id]
        elif move == "k" and known:
            queue.remove_request(inside.pop(known[which % len(known)]))
        elif move == "r" and known:
            queue.place([inside[known[which % len(known)]]], [rank])
        elif move == "f":
            queue.move_up(rank)
        assert {each.request_id for each in queue} == set(inside)
        assert bool(queue) == bool(inside)
        assert queue.oldest_arrival() == min(
            (each.arrival_time for each in inside.values() if each.request_id not in queue._starving), default=np.inf
        )
    ranked = [each.request_id for each in queue if each.request_id not in queue.fresh]
    assert [queue.rank_of(name) for name in ranked] == sorted(queue.rank_of(name) for name in ranked)
