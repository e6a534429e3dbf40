"""`slackwise latency show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slackwise.cli.main import run


def test_every_stage_has_seconds_and_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "show", "Llama-3.2-11B-Vision", "--gpu", "H100", "--tp", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    stages = {each["stage"] for each in document["stages"]}
    assert stages >= {"preprocess", "encode", "prefill", "mixed step", "decode step", "transfer", "load"}
    assert all(each["seconds"] > 0 and each["source"] for each in document["stages"])


def test_the_table_names_model_gpu_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "show", "qwen3", "--gpu", "h200"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Qwen3-VL-8B on 1 x H200 under vllm: KV cache")
    assert "[1] measured" in out


def test_the_curves_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.svg"
    assert run(["latency", "show", "InternVL2.5-26B", "--tp", "4", "--plot", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["Llama-3.2-11B", "--gpu", "H1000"], "did you mean 'H100'"),
        (["Lama-3.2-11B-Vision"], "did you mean 'Llama-3.2-11B-Vision'"),
        (["NVLM-D-72B"], "does not fit 1 x A100-80GB"),
        (["qwen3", "--tp", "3"], "tensor_parallel must be 1, 2, 4 or 8"),
        (["qwen3", "--image", "0", "9"], "width of an image must be at least 1"),
        (["qwen3", "--engine", "vllm-2023", "--gpu", "H200"], "unknown GPU of engine vllm-2023"),
        (["qwen3", "--plot", "curves.txt"], "a plot ends in .png"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["latency", "show", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err
    assert captured.err.count("\n") == 1
