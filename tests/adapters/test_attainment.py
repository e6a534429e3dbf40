"""Attainment measured live: judged once, when it is known, as the simulator judges; shares since the last look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slackwise.adapters.ray.attainment import JUDGED, Attained, AttainmentLog, Judge, Totals
from slackwise.adapters.ray.decider import Decider
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import Bundle
from slackwise.adapters.ray.views import PoolState
from slackwise.policies.features import DECODE, ENCODE, PREFILL

from .bundles import bundle

OBJECTIVES = {"text_tbt_s": 0.05, "image_tbt_s": 0.1}


def test_a_request_is_judged_for_its_first_token_its_tokens_and_once_by_class() -> None:
    judge = Judge(OBJECTIVES)
    for name, images in (("good", 0), ("late", 0), ("slow", 1), ("heavy", 12)):
        judge.arrive(name, images, 10.0)
    judge.first("good", 9.0)
    judge.first("late", 11.0)
    judge.first("slow", 9.0)
    judge.first("heavy", 10.0)
    judge.end("good", 11, 9.5)  # 10 gaps of 0.05 s
    judge.end("late", 11, 11.1)
    judge.end("slow", 2, 9.2)  # one gap of 0.2 s
    judge.end("heavy", 3, 10.2)
    found = judge.counters(20.0)
    assert (found["ttft_judged"], found["ttft_met"]) == (4, 3)
    assert (found["tbt_judged"], found["tbt_met"]) == (4, 3)
    assert [(found[f"judged_{each}"], found[f"missed_{each}"]) for each in ("text", "image", "heavy")] == [
        (2, 1),
        (1, 1),
        (1, 0),
    ]
    assert not judge.open


def test_who_is_overdue_has_missed_without_waiting_for_the_first_token_and_only_once() -> None:
    judge = Judge(OBJECTIVES)
    judge.arrive("a", 0, 10.0)
    assert judge.counters(10.0)["ttft_judged"] == 0
    for _ in range(3):
        found = judge.counters(10.1)
    judge.first("a", 12.0)
    judge.end("a", 1, 12.0)
    assert (found["ttft_judged"], found["ttft_met"], found["missed_text"]) == (1, 0, 1)
    last = judge.counters(13.0)
    assert (last["ttft_judged"], last["judged_text"], last["tbt_judged"]) == (1, 1, 1)


def test_a_failure_misses_and_a_client_that_hung_up_is_not_judged() -> None:
    judge = Judge(OBJECTIVES)
    judge.arrive("failed", 1, 10.0)
    judge.fail("failed")
    judge.arrive("gone", 1, 10.0)
    judge.leave("gone")
    found = judge.counters(99.0)
    assert (found["ttft_judged"], found["missed_image"], found["judged_image"]) == (1, 1, 1)


def test_shares_are_of_what_was_judged_since_the_last_look() -> None:
    log = AttainmentLog()
    assert log.look([{"a": dict.fromkeys(JUDGED, 100.0)}]) == Attained()
    later = dict.fromkeys(JUDGED, 100.0) | {
        "ttft_judged": 110.0,
        "ttft_met": 105.0,
        "judged_heavy": 104.0,
        "missed_heavy": 103.0,
    }
    found = log.look([{"a": later}, {"b": {"ttft_judged": 10.0, "ttft_met": 10.0}}])
    assert found.ttft == pytest.approx(15 / 20)
    assert found.tbt == 1.0
    assert found.missed == (0.0, 0.0, 0.75)
    assert log.look([{"a": later}]) == Attained()


def test_counters_of_a_replica_that_missed_a_look_are_not_counted_twice_and_one_that_began_again_is() -> None:
    totals = Totals(("n",))
    totals.take({"a": {"n": 5.0}})
    assert totals.take({"a": {"n": 7.0}}) == {"n": 2.0}
    assert totals.take({}) == {"n": 2.0}
    assert totals.take({"a": {"n": 8.0}}) == {"n": 3.0}
    assert totals.take({"a": {"n": 1.0}, "b": {"n": 4.0}}) == {"n": 8.0}


def test_the_policy_sees_what_was_attained(tmp_path: Any) -> None:
    current = Bundle(bundle(tmp_path / "winner.json").read_text(encoding="utf-8"))
    sizes = (FleetPool("e", ENCODE, 1, 1, 1, 6), FleetPool("pd", PREFILL | DECODE, 1, 2, 1, 3))
    decider = Decider(current, sizes, 8)
    states = [PoolState(1, 0, 0, {}), PoolState(1, 0, 0, {})]
    decider.decide(states, 0.0, {"ingress": {"ttft_judged": 1.0}})
    assert {view.attainment for view in decider.views} == {1.0}
    served = {"ttft_judged": 5.0, "ttft_met": 3.0, "judged_text": 4.0, "missed_text": 1.0}
    decider.decide([states[0], replace(states[1], reports={"r": served})], 1.0, {"ingress": {"ttft_judged": 1.0}})
    assert [(view.ttft_attainment, view.missed[0]) for view in decider.views] == [(0.6, 0.25)] * 2
