"""TBT histograms: no token is lost, and a quantile is exact to a bucket."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.policies.features import REQUEST
from slackwise.simulator.histogram import bucket, record_steps, upper_edge
from slackwise.simulator.result import tbt_quantile_s
from slackwise.simulator.state import BUCKETS, BUCKETS_PER_DECADE, PROGRESS, SHORTEST_TBT_S, allocate, records

WIDTH = 10 ** (1 / BUCKETS_PER_DECADE)


def test_a_bucket_ends_where_the_next_begins() -> None:
    edges = np.array([upper_edge(at) for at in range(BUCKETS)])
    np.testing.assert_allclose(edges[1:] / edges[:-1], WIDTH, rtol=1e-12)
    assert edges[-1] == pytest.approx(100.0)
    for at in (0, 1, 200, BUCKETS - 2):
        assert bucket(edges[at] * 0.9999) == at
        assert bucket(edges[at] * 1.0001) == at + 1


def test_times_out_of_range_go_to_the_ends() -> None:
    assert bucket(0.0) == bucket(SHORTEST_TBT_S / 2) == 0
    assert bucket(1e6) == BUCKETS - 1


@settings(deadline=None, derandomize=True)
@given(
    first_s=st.floats(1e-5, 200.0),
    growth_s=st.one_of(st.just(0.0), st.floats(1e-9, 0.1)),
    steps=st.integers(0, 3000),
    decodes=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
)
def test_a_leap_is_recorded_as_its_steps_are(
    first_s: float, growth_s: float, steps: int, decodes: tuple[int, int, int]
) -> None:
    state = allocate(records(1, REQUEST), records(1, PROGRESS), 1, 1, 8)
    state.point()
    state.engines.category_decodes[0] = decodes
    record_steps(state.clock[0], 0, first_s, growth_s, steps)
    one_by_one = np.bincount([bucket(first_s + growth_s * step) for step in range(steps)], minlength=BUCKETS)
    for category, count in enumerate(decodes):
        tokens = state.tbt.tokens[category]
        assert tokens.sum() == steps * count
        assert np.abs(np.cumsum(tokens - count * one_by_one)).max() <= count  # one step on the edge of two buckets


@settings(deadline=None, derandomize=True)
@given(
    gaps=st.lists(st.floats(2e-4, 50.0), min_size=1, max_size=200),
    quantile=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_within_a_bucket_of_the_exact_one(gaps: list[float], quantile: float) -> None:
    tokens = np.bincount([bucket(gap) for gap in gaps], minlength=BUCKETS)
    exact_s = float(np.quantile(gaps, quantile, method="inverted_cdf"))
    assert tbt_quantile_s(tokens, quantile) / exact_s == pytest.approx(1.0, abs=0.51 * (WIDTH - 1))


def test_no_tokens_have_no_quantile() -> None:
    assert math.isnan(tbt_quantile_s(np.zeros(BUCKETS, np.int64), 0.5))
