"""`slackwise compare` ranks configurations and says which differences are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from slackwise.cli.main import run
from tests.cli.runs import QUICK, document, printed, refusal
from tests.shared import shared_data

HALF_HOUR = ("synthetic", "--from", "1d", "--hours", "0.5", "--rate", "3", "--resamples", "200")


def test_the_tables_stand_beside_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compare", *HALF_HOUR)
    for words in ("image_count sqrt", "Objectives: TTFT", "utilisation", "baseline", "Intervals: 95 %, paired"):
        assert words in out
    assert "no difference shown" in out or "better" in out


def test_json_holds_rows_differences_and_the_bootstrap(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    found = document(capsys, "compare", *HALF_HOUR, "--baseline", "vllm-0.7", "--out", str(path))
    assert found["baseline"] == "vllm-0.7"
    assert sorted(found["ranking"]) == ["modserve", "vllm", "vllm-0.7"]
    rows = {each["name"]: each for each in found["configurations"]}
    difference = rows["modserve"]["differences"]["image"]["ttft_p99_s"]
    assert difference["value"] == rows["modserve"]["classes"]["image"]["ttft_s"]["p99"]
    assert rows["vllm-0.7"]["differences"] is None
    assert found["bootstrap"]["block_s"] >= 60
    assert path.exists()


def test_changes_and_files_are_configurations_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "modserve"\n[policies]\nbatching = "edf"\n', encoding="utf-8")
    configs = f"modserve,modserve+batching=edf,{path}"
    found = document(capsys, "compare", *QUICK, "--configs", configs)
    names = [each["name"] for each in found["configurations"]]
    assert names == ["modserve", "modserve+batching=edf", "mine"]
    changed, own = found["configurations"][1:]
    assert changed["policies"] == own["policies"]
    assert changed["classes"] == own["classes"]


def test_the_busiest_instance_is_clearly_worse(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "compare", *HALF_HOUR, "--configs", "vllm,vllm+routing=busiest_instance")
    assert found["ranking"] == ["vllm", "vllm+routing=busiest_instance"]
    bad = found["configurations"][1]["differences"]["all"]
    assert bad["attainment"]["verdict"] == bad["ttft_mean_s"]["verdict"] == "worse"


@pytest.mark.parametrize("name", ["azure_lmm_2025_rows_2000.csv", "azure_llm_2023_code.csv", "azure_llm_2023_conv.csv"])
def test_real_traces_run_through(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "compare", str(shared_data(name)), "--resamples", "200")
    assert len(found["configurations"]) == 3
    assert found["bootstrap"]["intervals"]
    for each in found["configurations"][1:]:
        row = each["differences"]["all"]["attainment"]
        low, high = row["interval"]
        assert low <= row["difference"] <= high


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--configs", "vllm,modsrve"], "did you mean 'modserve'"),
        (["--baseline", "vlm"], "did you mean 'vllm'"),
        (["--metric", "attaiment"], "did you mean 'attainment'"),
        (["--configs", ","], "names no configuration"),
        (["--configs", "vllm,vllm"], "two configurations are called 'vllm'"),
        (["--configs", "vllm,vllm+batching=edff"], "did you mean 'edf'"),
        (["--block-s", "-1"], "--block-s"),
        (["--out", "no/such/folder.json"], "no such folder"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, "compare", *QUICK, *arguments)


def test_different_models_are_not_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text('base = "vllm"\n[cluster]\nmodel = "InternVL2.5-26B"\n', encoding="utf-8")
    assert "different models" in refusal(capsys, "compare", *QUICK, "--configs", f"vllm,{path}")


def test_a_bundle_is_served_for_another_model_only_if_forced(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(Path(__file__).parents[1] / "data" / "bundles" / "format-1.json")
    arguments = ("compare", *QUICK, "--configs", bundle, "--gpu", "H100")
    assert "tuned for GPU A100-80GB, not H100" in refusal(capsys, *arguments)
    found = document(capsys, *arguments, "--force-bundle")
    assert "H100" in found["configurations"][0]["cluster"]


def test_a_latency_error_repeats_the_comparison_and_says_whether_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", *QUICK, "--configs", "vllm,vllm+routing=busiest_instance", "--resamples", "100")
    found = document(capsys, *arguments, "--latency-error", "0.15")["robustness"]
    assert found["holds"] is True
    assert {each["factor"] for each in found["cases"]} == {0.85, 1.15}
    out = printed(capsys, *arguments, "--latency-error", "0.15")
    assert "The ranking holds under an error of 15%" in out
    assert "kv_s_per_token x 0.85" in out
    assert "--latency-error" in refusal(capsys, *arguments, "--latency-error", "1.5")


def test_all_are_compared_under_the_same_faults_or_not_at_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "faulty.toml"
    path.write_text('base = "vllm"\n[faults]\nloss = 0.1\n')
    command = ("compare", *QUICK, "--configs", f"vllm,{path}")
    assert "under different faults cannot be compared" in refusal(capsys, *command)
    found = document(capsys, *command, "--faults", "mtbf_s=120,repair_s=30")
    assert {each["name"] for each in found["configurations"]} == {"vllm", "faulty"}


SUITE = ("compare", "synthetic", "--from", "1d", "--hours", "0.3", "--rate", "2", "--suite", "--suite-requests", "200")
FAST = ("--candidates", "edf,random", "--budget", "3000", "--resamples", "100")


def test_the_suite_prints_the_table_and_a_verdict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bundle = tmp_path / "named.json"
    out = printed(capsys, *SUITE, *FAST, "--bundle", str(bundle))
    for words in ("Budget of every search: 3,000", "best of the rules", "worst", "Gain over the default", "regret"):
        assert words in out
    assert "inner: " in out.splitlines()[-1] or "No winner" in out.splitlines()[-1]
    found = document(capsys, *SUITE, "--candidates", str(bundle), "--resamples", "100")
    assert [row["name"] for row in found["rows"]] == ["default", "named"]


def test_a_required_winner_that_is_not_there_is_exit_code_5(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SUITE, "--candidates", "reverse_slack", "--resamples", "100", "--require-winner"]
    assert run(arguments) == 5
    assert "No winner" in capsys.readouterr().err.splitlines()[-1]


def test_options_of_the_suite_are_refused_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "synthetic", "--candidates", "default,tpe@1"]) == 2
    assert capsys.readouterr().err == "slackwise: --candidates needs --suite\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--candidates", "eddf"], "did you mean 'edf'"),
        (["--metric", "atainment"], "did you mean 'attainment'"),
        (["--bundle", "no/such/folder.json"], "no such folder"),
        (["--test-share", "0"], "above 0 and below 1"),
    ],
)
def test_bad_input_of_the_suite_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(capsys, *SUITE, *arguments)
