"""`slackwise simulate` serves a trace and says what its numbers rest on."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from slackwise.cli.main import run
from slackwise.simulator import preset
from slackwise.simulator.configuration_file import configuration_from
from tests.cli.runs import QUICK, document, printed, refusal
from tests.shared import shared_data

MODEL, GPU = "Llama-3.2-11B-Vision", "A100-80GB"

NO_DECODE = """
[[cluster.pools]]
stages = "E"
instances = 4
[policies]
encode_routing = "least_requests"
encode_batching = "fcfs"
chunking = "none"
routing = "least_requests"
batching = "fcfs"
"""

TOO_SMALL = NO_DECODE.replace('"E"', '"EPD"') + '[cluster]\nmodel = "Llama-3.2-90B-Vision"\n'


def test_the_table_stands_beside_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "simulate", *QUICK, "--config", "modserve")
    for words in ("image_count sqrt", "Objectives: TTFT", "isolated request x 5, scale: work", "utilisation E", "p99"):
        assert words in out
    assert "image-heavy" in out


def test_json_holds_all_metrics_and_out_is_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    found = document(capsys, "simulate", *QUICK, "--out", str(path))
    assert found["requests"] == found["trace"]["requests"] == found["classes"]["all"]["requests"] > 500
    assert set(found["classes"]["all"]["ttft_s"]) == {"mean", "p50", "p90", "p99"}
    assert 0 < found["utilisation"]["EPD"] < 1
    assert document(capsys, "simulate", *QUICK) == found
    assert path.read_text(encoding="utf-8").startswith("{")


def test_the_seed_makes_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "simulate", *QUICK) != document(capsys, "simulate", *QUICK, "--seed", "1")


def test_set_changes_policies_and_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--set", "batching=least_slack", "--set", "batching.aging=0.5")
    found = document(capsys, "simulate", *QUICK, *settings)
    assert found["policies"]["batching"] == {"name": "least_slack", "knobs": {"aging": 0.5} | _rest(found)}


def test_overload_ends_in_a_verdict_and_admission_counts_whom_it_gave_up(capsys: pytest.CaptureFixture[str]) -> None:
    crowd = ("simulate", *QUICK, "--rate", "30", "--gpus", "4", "--drain-limit", "5")
    found = document(capsys, *crowd)
    assert found["verdict"]["word"] == "overloaded"
    assert found["failed"] == {"unfinished": found["verdict"]["unfinished"]}
    out = printed(capsys, *crowd[:-2], "--set", "admission=drop_late")
    assert "admission drop_late" in out
    assert "dropped" in out
    assert "Verdict: finished: the last of " in out


def _rest(found: dict[str, dict[str, dict[str, dict[str, object]]]]) -> dict[str, object]:
    return {key: value for key, value in found["policies"]["batching"]["knobs"].items() if key != "aging"}


def test_a_fleet_that_changes_is_told_in_a_line_and_turn_by_turn(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("simulate", *QUICK, "--config", "modserve+provisioning=horizontal_autoscaler")
    settings = ("--set", "provisioning.start_s=20", "--set", "provisioning.interval_s=30")
    out = printed(capsys, *arguments, *settings)
    assert "provisioning horizontal_autoscaler" in out
    assert "Fleet: E " in out
    found = document(capsys, *arguments, *settings)
    fleet, static = found["fleet"], document(capsys, "simulate", *QUICK, "--config", "modserve")
    assert 12 <= fleet["turns"] <= 16
    assert fleet["drained"] > 0
    assert fleet["timeline"][0]["time_s"] == pytest.approx(30.0, abs=1.0)
    assert found["gpu_hours"] < static["gpu_hours"]
    assert "fleet" not in static


def test_print_config_prints_that_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = printed(capsys, "simulate", "synthetic", "--config", "modserve", "--set", "batching=edf", "--print-config")
    expected = preset("modserve", MODEL)
    found = configuration_from(tomllib.loads(text), MODEL, GPU, 16)
    assert found.cluster == expected.cluster
    assert found.policies == expected.policies.changed(["batching=edf"])
    path = tmp_path / "printed.toml"
    path.write_text(text, encoding="utf-8")
    direct = document(capsys, "simulate", *QUICK, "--config", "modserve", "--set", "batching=edf")
    assert document(capsys, "simulate", *QUICK, "--config", str(path)) == direct


def test_events_are_written_beside_the_same_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plain = document(capsys, "simulate", *QUICK)
    for name in ("run.json.gz", "run.parquet"):
        assert document(capsys, "simulate", *QUICK, "--events", str(tmp_path / name)) == plain
        assert (tmp_path / name).stat().st_size > 1000


def test_a_limit_on_events_warns_of_those_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert run(["simulate", *QUICK, "--events", str(path), "--event-limit", "100", "--json"]) == 0
    captured = capsys.readouterr()
    left_out = json.loads(path.read_text(encoding="utf-8"))["otherData"]["left_out"]
    assert left_out > 1000
    assert f"warning: the event log holds the first 100 events; {left_out:,} were left out" in captured.err
    assert json.loads(captured.out)["requests"] > 500


def test_stages_show_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    plain = printed(capsys, "simulate", *QUICK, "--config", "modserve")
    out = printed(capsys, "simulate", *QUICK, "--config", "modserve", "--stages")
    words = ("By stage", "encode wait", "prefill", "Time of PD:", "Fragmentation of prefill", "Starvation", "Jain")
    for word in words:
        assert word in out
        assert word not in plain


def test_json_holds_stages_fragmentation_and_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "simulate", *QUICK, "--config", "modserve")
    stages = found["classes"]["image"]["stages"]
    assert stages["encode"]["requests"] == stages["transfer"]["requests"] == found["classes"]["image"]["requests"]
    low, high = found["confidence"]["classes"]["all"]["attainment"]
    assert 0 < low <= found["classes"]["all"]["attainment"] <= high <= 1.01
    assert set(found["fragmentation"]) == {"encode", "prefill"}
    none = document(capsys, "simulate", *QUICK, "--config", "modserve", "--resamples", "0")
    assert none["confidence"]["classes"]["all"]["attainment"] is None
    assert {key: each for key, each in none.items() if key != "confidence"} == {
        key: each for key, each in found.items() if key != "confidence"
    }


@pytest.mark.parametrize("rule", ["1min", "mser5"])
def test_a_warm_up_is_left_out_and_told(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = document(capsys, "simulate", *QUICK)
    found = document(capsys, "simulate", *QUICK, "--warm-up", rule)
    assert found["requests"] == whole["requests"] - found["warm_up"]["requests"]
    if rule == "1min":
        assert found["warm_up"]["seconds"] == 60.0
        assert found["warm_up"]["requests"] > 0
        assert "are served but not judged" in printed(capsys, "simulate", *QUICK, "--warm-up", rule)
    assert found["warm_up"]["seconds"] <= 180.0


def test_text_instances_change_the_ratio_on_the_same_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "simulate", *QUICK, "--config", "modserve", "--text-instances", "3")
    assert "4 x E TP-1" in found["cluster"]
    assert "3 x PD TP-4" in found["cluster"]


@pytest.mark.parametrize(
    ("name", "requests", "image_share"),
    [
        ("azure_lmm_2025_rows_2000.csv", 2000, 0.4),
        ("azure_llm_2023_code.csv", 8819, 0.0),
        ("azure_llm_2023_conv.csv", 19366, 0.0),
    ],
)
@pytest.mark.parametrize("config", ["vllm", "modserve"])
def test_real_traces_run_through(
    name: str, requests: int, image_share: float, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "simulate", str(shared_data(name)), "--config", config)
    assert found["requests"] == requests
    assert found["trace"]["image_share"] >= image_share
    assert found["classes"]["all"]["attainment"] > 0.5
    assert sum(each["requests"] for key, each in found["classes"].items() if key != "all") == requests


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "batching=edff"], "did you mean 'edf'"),
        (["--set", "batching=least_slack", "--set", "batching.agin=1"], "did you mean 'aging'"),
        (["--set", "batching=least_slack", "--set", "batching.aging=9"], "0.0 to 2.0"),
        (["--set", "bathing=edf"], "did you mean 'batching'"),
        (["--set", "provisioning.gpu_cap=8", "--set", "provisioning=gain_cost"], "less than the 16 GPUs"),
        (["--set", "provisioning.start_s=soon"], "provisioning.start_s = 'soon' must be a number"),
        (["--set", "provisioning.interval_s=0"], "must be positive"),
        (["--model", "InternVL2.5-62B"], "did you mean 'InternVL2.5-26B'"),
        (["--gpu", "H20O"], "did you mean 'H200'"),
        (["--config", "vlm"], "did you mean 'vllm'"),
        (["--config", "none.toml"], "no such file"),
        (["--gpus", "6"], "not a multiple"),
        (["--text-instances", "3"], "needs a configuration with separate encoders"),
        (["--config", "modserve", "--text-instances", "4"], "leave no encoder"),
        (["--hours", "1", "--to", "2h"], "not both"),
        (["--to", "2024-10-16T00:00:00Z"], "hours, not dates"),
        (["--out", "no/such/folder.json"], "no such folder"),
        (["--events", "no/such/folder.json"], "no such folder"),
        (["--warm-up", "soon"], "not a length of time"),
        (["--events", "run.csv"], "ends in .parquet, .json or .json.gz, not as run.csv does"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, "simulate", "synthetic", *arguments)


@pytest.mark.parametrize(("text", "words"), [(NO_DECODE, "needs a decode stage"), (TOO_SMALL, "does not fit")])
def test_a_cluster_that_cannot_serve_is_refused_and_nothing_written(
    text: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    arguments = (*QUICK, "--config", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "run.json"))
    assert words in refusal(capsys, "simulate", *arguments)
    assert [each.name for each in tmp_path.iterdir()] == ["bad.toml"]


def test_a_window_without_requests_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-16T08:36:32.709Z,1,3324,170\n", encoding="utf-8"
    )
    assert "no request in the window" in refusal(capsys, "simulate", str(path), "--from", "2h", code=7)


def test_a_warm_up_longer_than_the_trace_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "must end before the last arrival" in refusal(capsys, "simulate", *QUICK, "--warm-up", "2d")


def test_a_configuration_for_another_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "vllm"\n[cluster]\nmodel = "InternVL2.5-26B"\n', encoding="utf-8")
    line = refusal(capsys, "simulate", *QUICK, "--config", str(path), "--model", MODEL)
    assert "is for InternVL2.5-26B" in line


def test_text_instances_of_several_pools_of_a_kind_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pools = 2 * ['stages = "E"\ninstances = 4'] + ['stages = "PD"\ninstances = 2\ntensor_parallel = 4']
    path = tmp_path / "mine.toml"
    path.write_text('base = "modserve"\n' + "".join(f"[[cluster.pools]]\n{each}\n" for each in pools), encoding="utf-8")
    line = refusal(capsys, "simulate", *QUICK, "--config", str(path), "--text-instances", "2")
    assert "--text-instances needs one pool of a kind" in line


def test_faults_are_told_and_whom_they_hit_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    troubled = (
        "simulate",
        *QUICK,
        "--config",
        "modserve",
        "--faults",
        "mtbf_s=60,repair_s=20,retries=0,loss=0.3,tries=1",
    )
    found = document(capsys, *troubled)
    assert found["faults"] == "mtbf_s=60, repair_s=20, retries=0, loss=0.3, tries=1"
    assert set(found["failed"]) == {"crashed", "lost"}
    out = printed(capsys, *troubled)
    assert f"Faults: {found['faults']}" in out
    assert f"{found['failed']['crashed']:,} crashed" in out


def test_faults_that_cannot_be_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "faults.loss = 3 is not allowed: 0 to 1" in refusal(capsys, "simulate", *QUICK, "--faults", "loss=3")
