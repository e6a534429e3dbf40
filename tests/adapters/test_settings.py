"""The settings of the plug-in are checked, each complaint in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.vllm.settings import Settings, read_settings
from slackwise.adapters.vllm.setup import Engine, same_model, set_up, unapplied
from slackwise.adapters.vllm.support import check_supported, minor
from slackwise.errors import InputError, SlackwiseError
from slackwise.policies.winner import read_winner
from tests.adapters.bundles import GPU, MODEL, bundle

ENGINE = Engine("org/llava-onevision-7b", "NVIDIA A100-SXM4-80GB", 1)


def test_settings_come_from_additional_config() -> None:
    assert read_settings({"slackwise": {"bundle": "w.json", "longest_wait_s": None}}) == Settings(
        "w.json", longest_wait_s=None
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "no bundle"),
        ({"slackwise": {"force": True}}, "no bundle"),
        ({"slackwise": 3}, "no bundle"),
        ({"slackwise": {"bundle": 3}}, "bundle = 3 must be a path"),
        ({"slackwise": {"bundle": "w", "bundel": 1}}, "did you mean 'bundle'"),
        ({"slackwise": {"bundle": "w", "force": "yes"}}, "must be true or false"),
        ({"slackwise": {"bundle": "w", "longest_wait_s": -1}}, "must be seconds above 0"),
        ({"slackwise": {"bundle": "w", "objectives": {"text": 1}}}, "unknown key of slackwise.objectives"),
        ({"slackwise": {"bundle": "w", "objectives": {"models": {"a": {"text_ttft_s": 0}}}}}, "models.a.text_ttft_s"),
    ],
)
def test_bad_settings_are_one_line(document: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_settings(document)
    assert "\n" not in str(caught.value)


def test_a_bundle_for_this_engine_is_taken_as_it_is(tmp_path: Path) -> None:
    setup = set_up(Settings(str(bundle(tmp_path / "w.json", "batching=least_slack"))), ENGINE)
    assert setup.mind.batching.name == "least_slack"
    assert setup.mind.fixed_order
    assert setup.notes == ()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (
            Engine("org/other-model", "NVIDIA A100-SXM4-80GB", 1),
            f"tuned for model {MODEL}, the engine serves org/other",
        ),
        (Engine(f"org/{MODEL}", "NVIDIA H100 80GB HBM3", 1), f"tuned for GPU {GPU}"),
    ],
)
def test_a_bundle_for_another_engine_has_to_be_forced(tmp_path: Path, engine: Engine, words: str) -> None:
    path = str(bundle(tmp_path / "w.json"))
    with pytest.raises(InputError, match=words):
        set_up(Settings(path), engine)
    assert words.split(",")[0] in set_up(Settings(path, force=True), engine).notes[0]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": 99}', '{"format": 2}'])
def test_a_bundle_that_is_none_is_one_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "w.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SlackwiseError) as caught:
        set_up(Settings(str(path)), ENGINE)
    assert "\n" not in str(caught.value)


def test_what_does_not_apply_inside_one_engine_is_named(tmp_path: Path) -> None:
    path = bundle(tmp_path / "w.json", "admission=drop_late", "provisioning=horizontal_autoscaler")
    told = unapplied(read_winner(path))
    assert told == [
        "not applied inside one engine: admission = drop_late",
        "not applied inside one engine: provisioning = horizontal_autoscaler",
    ]


@pytest.mark.parametrize(
    ("served", "same"),
    [("OpenGVLab/InternVL2_5-26B", True), ("/models/InternVL2.5-26B-AWQ/", True), ("OpenGVLab/InternVL2_5-8B", False)],
)
def test_models_are_known_by_name(served: str, same: bool) -> None:
    assert same_model("InternVL2.5-26B", served) is same


def test_an_untested_vllm_is_refused_unless_forced() -> None:
    assert minor("0.32.0+cpu") == "0.32"
    check_supported("0.32.1")
    check_supported("0.99.0", force=True)
    with pytest.raises(InputError, match="tested with"):
        check_supported("0.99.0")
