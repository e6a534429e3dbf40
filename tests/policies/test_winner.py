"""winner.json comes back bit for bit, and is refused where the policies here would decide otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slackwise.errors import CheckError, InputError, SlackwiseError
from slackwise.policies.bundle import Policies, PolicyChoice
from slackwise.policies.golden import Golden, record_golden
from slackwise.policies.golden_plan import GoldenPlan, record_plans
from slackwise.policies.winner import Winner, check_tuned_for, read_winner, write_winner
from slackwise.testing.records import random_cases
from slackwise.testing.views import random_questions


@pytest.fixture
def winner() -> Winner:
    policies = Policies(
        encode_routing=PolicyChoice("power_of_two"),
        encode_batching=PolicyChoice("least_slack", {"quantile": 0.9}),
        chunking=PolicyChoice("tile_budget"),
        routing=PolicyChoice("predicted_completion"),
        batching=PolicyChoice("modality_class_aging"),
        provisioning=PolicyChoice("horizontal_autoscaler"),
    )
    cases = random_cases(16, seed=3)
    golden = record_golden(policies, zip(cases.requests, cases.instances, cases.nows, strict=True))
    memory = (((1.0, 3),), ((1.0, 5),))
    plans = record_plans(policies, [(pools, now, memory) for pools, now in random_questions(3, 0, kind=1)])
    cluster = {"text": {"instances": 2, "tensor_parallel": 4}, "image": {"instances": 8, "tensor_parallel": 1}}
    tuned_for = ("llama-3.2-11b", "A100-80GB", cluster, {"ttft_text_s": 0.5})
    return Winner(
        policies,
        *tuned_for,
        scores={"goodput": 0.9},
        provisioning={"gpu_cap": 32},
        trace={"searched": {"sha256": "0" * 64}},
        provenance={"command": "slackwise tune", "seed": 0},
        golden=(*golden, *plans),
    )


@pytest.fixture
def changed(winner: Winner, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """The path of the winner written, read as JSON, changed by a function, and written again."""

    def change(edit: Callable[[dict[str, Any]], object]) -> Path:
        path = tmp_path / "winner.json"
        write_winner(path, winner)
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(document))
        return path

    return change


def test_a_winner_comes_back_as_it_was(winner: Winner, tmp_path: Path) -> None:
    write_winner(tmp_path / "winner.json", winner)
    assert read_winner(tmp_path / "winner.json") == winner


def test_golden_decisions_cover_every_role_and_infinite_costs(winner: Winner) -> None:
    roles = {"encode_routing", "encode_batching", "chunking", "routing", "batching", "decode_routing"}
    roles |= {"admission", "provisioning"}
    assert {each.to_dict()["role"] for each in winner.golden} == roles
    assert any(each.value == math.inf for each in winner.golden if isinstance(each, Golden))
    assert any(each.plan.memory for each in winner.golden if isinstance(each, GoldenPlan))


def test_another_plan_is_refused(changed: Callable[[Callable[[dict[str, Any]], object]], Path]) -> None:
    def nudge(document: dict[str, Any]) -> None:
        golden = next(each for each in document["golden"] if each["role"] == "provisioning")
        golden["plan"]["targets"][0] += 1

    with pytest.raises(CheckError, match="provisioning policy 'horizontal_autoscaler' gives Plan"):
        read_winner(changed(nudge))


def test_one_bit_of_difference_in_a_decision_is_refused(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    def nudge(document: dict[str, Any]) -> None:
        golden = next(each for each in document["golden"] if each["role"] == "routing")
        golden["value"] = math.nextafter(golden["value"], math.inf)

    path = changed(nudge)
    with pytest.raises(CheckError, match="routing policy 'predicted_completion' gives"):
        read_winner(path)


def test_a_knob_changed_by_hand_is_refused(changed: Callable[[Callable[[dict[str, Any]], object]], Path]) -> None:
    path = changed(lambda document: document["policies"]["batching"]["knobs"].update(alpha=2.0))
    with pytest.raises(CheckError, match="not those that were tuned"):
        read_winner(path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda document: document.update(format=4), "format 4, this slackwise reads up to 3"),
        (lambda document: document.pop("format"), "not a winner: format is None"),
        (lambda document: document.pop("model"), "winner lacks model"),
        (lambda document: document.update(modle="x"), "did you mean 'model'?"),
        (lambda document: document.update(gpu=5), "gpu must be a str, not int"),
        (lambda document: document.pop("actor"), "winner lacks actor"),
        (lambda document: document.update(actor=[]), "actor must be a dict, not list"),
        (lambda document: document.update(router=[]), "router must be a dict, not list"),
        (lambda document: document.update(provenance=None), "provenance must be a dict, not NoneType"),
        (lambda document: document.update(golden={}), "golden must be a list, not dict"),
        (lambda document: document["golden"][0].update(role="batch"), "did you mean 'batching'?"),
        (lambda document: document["golden"][-1].update(pools=5), "a golden plan has a list of pools"),
        (lambda document: document["golden"][-1]["plan"].update(target=5), "did you mean 'targets'?"),
        (lambda document: document["golden"][-1]["pools"][0].update(gpus=5), "did you mean 'gpus_per_instance'?"),
        (lambda document: document["golden"][0].update(now_s="soon"), "now_s must be a number, not 'soon'"),
        (lambda document: document["golden"][0].update(value=10**400), "value must be a number"),
        (lambda document: document["golden"][0]["request"].update(imagez=1), "did you mean 'images'?"),
        (lambda document: document["golden"][0]["request"].update(images=0.5), "images must be a whole number"),
        (lambda document: document["golden"][0]["request"].update(images=2**40), "images must be a whole number"),
        (lambda document: document["golden"][0]["request"].update(arrival_s=[1]), "arrival_s must be a number"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(
    edit: Callable[[dict[str, Any]], object],
    words: str,
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    path = changed(edit)
    with pytest.raises(InputError) as error:
        read_winner(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_winner_is_for_the_model_and_gpu_it_was_tuned_for(winner: Winner) -> None:
    check_tuned_for(winner, "llama-3.2-11b", "A100-80GB")
    with pytest.raises(InputError, match=r"tuned for model llama-3.2-11b, not other: .*--force-bundle"):
        check_tuned_for(winner, "other", "A100-80GB")
    with pytest.raises(InputError, match="tuned for GPU A100-80GB, not H100"):
        check_tuned_for(winner, "llama-3.2-11b", "H100")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04\x95cos\nsystem\n", b"5"])
def test_what_is_no_winner_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "winner.json").write_bytes(content)
    with pytest.raises(InputError):
        read_winner(tmp_path / "winner.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_winner(tmp_path / "none.json")


def test_a_winner_that_is_no_json_leaves_nothing_behind(winner: Winner, tmp_path: Path) -> None:
    winner.scores["ttft_p99_s"] = math.nan
    with pytest.raises(SlackwiseError, match="cannot be written as JSON"):
        write_winner(tmp_path / "winner.json", winner)
    assert list(tmp_path.iterdir()) == []
