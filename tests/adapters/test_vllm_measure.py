"""Measured steps are what calibrate reads; a run that was broken off goes on; bad input is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.vllm.measure import Design, Point
from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.latency.measured import read_steps

ENGINE = (
    '{"load_format": "dummy", "dtype": "float32", "enforce_eager": true, "max_num_seqs": 8, "block_size": 32,'
    ' "max_num_batched_tokens": 512, "kv_cache_memory_bytes": 67108864, "max_model_len": 1024}'
)


def measured(tiny: Path, path: Path, *more: str) -> int:
    """The exit code of a small measurement."""
    sweeps = ["--decodes", "1,4", "--contexts", "32,400", "--prompts", "16,200,2000", "--images", "1,3"]
    given = ["--output", str(path), "--gpu", "CPU", "--name", "tiny", "--image-side", "112", "--steps", "3"]
    return run(["measure", str(tiny), *given, *sweeps, "--repeats", "1", "--engine-args", ENGINE, *more])


def test_measured_steps_are_read_by_calibrate_and_a_second_run_goes_on(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "steps.csv"
    assert measured(tiny, path, "--json") == 0
    assert '"points_measured": 8' in capsys.readouterr().out  # prompts of 2,000 tokens do not fit
    steps = read_steps(path)
    assert set(steps.decodes) == {0.0, 1.0, 4.0}
    assert set(steps.tiles) == {0.0, 1.0, 3.0}
    assert ((steps.context_tokens > 0) == (steps.decodes > 0)).all()
    assert steps.instance["gpu"] == "CPU"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("images")) + "\n")
    assert measured(tiny, path, "--json") == 0
    assert '"points_measured": 2' in capsys.readouterr().out
    assert len(path.read_text().splitlines()) == len(lines)
    assert measured(tiny, path, "--tensor-parallel", "1", "--name", "other") == 2
    assert "name another file" in capsys.readouterr().err


def test_points_fit_the_engine() -> None:
    design = Design(decodes=(1, 64), contexts=(100, 5000), prompts=(10, 9000), images=(1,))
    assert [point.name for point in design.points(4096, 32, 2048)] == [
        "decode-1x100+0",
        "prefill-1x10+0",
        "images-1x32+1",
    ]
    crowded = next(iter(Design(decodes=(8,), contexts=(1000,), steps=5).points(4096, 32, 2048)))
    assert crowded.outputs == 5 + 1 + 4  # four steps prefill all eight
    assert Point("decode", 2, 5).name == "decode-2x5+0"


@pytest.mark.parametrize("bad", [{"decodes": (0,)}, {"steps": -1}, {"prompts": ("a",)}])
def test_designs_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="whole numbers above 0"):
        Design(**bad)


@pytest.mark.parametrize(
    ("option", "value"), [("--decodes", "1,x"), ("--images", "0"), ("--engine-args", "["), ("--engine-args", "3")]
)
def test_options_are_checked(vllm: Any, option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["measure", "m", "--output", "o.csv", "--gpu", "g", option, value]) == 2
    assert option in capsys.readouterr().err
