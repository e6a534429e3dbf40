"""Any number of decode steps is one closed form."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwise.simulator.leap import leap_seconds, steps_to_reach

base_s = st.floats(1e-4, 1.0)
kv_s = st.one_of(st.just(0.0), st.floats(1e-12, 1e-5))
kv_tokens = st.integers(1, 1_000_000)
decodes = st.integers(1, 256)


@settings(deadline=None, derandomize=True)
@given(steps=st.integers(1, 3000), base=base_s, kv=kv_s, tokens=kv_tokens, batch=decodes)
def test_the_closed_form_equals_the_steps_one_by_one(
    steps: int, base: float, kv: float, tokens: int, batch: int
) -> None:
    each = [base + kv * (tokens + batch * step) for step in range(steps)]
    assert leap_seconds(steps, base, kv, tokens, batch) == pytest.approx(math.fsum(each), rel=1e-12)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(seconds=st.floats(0.0, 1000.0), base=base_s, kv=kv_s, tokens=kv_tokens, batch=decodes)
def test_steps_to_reach_is_the_smallest_number_that_takes_as_long(
    seconds: float, base: float, kv: float, tokens: int, batch: int
) -> None:
    steps = steps_to_reach(seconds, base, kv, tokens, batch)
    assert leap_seconds(steps, base, kv, tokens, batch) >= seconds
    assert steps == 1 or leap_seconds(steps - 1, base, kv, tokens, batch) < seconds


@settings(deadline=None, derandomize=True)
@given(steps=st.integers(1, 2000), base=base_s, kv=kv_s, tokens=kv_tokens, batch=decodes)
def test_a_time_on_a_step_boundary_takes_no_step_more(
    steps: int, base: float, kv: float, tokens: int, batch: int
) -> None:
    assert steps_to_reach(leap_seconds(steps, base, kv, tokens, batch), base, kv, tokens, batch) == steps
