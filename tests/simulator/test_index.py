"""Finding the cheapest instance by tournament, by bounds or by draw takes the very decisions of asking about all."""

from __future__ import annotations

import pytest

from slackwise.policies import Policy, policies
from slackwise.policies.features import INSTANCE
from slackwise.policies.knobs import Choice
from slackwise.policies.lookup import MONOTONE, SCAN, STATIC, Lookup
from slackwise.policies.registry import find
from slackwise.simulator import Simulation, planting
from slackwise.simulator.planting import plant
from slackwise.simulator.state import ENCODING, PREFILLING, ROLES
from tests.simulator.cases import TOPOLOGIES, Shape, random_simulation
from tests.simulator.test_equality import given_orders
from tests.simulator.watched import Watched, differences

SEARCHED = [policy.name for policy in policies("routing") if policy.lookup.way != SCAN]
ROUTERS = ("encode_routing", "routing", "decode_routing")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees for pools of any size."""
    monkeypatch.setattr(planting, "INDEXED_FROM", {STATIC: 1, MONOTONE: 1})


def made(name: str, topology: str, seed: int, fleet: int = 24) -> Simulation:
    """A random case with larger pools, whose trees are built for the instances as the case left them.

    Every second case (seeds 2 and 3 of 4) starts and drains instances while it runs.
    """
    names, changing = dict.fromkeys(ROUTERS, name), seed % 4 >= 2
    shape = Shape(topology, requests=120, scarce=seed % 2 == 0, changing=changing, fleet=fleet, names=names)
    simulation = random_simulation(shape, seed)
    replant(simulation)
    return simulation


def replant(simulation: Simulation) -> None:
    """Build the trees anew."""
    plant(simulation.state, dict(zip(ROLES, simulation.decisions, strict=True)))
    simulation.state.point()


def decisions(simulation: Simulation) -> tuple[bytes, ...]:
    """Every request's instances and times."""
    simulation.run_until()
    progress = simulation.state.progress
    return tuple(progress[name].tobytes() for name in ("encoder", "instance", "first_token_s", "finish_s"))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", SEARCHED)
def test_the_same_instances_are_chosen(name: str, topology: str, always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        found = decisions(made(name, topology, seed))
        with monkeypatch.context() as patch:
            for policy in policies("routing"):
                patch.setitem(vars(policy), "lookup", Lookup())
            asked = made(name, topology, seed)
        assert (asked.state.groups.way == SCAN).all()
        assert decisions(asked) == found


@pytest.mark.parametrize("name", SEARCHED)
def test_the_reference_agrees(name: str, always: None) -> None:
    simulation = made(name, "E+PD", 7, fleet=6)
    reference = Watched(simulation)
    simulation.run_until()
    reference.run(given_orders(simulation))
    assert reference.met["released empty"] > 0
    assert differences(simulation, reference) == []


def test_the_ways_are_really_used(always: None) -> None:
    for name in SEARCHED:
        policy, simulation = find("routing", name), made(name, "E+PD", 1)
        holds = policy.lookup.holds(policy.values(simulation.decisions[0][1]))
        assert simulation.state.groups.way[ENCODING] == (policy.lookup.way if holds else SCAN)


def test_small_pools_are_asked_through() -> None:
    simulation = made("least_requests", "E+PD", 1, fleet=3)
    assert (simulation.state.groups.way == SCAN).all()
    assert simulation.state.clock[0].indexed == 0


def test_pools_of_unlike_instances_are_asked_through_where_the_bound_needs_like_ones(always: None) -> None:
    simulation = made("predicted_completion", "E+PD", 1)
    assert simulation.state.groups.way[PREFILLING] == MONOTONE
    simulation.state.instances.stages[-1] ^= 1
    replant(simulation)
    assert simulation.state.groups.way[PREFILLING] == SCAN


@pytest.mark.parametrize("policy", policies("routing"), ids=lambda policy: policy.name)
def test_a_monotone_policy_reads_what_it_declares(policy: Policy) -> None:
    lookup = policy.lookup
    read = {name.partition(".")[2] for name in policy.inputs if name.startswith("instance.")}
    assert set(lookup.rises) | set(lookup.falls) | set(lookup.same) <= set(INSTANCE.names or ())
    if lookup.way == MONOTONE and not any(isinstance(knob, Choice) for knob in policy.knobs.values()):
        assert read == {*lookup.rises, *lookup.falls, *lookup.same}
