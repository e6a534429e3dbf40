"""What every package stands on: errors, files written whole, named streams, optional imports, a quick import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slackwise.errors import CheckError, InfeasibleError, InputError, LimitError, SlackwiseError, unknown
from slackwise.files import write_text, written_whole
from slackwise.optional import require
from slackwise.streams import stream


def test_every_error_has_the_exit_code_of_the_conventions() -> None:
    codes = {each: each.exit_code for each in (SlackwiseError, InputError, InfeasibleError, LimitError, CheckError)}
    assert list(codes.values()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("name", "closest"), [("a100", "A100-80GB"), ("H10", "H100"), ("H20", "H200")])
def test_an_unknown_name_is_answered_with_the_closest_and_all_known_ones(name: str, closest: str) -> None:
    text = str(unknown("GPU", name, ["H200", "H100", "A100-80GB"]))
    assert text.startswith(f"unknown GPU '{name}': did you mean '{closest}'?")
    assert text.endswith("Known: A100-80GB, H100, H200")


def test_nothing_is_left_of_a_file_whose_writing_failed(tmp_path: Path) -> None:
    target = tmp_path / "kept.txt"
    write_text(target, "before")

    def fail() -> None:
        with written_whole(target) as part:
            part.write_text("half", encoding="utf-8")
            raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        fail()
    assert target.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "missing" / "file.txt", "text")


def test_streams_are_their_own_and_come_back_with_their_seed() -> None:
    first, again = stream(1, "arrivals").random(4), stream(1, "arrivals").random(4)
    assert first.tolist() == again.tolist()
    assert first.tolist() != stream(1, "routing").random(4).tolist()
    assert first.tolist() != stream(2, "arrivals").random(4).tolist()


def test_a_missing_optional_dependency_names_the_line_that_installs_it() -> None:
    with pytest.raises(InputError, match=r"pip install 'slackwise\[tune\]'"):
        require("no_such_package.part", "tune")


def test_the_package_and_its_command_import_no_optional_dependency() -> None:
    loaded = "import sys, slackwise, slackwise.cli.main; print([m for m in sys.modules if '.' not in m])"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    for module in ("numba", "pandas", "pyarrow", "optuna", "matplotlib", "torch", "vllm"):
        assert f"'{module}'" not in answer
