"""The space holds every knob of the chosen policies, begins with the service as it stands, and never leaves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest

from slackwise.errors import InputError
from slackwise.policies.bundle import ROLES
from slackwise.policies.knobs import Choice
from slackwise.policies.registry import find
from slackwise.simulator import Configuration, disaggregated, preset
from slackwise.tuning.samplers import SAMPLERS, distributions, read, written
from slackwise.tuning.space import CHOICES, ENCODER_TP, LAYOUT, LOTS, TEXT_SHARE, TEXT_TP, TOPOLOGY, Space, space_of

TODAY = preset("vllm", "InternVL2.5-26B")
MODSERVE = preset("modserve", "InternVL2.5-26B")


def drawn(space: Space, count: int, name: str = "random") -> list[dict[str, Any]]:
    """Values that a sampler suggests."""
    sampler = SAMPLERS[name]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    ranges = distributions(sampler, space.parameters)
    return [dict(read(sampler, space.parameters, study.ask(ranges).params)) for _ in range(count)]


@pytest.mark.parametrize("start", [TODAY, MODSERVE, preset("vllm-0.7", "InternVL2.5-26B", gpus=32)])
@pytest.mark.parametrize("sizes", [False, True])
def test_trial_0_is_the_start(start: Configuration, sizes: bool) -> None:
    space = space_of(start, sizes=sizes)
    assert space.configuration(space.defaults, start.name) == start


def test_the_first_trials_are_the_start_modserves_rules_and_least_slack() -> None:
    space = space_of(TODAY)
    first, rules, slack = (space.configuration(each, "modserve") for each in space.starts[:3])
    assert replace(first, name="vllm") == TODAY
    assert rules.policies == MODSERVE.policies
    assert [pool.instances for pool in rules.cluster.pools] == [pool.instances for pool in MODSERVE.cluster.pools]
    assert slack.policies.batching.name == slack.policies.encode_batching.name == "least_slack"
    assert space_of(TODAY, ["batching"]).starts == (space_of(TODAY, ["batching"]).defaults,)


def test_known_rules_are_tried_on_fewer_gpus_where_sizes_are_searched() -> None:
    space = space_of(TODAY, sizes=True)
    tried = [space.configuration(each).cluster for each in space.starts]
    assert [each.gpus for each in tried] == [16] + 4 * [16] + 4 * [12] + 4 * [8]
    assert {pool.instances for each in tried[5:9] for pool in each.pools[1:]} == {2}
    assert [each.topology for each in tried] == ["monolith"] + (len(tried) - 1) * ["E+PD"]


def shapes(space: Space, **changed: str) -> list[tuple[int, int]]:
    """Instances and GPUs of one, of each pool under ModServe's layout with these values."""
    made = space.configuration(space.defaults | changed).cluster.pools
    return [(pool.instances, pool.tensor_parallel) for pool in made]


def test_the_layout_has_the_gpus_of_an_instance() -> None:
    space = space_of(MODSERVE, [LAYOUT])
    assert shapes(space) == [(8, 1), (2, 4)]
    assert shapes(space, text_tp="8") == [(8, 1), (1, 8)]
    assert shapes(space, text_tp="2", encoder_tp="4") == [(2, 4), (4, 2)]
    assert shapes(space, topology="monolith", text_tp="8", encoder_tp="4") == [(2, 8)]
    tried = [space.configuration(each).cluster.pools for each in space_of(MODSERVE).starts]
    degrees = {(text.tensor_parallel, encoder.tensor_parallel) for encoder, text in tried}
    assert degrees == {(text, encoder) for text in (2, 4, 8) for encoder in (1, 2, 4)}


def test_instances_of_any_searched_size_are_a_start() -> None:
    made = space_of(MODSERVE).configuration(space_of(MODSERVE).defaults | {TEXT_TP: "2", ENCODER_TP: "2"})
    again = space_of(replace(MODSERVE, cluster=made.cluster))
    assert again.configuration(again.defaults).cluster == made.cluster


@pytest.mark.parametrize(
    ("model", "degrees"), [("Llama-3.2-90B", ("4", "8")), ("Qwen2.5-VL-7B", ("2", "4")), ("NVLM-D-72B", ("4", "8"))]
)
def test_instances_have_gpus_that_the_model_fits_and_divides_by(model: str, degrees: tuple[str, ...]) -> None:
    knob = space_of(preset("vllm", model)).parameters[TEXT_TP]
    assert isinstance(knob, Choice)
    assert knob.names == degrees


@pytest.mark.parametrize(("lots", "wanted"), [(1, [(1, 4)]), (2, [(4, 1), (1, 4)]), (3, [(4, 1), (1, 8)])])
def test_a_fleet_too_small_for_its_instances_takes_smaller_ones(lots: int, wanted: list[tuple[int, int]]) -> None:
    space = space_of(MODSERVE, sizes=True)
    made = space.configuration(space.defaults | {LOTS: lots, TEXT_TP: "8", TEXT_SHARE: 1.0}).cluster.pools
    assert [(pool.instances, pool.tensor_parallel) for pool in made] == wanted


def test_no_instance_is_larger_than_a_server() -> None:
    small = replace(TODAY, cluster=replace(TODAY.cluster, server_gpus=4))
    space = space_of(small)
    knob = space.parameters[TEXT_TP]
    assert isinstance(knob, Choice)
    assert knob.names == ("2", "4")
    for values in (*space.starts, *drawn(space, 40)):
        assert space.configuration(values).cluster.server_gpus == 4


@pytest.mark.parametrize("gpus", [8, 16])
def test_measured_pools_are_begun_with_known_rules_and_may_be_as_few_as_two_lots(gpus: int) -> None:
    start = preset("modserve", "InternVL2.5-26B", gpus=gpus)
    pools = tuple(replace(pool, profile=f"{pool.stages}.json") for pool in start.cluster.pools)
    space = space_of(replace(start, cluster=replace(start.cluster, pools=pools)), sizes=True)
    assert (LOTS in space.parameters) == (gpus > 8)
    tried = [space.configuration(each) for each in space.starts]
    assert "predicted_completion" in {each.policies.encode_routing.name for each in tried}
    assert all(pool.profile for each in tried for pool in each.cluster.pools)


def test_measured_instances_keep_their_profile_and_are_searched_in_number_alone() -> None:
    pools = tuple(replace(pool, profile=f"{pool.stages}.json") for pool in MODSERVE.cluster.pools)
    space = space_of(replace(MODSERVE, cluster=replace(MODSERVE.cluster, pools=pools)), [LAYOUT], sizes=True)
    assert set(space.parameters) == {TEXT_SHARE, LOTS}
    made = space.configuration(space.defaults | {TEXT_SHARE: 0.25}).cluster.pools
    assert [(pool.instances, pool.profile) for pool in made] == [(12, "E.json"), (1, "PD.json")]


def test_measured_instances_larger_than_a_lot_keep_their_layout() -> None:
    pools = (replace(TODAY.cluster.pools[0], instances=2, tensor_parallel=8, profile="EPD.json"),)
    measured = replace(TODAY, cluster=replace(TODAY.cluster, pools=pools))
    assert TEXT_SHARE not in space_of(measured).parameters
    with pytest.raises(InputError, match="the layout is searched from"):
        space_of(measured, [LAYOUT])


def test_every_knob_of_every_policy_that_is_searched_is_a_parameter() -> None:
    parameters = space_of(TODAY).parameters
    for role, names in CHOICES.items():
        choice = parameters[role]
        assert isinstance(choice, Choice)
        assert set(choice.names) == {*names, getattr(TODAY.policies, role).name}
        for name in names:
            for knob in find(ROLES[role], name).knobs:
                assert f"{role}.{name}.{knob}" in parameters


@pytest.mark.parametrize("sampler", ["random", "qmc"])
@pytest.mark.parametrize("start", [TODAY, MODSERVE])
def test_whatever_is_drawn_is_a_valid_service_on_the_same_gpus_and_engine(start: Configuration, sampler: str) -> None:
    space = space_of(start)
    topologies = set()
    for values in drawn(space, 40, sampler):
        made = space.configuration(values)
        topologies.add(made.cluster.topology)
        assert made.cluster.gpus == start.cluster.gpus
        assert made.cluster.pools[-1].engine == start.cluster.pools[-1].engine
        told = space.settings(values)
        assert told["batching"] == made.policies.batching.name
        assert ("encode_batching" in told) == (made.cluster.topology == "E+PD")
    assert topologies == {"monolith", "E+PD"}


def test_with_sizes_fleets_are_smaller_but_never_larger() -> None:
    space = space_of(TODAY, sizes=True)
    gpus = {space.configuration(values).cluster.gpus for values in drawn(space, 60)}
    assert gpus == {4, 8, 12, 16}


def test_values_survive_the_way_through_every_sampler() -> None:
    space = space_of(MODSERVE)
    for sampler in SAMPLERS.values():
        assert read(sampler, space.parameters, written(sampler, space.parameters, space.defaults)) == space.defaults


def test_what_decides_nothing_changes_nothing() -> None:
    space = space_of(TODAY)
    other = space.defaults | {TEXT_SHARE: 0.9, "encode_routing": "predicted_completion"}
    assert space.configuration(other) == space.configuration(space.defaults)
    assert space.configuration(other | {TOPOLOGY: "E+PD"}) != space.configuration(space.defaults | {TOPOLOGY: "E+PD"})


def test_a_knob_that_may_be_off_is_a_choice_and_a_number() -> None:
    space = space_of(TODAY, ["admission=bounded_queue"])
    switch = space.parameters["admission.bounded_queue.backlog.off"]
    assert isinstance(switch, Choice)
    assert switch.default == "off"
    values = space.defaults | {"admission": "bounded_queue", "admission.bounded_queue.backlog": 7.0}
    assert space.configuration(values).policies.admission.knobs["backlog"] is None
    on = values | {"admission.bounded_queue.backlog.off": "on"}
    assert space.configuration(on).policies.admission.knobs["backlog"] == 7.0


def test_parts_of_the_space_can_be_named() -> None:
    assert set(space_of(TODAY, [LAYOUT]).parameters) == {TOPOLOGY, TEXT_SHARE, TEXT_TP, ENCODER_TP}
    batching = space_of(TODAY, ["batching=edf|least_slack"]).parameters
    assert set(batching) >= {"batching", "batching.least_slack.aging"}
    assert not any(name.startswith("routing") for name in batching)
    everything = space_of(TODAY, ["provisioning=all"]).parameters["provisioning"]
    assert isinstance(everything, Choice)
    assert len(everything.names) > 5


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["batchin"], "did you mean 'batching'"),
        (["batching=edff"], "did you mean 'edf'"),
        (["chunking="], "nothing to search"),
    ],
)
def test_unknown_parts_name_the_closest(parts: list[str], words: str) -> None:
    start = replace(TODAY, policies=TODAY.policies.changed(["chunking=none"]))
    with pytest.raises(InputError, match=words):
        space_of(start, parts)


def test_a_cluster_without_a_known_layout_keeps_it() -> None:
    odd = replace(TODAY, cluster=replace(TODAY.cluster, placement=((0, 0, 1, 1),)))
    assert TOPOLOGY not in space_of(odd).parameters
    with pytest.raises(InputError, match="the layout is searched from"):
        space_of(odd, [LAYOUT])


def test_text_instances_always_leave_an_encoder() -> None:
    space = space_of(replace(TODAY, cluster=disaggregated("InternVL2.5-26B", "A100-80GB", 16, 3)), sizes=True)
    made = space.configuration(space.defaults | {TOPOLOGY: "E+PD", TEXT_SHARE: 1.0, "lots_of_4_gpus": 2})
    assert [pool.instances for pool in made.cluster.pools] == [4, 1]
