"""`slackwise calibrate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slackwise.cli.main import run

HEADER = "decodes,context_tokens,prompt_tokens,images,tiles,seconds"


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Exact steps of a linear model: 10 ms, 50 us a token, 0.1 us a KV token, 1 ns a pair."""
    decode = [(b, b * c, 0) for b in (1, 8, 32, 64) for c in (256, 1024, 4096)]
    prefill = [(0, 0, 2**k) for k in range(5, 14)]
    lines = [
        f"{b},{c},{p},0,0,{0.01 + 5e-5 * (b + p) + 1e-7 * c + 1e-9 * p * p / 2:.9f}" for b, c, p in [*decode, *prefill]
    ]
    path = tmp_path / "steps.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_profile_and_residuals_are_written(steps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, plot = steps.with_name("profile.json"), steps.with_name("residuals.png")
    arguments = ["--output", str(profile), "--plot", str(plot), "--kv-capacity-tokens", "9000", "--load-s", "40"]
    assert run(["calibrate", str(steps), *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(profile.read_text(encoding="utf-8"))
    assert document["constants"]["kv"] == pytest.approx(1e-7, rel=0.01)
    assert document["cross_validated_mape"] < 0.01
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_fit(steps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        assert run(["calibrate", str(steps), "--seed", "3"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_a_bad_line_leaves_no_profile(steps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps.write_text(steps.read_text(encoding="utf-8") + "1,100,0,0,0,-3\n", encoding="utf-8")
    profile = steps.with_name("profile.json")
    assert run(["calibrate", str(steps), "--output", str(profile)]) == 2
    assert "line 23: seconds must be positive, not -3" in capsys.readouterr().err
    assert not profile.exists()


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", "absent.csv"]) == 2
    assert "absent.csv" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--load-s", "nan"], ["--load-s", "inf"]])
def test_a_load_time_that_is_no_number_leaves_no_profile(
    steps: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    profile = steps.with_name("profile.json")
    assert run(["calibrate", str(steps), "--output", str(profile), *options]) == 2
    assert "load_s must be 0 or more and finite" in capsys.readouterr().err
    assert not profile.exists()
