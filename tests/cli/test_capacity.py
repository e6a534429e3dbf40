"""`slackwise capacity` prints the highest rate within the objectives, or why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runs import document, printed, refusal

HALF_HOUR = ("synthetic", "--from", "1d", "--hours", "0.5")


def test_each_configuration_gets_a_line_with_both_ends_of_the_bracket(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "capacity", *HALF_HOUR)
    for words in ("image_count sqrt", "vllm:", "vllm-0.7:", "modserve:", "requests/s", "; not ", "Objectives: TTFT"):
        assert words in out


def test_json_holds_the_rate_the_factor_and_the_bracket(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    found = document(capsys, "capacity", *HALF_HOUR, "--configs", "vllm", "--out", str(path))["configurations"][0]
    assert found["verdict"] == "found"
    assert found["passing"]["attainment"] >= 0.99 > found["failing"]["attainment"]
    assert found["factor"] == found["passing"]["factor"]
    assert path.exists()


def test_a_run_that_no_rate_saves_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "capacity", *HALF_HOUR, "--configs", "vllm", "--slo-factor", "0.5")
    assert "vllm: none. Even at" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "2"], "target is 2"),
        (["--tolerance", "0"], "tolerance is 0"),
        (["--highest", "0.001"], "highest rate factor"),
        (["--configs", "vlm"], "did you mean 'vllm'"),
        (["--configs", ","], "names no configuration"),
        (["--out", "no/such/folder.json"], "no such folder"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, "capacity", *HALF_HOUR, *arguments)
