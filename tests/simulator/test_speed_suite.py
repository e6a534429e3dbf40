"""The speed suite has every topology, rate and set of policies, and each of its rows runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from slackwise.simulator.speed_suite import BUNDLES, FLEETS, RATES, Row, line, measure, rows

SMALL = 1000


def test_there_is_a_row_for_each_topology_rate_and_policies_and_one_of_text_alone() -> None:
    table = [row for row in rows() if row.table == "topology"]
    found = {(row.topology, row.rate, row.policies) for row in table if row.images}
    assert found == set(product(FLEETS, RATES.values(), BUNDLES))
    assert sum(not row.images for row in table) == len(RATES) * len(BUNDLES)


def test_traces_and_fleets_grow_as_far_as_asked() -> None:
    assert [row.requests for row in rows() if row.table == "requests"] == [10**4, 10**5, 10**6, 10**7]
    assert {row.instances for row in rows() if row.table == "instances"} == {8, 64, 512, 4096}
    fewer = list(rows(SMALL, 10**4, 64))
    assert {row.requests for row in fewer if row.table == "requests"} == {10**4}
    assert {row.instances for row in fewer if row.table == "instances"} == {8, 64}
    assert min(row.requests for row in fewer if row.instances == 64) == 250 * 64


@pytest.mark.parametrize("topology", FLEETS)
def test_a_row_of_each_topology_runs(topology: str) -> None:
    found = measure(Row("topology", topology, "modserve", 1.0, SMALL))
    assert (found["requests"], found["instances"]) == (SMALL, sum(pool.instances for pool in FLEETS[topology]))
    assert set(found["busy"]) == {pool.stages for pool in FLEETS[topology]}
    assert min(found["run_s"], found["peak_rss_mb"]) > 0
    assert topology in line(found)


def test_text_alone_and_a_fleet_of_a_given_size_run() -> None:
    text = Row("topology", "monolith", "first come, in turn", 1.0, SMALL, images=False)
    assert "text only" in line(measure(text))
    assert measure(replace(text, topology="E+PD", images=True, instances=8))["instances"] == 8
