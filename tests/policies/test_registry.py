"""Policies are found by name, as plug-ins, or as module:function."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from slackwise.errors import InputError
from slackwise.policies import find, policies, registry

PLUGIN = """
from slackwise.policies import batching_policy, routing_policy

@batching_policy(source="test")
def newest_first(request, instance, now, params):
    '''Newest first.'''
    return -request.arrival_s

@routing_policy(source="test")
def least_requests(request, instance, now, params):
    '''Has the name of a built-in.'''
    return 0.0

def plain(request, instance, now, params):
    return 0.0
"""

CATALOGUE = {
    "routing": {
        *("round_robin", "random", "least_requests", "power_of_two", "least_image_tokens", "least_text_tokens"),
        *("least_total_tokens", "least_padded_tiles", "predicted_completion", "busiest_instance"),
        "cache_affinity",
    },
    "batching": {
        *("fcfs", "modality_size_priority", "edf", "least_slack", "sjf", "hrrn", "modality_class_aging"),
        *("niyama_hybrid", "reverse_slack"),
    },
    "chunking": {"none", "per_image", "k_images", "tile_budget", "encoder_budget"},
    "admission": {"admit_all", "drop_late", "relegate_late", "bounded_queue"},
    "provisioning": {
        "fixed_ratio",
        "modserve_init",
        "modserve_ceil",
        "queue_ratio_move",
        "burst_tolerance",
        "gain_cost",
        "rate_match_sweep",
        "horizontal_autoscaler",
    },
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_plugin.py").write_text(PLUGIN)
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no accelerator')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "a_plugin"


@pytest.fixture
def install(plugin: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def installed(name: str, value: str) -> None:
        entries = EntryPoints([EntryPoint(name, value, registry.GROUP)])
        monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))

    return installed


@pytest.mark.parametrize("family", CATALOGUE)
def test_every_policy_of_the_catalogue_is_built_in(family: str) -> None:
    assert CATALOGUE[family] <= {policy.name for policy in policies(family)}
    assert all(find(family, name).family == family for name in CATALOGUE[family])


def test_a_name_is_found_without_its_family() -> None:
    assert find(None, "edf") is find("batching", "edf")


@pytest.mark.parametrize(
    ("family", "name", "words"),
    [
        ("batching", "least_slak", "unknown batching policy 'least_slak': did you mean 'least_slack'?"),
        (None, "fcsf", "did you mean 'fcfs'?"),
        ("routing", "fcfs", "unknown routing policy 'fcfs'"),
        ("rooting", "fcfs", "did you mean 'routing'?"),
        ("routing", "a_plugin:newest_first", "is a batching policy, a routing policy is needed"),
        ("routing", "a_plugin:plain", "is no declared policy"),
        ("batching", "a_plugin:newest", "did you mean 'newest_first'?"),
        (
            "batching",
            "broken_plugin:any",
            "for policy 'broken_plugin:any': no accelerator",
        ),
        ("batching", "no_such_module:any", "cannot import 'no_such_module'"),
        ("batching", ":any", "cannot import ''"),
    ],
)
def test_what_cannot_be_found_is_told_in_one_line(plugin: str, family: str | None, name: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        find(family, name)
    assert words in str(error.value)


def test_a_module_and_function_name_a_policy(plugin: str) -> None:
    assert find("batching", "a_plugin:newest_first").summary == "Newest first."


def test_an_installed_plug_in_is_listed_and_found_by_name(install: Callable[[str, str], None]) -> None:
    install("newest_first", "a_plugin:newest_first")
    assert "newest_first" in [policy.name for policy in policies("batching")]
    assert find("batching", "newest_first").source == "test"


def test_a_plug_in_cannot_take_the_name_of_another_policy(install: Callable[[str, str], None]) -> None:
    install("least_requests", "a_plugin:least_requests")
    with pytest.raises(InputError, match="has the name of another routing policy: least_requests"):
        policies()


def test_a_broken_plug_in_is_named_but_leaves_the_built_ins_usable(install: Callable[[str, str], None]) -> None:
    install("any", "broken_plugin:any")
    assert find("batching", "edf").name == "edf"
    with pytest.raises(InputError, match="policy 'any' of a plug-in cannot be loaded: no accelerator"):
        policies()
