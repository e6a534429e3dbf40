"""A snapshot is a point to which a run can come back, exactly."""

from __future__ import annotations

import pytest

from slackwise.simulator import Simulation
from tests.simulator.cases import Shape, random_simulation


def outcome(simulation: Simulation) -> tuple[bytes, bytes, bytes]:
    """All that a run gives."""
    state = simulation.state
    return state.progress.tobytes(), state.tbt.tobytes(), state.engines.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_a_restored_run_ends_as_the_first_one_did(seed: int) -> None:
    made = random_simulation(Shape(requests=60, scarce=seed == 1), seed)
    middle = float(made.state.requests.arrival_s[30])
    made.run_until(middle)
    snapshot = made.snapshot()
    made.run_until()
    first = outcome(made)
    made.restore(snapshot)
    assert outcome(made) != first
    assert not made.done
    made.run_until()
    assert outcome(made) == first
    assert made.done


def test_a_restored_run_takes_its_orders_again() -> None:
    made = random_simulation(Shape(requests=60, changing=True), 7)
    made.run_until(float(made.state.requests.arrival_s[20]))
    snapshot, before_s = made.snapshot(), made.now_s
    made.run_until(float(made.state.requests.arrival_s[40]))
    made.start(1)
    made.run_until()
    first = outcome(made)
    made.restore(snapshot)
    assert made.now_s == before_s
    made.run_until(float(made.state.requests.arrival_s[40]))
    made.start(1)
    made.run_until()
    assert outcome(made) == first


def test_a_snapshot_does_not_move_while_its_run_goes_on() -> None:
    made = random_simulation(Shape(requests=40), 5)
    made.run_until(float(made.state.requests.arrival_s[20]))
    snapshot = made.snapshot()
    before = snapshot.state.progress.tobytes()
    made.run_until()
    assert snapshot.state.progress.tobytes() == before
