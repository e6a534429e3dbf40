"""No policy sees the true output length, under any topology and policy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.cases import Shape
from tests.simulator.secrecy import betrayals
from tests.simulator.test_equality import EVERY_POLICY, shapes

roomy = shapes.filter(lambda shape: not shape.scarce)
"""Not scarce, since scarce memory goes by the largest request, its output included."""


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(shape=roomy, seed=st.integers(0, 2**32 - 1))
def test_nothing_that_is_seen_or_decided_hangs_on_outputs_that_go_on(shape: Shape, seed: int) -> None:
    assert betrayals(shape, seed) == []


@pytest.mark.parametrize(("role", "name"), EVERY_POLICY)
def test_no_policy_decides_by_outputs_that_go_on(role: str, name: str) -> None:
    topology = "E+P+D" if role == "decode_routing" else "E+PD" if role.startswith("encode") else "monolith"
    assert betrayals(Shape(topology, requests=40, bursts=True, names={role: name}), seed=len(name)) == []
