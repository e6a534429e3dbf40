"""The fidelity benchmark: scores of the shipped constants, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SLACKWISE_SHARED", ROOT.parent / "shared")) / "data" / "perf_validation.csv"
HEADER = "gpu,model,tp,engine,phase,batch,prompt_tokens,total_new_tokens,context,ms"


def roofline(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "fidelity" / "roofline.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    if not DATA.exists():
        pytest.skip("the measured step times (shared/data/perf_validation.csv) are absent")
    document: dict[str, Any] = json.loads(roofline("--score", str(DATA), "--json").stdout)
    return document


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100", "H200"])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_composed_steps_of_vllm_are_within_five_percent(scores: dict[str, Any], stage: str, gpu: str) -> None:
    found = scores["by_stage_and_gpu"][f"vllm {stage} {gpu}"]
    assert found["mape"] < 0.05
    assert found["p90"] < 0.10


def test_the_encoder_that_no_fit_ever_saw_is_within_six_percent(scores: dict[str, Any]) -> None:
    assert scores["by_stage"]["encode"]["mape"] < 0.06


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100"])
def test_sums_of_kernels_are_within_six_percent(scores: dict[str, Any], gpu: str) -> None:
    assert scores["by_stage_and_gpu"][f"torch dense_ops {gpu}"]["mape"] < 0.06


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100"])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_steps_measured_end_to_end_are_within_twelve_percent(scores: dict[str, Any], stage: str, gpu: str) -> None:
    assert scores["by_stage_and_gpu"][f"vllm-2023 {stage} {gpu}"]["mape"] < 0.12


def test_overheads_that_add_up_are_nearer_to_decodes_than_hidden_ones() -> None:
    if not DATA.exists():
        pytest.skip("the measured step times (shared/data/perf_validation.csv) are absent")
    command = [sys.executable, str(ROOT / "benchmarks" / "fidelity" / "hidden.py"), str(DATA)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if "| decode |" in line]
    errors = {(row[1], row[2]): float(row[5].rstrip("%")) for row in cells}
    for (form, gpu), error in errors.items():
        assert error >= errors["add up (shipped)", gpu], form
    assert len(errors) == 8


def test_a_step_that_takes_twice_as_long_as_predicted_scores_an_error_of_a_half(tmp_path: Path) -> None:
    def score(ms: float) -> dict[str, Any]:
        path = tmp_path / "rows.csv"
        path.write_text(f"{HEADER}\nH100-SXM-80GB,Llama-3.1-8B,1,vllm 1,decode,8,512,8,512,{ms}\n", encoding="utf-8")
        document: dict[str, Any] = json.loads(roofline("--score", str(path), "--json").stdout)
        return document

    measured = 1000.0
    predicted = measured * (1 + score(measured)["bias"])
    assert score(2 * predicted)["bias"] == pytest.approx(-0.5, abs=1e-6)
    assert score(predicted)["mape"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gpu,model\nH100,x\n", "no column tp, engine"),
        (f"{HEADER}\nH100-SXM-80GB,Llama-3.1-8B,1,vllm 1,decode,8,512,8,512,-1\n", "line 2: ms must be positive"),
        (f"{HEADER}\nH100-SXM-80GB,Unheard-Of-9B,1,vllm 1,decode,8,512,8,512,9\n", "no row with a known GPU"),
        ("", "No columns to parse"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    done = roofline("--score", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
