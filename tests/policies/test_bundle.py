"""A choice of policies is checked when made, survives JSON, and is data rather than code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from slackwise.errors import InputError
from slackwise.policies.bundle import Policies, PolicyChoice


@pytest.fixture
def chosen() -> Policies:
    return Policies(
        encode_routing=PolicyChoice("least_padded_tiles"),
        encode_batching=PolicyChoice("least_slack", {"aging": 0.25, "quantile": 0.7312345678901234}),
        chunking=PolicyChoice("per_image", {"fan_out": 8}),
        routing=PolicyChoice("power_of_two", {"metric": "seconds"}),
        batching=PolicyChoice("least_slack", {"late": "demote"}),
    )


def test_every_knob_is_filled_in(chosen: Policies) -> None:
    assert chosen.batching.knobs == {"aging": 0.0, "quantile": 0.5, "late": "demote"}
    assert chosen.provisioning.name == "fixed_ratio"
    assert chosen.params("chunking").tolist() == [8.0]


def test_json_gives_back_the_same_policies_and_the_same_bits(chosen: Policies) -> None:
    again = Policies.from_dict(json.loads(json.dumps(chosen.to_dict(), allow_nan=False)))
    assert again == chosen
    assert again.params("encode_batching").tobytes() == chosen.params("encode_batching").tobytes()


def test_numbers_from_a_search_become_plain_json(chosen: Policies) -> None:
    made = PolicyChoice("least_slack", {"aging": np.float64(0.5)})
    policies = Policies(chosen.encode_routing, made, chosen.chunking, chosen.routing, made)
    assert json.loads(json.dumps(policies.to_dict()))["batching"]["knobs"]["aging"] == 0.5


def test_settings_change_names_and_knobs_in_turn(chosen: Policies) -> None:
    settings = ["batching=least_slack", "batching.aging=1", "chunking.fan_out=none", "routing.metric=tokens"]
    changed = chosen.changed(settings)
    assert changed.batching.knobs == {"aging": 1, "quantile": 0.5, "late": "keep"}
    assert changed.chunking.knobs == {"fan_out": None}
    assert changed.routing.knobs == {"instances": 2, "metric": "tokens"}
    assert chosen.batching.knobs["late"] == "demote"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("batchin=edf", "unknown role 'batchin': did you mean 'batching'?"),
        ("batching=edff", "did you mean 'edf'?"),
        ("batching=least_requests", "unknown batching policy 'least_requests'"),
        ("batching.agin=1", "did you mean 'aging'?"),
        ("batching.aging=3", "least_slack.aging = 3 is not allowed: 0.0 to 2.0"),
        ("batching.aging=much", "least_slack.aging = 'much' is not allowed"),
        ("batching.aging", "write role=name or role.knob=value"),
        ("batching.=1", "write role=name or role.knob=value"),
        ("=edf", "unknown role ''"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(chosen: Policies, setting: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        chosen.changed([setting])
    assert words in str(error.value)


def broken(document: Any, path: str, value: Any) -> Any:
    *parents, last = path.split(".")
    inner = document
    for parent in parents:
        inner = inner[parent]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("batchng", {"name": "edf"}, "unknown key of policies 'batchng': did you mean 'batching'?"),
        ("batching", KeyError, "policies lacks batching"),
        ("batching.name", KeyError, "batching lacks name"),
        ("batching.name", 5, "batching needs a name in quotes"),
        ("batching.name", "os:system", "batching names a module, 'os:system'"),
        ("batching.knob", {}, "did you mean 'knobs'?"),
        ("batching.knobs", [1], "an object of knobs"),
        ("batching.knobs.aging", "1", "least_slack.aging = '1' is not allowed"),
        ("batching.knobs.aging", {"a": 1}, "is not allowed"),
        ("batching", "edf", "batching must be a JSON object, not str"),
    ],
)
def test_a_document_that_is_wrong_is_refused(chosen: Policies, path: str, value: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        Policies.from_dict(broken(chosen.to_dict(), path, value))
    assert words in str(error.value)


def test_no_document_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="policies must be a JSON object, not list"):
        Policies.from_dict([])


def test_a_document_from_before_admission_admits_everyone(chosen: Policies) -> None:
    document = chosen.to_dict()
    del document["admission"]
    assert Policies.from_dict(document).admission == PolicyChoice("admit_all")
