"""Suites change what they say and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from slackwise.latency.perturb import CONSTANTS
from slackwise.simulator import isolated, preset, simulate
from slackwise.traces import Trace, synthesize
from slackwise.tuning.suites import BURST_EVERY_S, BURST_FACTOR, BURST_S, Suite, burst, suites

START = preset("modserve", "InternVL2.5-26B")
ALL = {each.name: each for each in suites()}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return synthesize(0, start_h=24.0, duration_h=1.0)


def group(name: str) -> list[Suite]:
    return [each for each in ALL.values() if each.group == name]


def test_there_is_every_suite_of_the_table() -> None:
    groups = {each.group for each in ALL.values()}
    assert groups == {"load", "image share", "burst", "slower GPU", "estimates", "latency", "stale state", "crash"}
    assert len(group("latency")) == 2 * len(CONSTANTS)
    assert len(ALL) == len(suites())


def test_loads_and_shares_are_what_they_say(trace: Trace) -> None:
    for suite, factor in zip(group("load"), (0.8, 1.2), strict=True):
        assert len(suite.trace(trace, 0)) == pytest.approx(factor * len(trace), rel=0.05)
    share = float((trace.images > 0).mean())
    for suite, by in zip(group("image share"), (-0.2, 0.2), strict=True):
        changed = suite.trace(trace, 0)
        assert (changed.images > 0).mean() == pytest.approx(share + by, abs=0.02)
        assert len(changed) == pytest.approx(len(trace), rel=0.05)


def test_bursts_have_three_times_the_rate_and_the_rest_is_untouched(trace: Trace) -> None:
    changed = burst(trace, 0)
    inside = [np.mod(each.arrival_s, BURST_EVERY_S) >= BURST_EVERY_S - BURST_S for each in (trace, changed)]
    assert inside[1].sum() == pytest.approx(BURST_FACTOR * inside[0].sum(), rel=0.35)
    np.testing.assert_array_equal(changed.arrival_s[~inside[1]], trace.arrival_s[~inside[0]])
    assert (np.diff(changed.arrival_s) >= 0).all()


@pytest.mark.parametrize("name", ["slower GPU", "estimates", "latency", "stale state", "crash"])
def test_other_suites_leave_the_traffic_and_move_the_service(name: str, trace: Trace) -> None:
    for suite in group(name):
        assert suite.trace(trace, 0) is trace
        changed = suite.configuration(START, trace)
        assert changed != START
        assert (changed.policies, changed.name) == (START.policies, START.name)


def test_the_crash_takes_an_llm_instance_away_for_a_while(trace: Trace) -> None:
    (suite,) = group("crash")
    (fault,) = suite.configuration(START, trace).faults.listed
    kinds = [pool.stages for pool in START.cluster.pools for _ in range(pool.instances)]
    assert kinds[fault.instance] == "PD"
    assert trace.arrival_s[0] < fault.time_s < trace.arrival_s[-1]


def test_a_slower_gpu_serves_worse(trace: Trace) -> None:
    (suite,) = group("slower GPU")
    objectives = isolated(START.cluster, scale="work")
    slow = simulate(trace, suite.configuration(START, trace), objectives)
    assert slow.met.mean() < simulate(trace, START, objectives).met.mean()
