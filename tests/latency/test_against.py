"""Scripts that set the roofline and the fit against measured steps, and the numbers of docs/latency.md they wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of
from tests.shared import shared_data

ROOT = Path(__file__).parents[2]
MODEL = "InternVL2.5-26B"
ENGINE_STEP_S = 2e-3
COLUMNS = [
    *("decodes", "context_tokens", "prompt_tokens", "images", "tiles", "seconds"),
    *("gpu", "model", "tensor_parallel"),
]


def steps(path: Path, factor: float, gpu: str = "NVIDIA H200", encode_factor: float = 1.0) -> Path:
    """A csv of steps that take `factor` times what the roofline's kernels do, in encode `encode_factor` times more."""
    costs = roofline(load_model(MODEL), load_gpu("H200"), 1)
    work = [(b, b * c, 0, 0) for b in (1, 16, 64) for c in (256, 2048, 8192)]
    work += [(0, 0, tokens, 0) for tokens in (64, 256, 1024, 4096)]
    work += [(16, 16 * 1024, tokens, 0) for tokens in (256, 2048)] + [(0, 0, 0, tiles) for tiles in (1, 5, 40)]
    rows = []
    for decodes, context, prompt, tiles in work:
        kernels = seconds_of(costs, decodes + prompt, context, prompt**2 / 2, tiles) - ENGINE_STEP_S * (tiles == 0)
        seconds = factor * kernels * (encode_factor if tiles else 1.0)
        rows.append([decodes, context, prompt, tiles // 5 + (tiles > 0), tiles, seconds, gpu, MODEL, 1])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def test_steps_that_take_twice_the_rooflines_kernels_score_an_error_of_a_half(modules: Any, tmp_path: Path) -> None:
    against, measured = modules("against"), modules("slackwise.latency.measured")
    found = against.compared(measured.read_steps(steps(tmp_path / "steps.csv", 2.0, encode_factor=2.0)), "vllm")
    assert set(found) == {"decode", "prefill", "mixed", "encode", "all"}
    for kind in ("decode", "prefill", "mixed"):
        assert found[kind]["roofline"]["bias"] == pytest.approx(-0.5, abs=1e-9)
    assert found["encode"]["roofline"]["bias"] == pytest.approx(-0.75, abs=1e-9)
    assert found["all"]["cross_validated_fit"]["mape"] < 0.1


@pytest.mark.parametrize("gpu", ["NVIDIA RTX 4090", ""])
def test_a_gpu_without_a_roofline_is_refused_in_one_line(
    gpu: str, modules: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert modules("against").main([str(steps(tmp_path / "steps.csv", 1.0, gpu))]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1


def test_calibrate_describes_every_measured_instance_of_vllm_within_ten_percent(modules: Any) -> None:
    table = modules("measurements").read(shared_data("perf_validation.csv"))[0]
    calibrated = modules("calibrated")
    found = calibrated.calibrated(table[(table["profile"] == "vllm") & (table["stage"] != "encode")])
    errors = found["error"].abs().groupby([found[name] for name in calibrated.INSTANCE]).mean()
    assert len(errors) == 12
    assert errors.max() < 0.1


def test_the_directions_in_the_docs_are_those_that_the_script_finds(modules: Any) -> None:
    directions = modules("directions")
    page = (ROOT / "docs" / "latency.md").read_text(encoding="utf-8")
    assert directions.tensor_parallelism() in page
    assert directions.hand_over() in page
    assert directions.encoders() in page
    assert directions.wider() in page


def test_a_table_is_put_between_its_markers_alone(modules: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n", encoding="utf-8")
    modules("report").publish("x", "new", page)
    assert page.read_text(encoding="utf-8") == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"
