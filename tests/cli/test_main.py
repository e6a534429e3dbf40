"""The command line as a whole: every command answers, errors are one line, exit codes are those promised."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slackwise import __version__
from slackwise.cli.main import COMMANDS, run
from slackwise.errors import CheckError, InfeasibleError, LimitError, SlackwiseError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage: slackwise" in capsys.readouterr().out


def test_help_lists_every_command_and_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_an_unknown_command_names_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulat"]) == 2
    assert "did you mean 'simulate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SlackwiseError("no"), 1),
        (InfeasibleError("no"), 3),
        (LimitError("no"), 4),
        (CheckError("no"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_end_with_their_exit_code_in_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("slackwise.cli.main.slackwise.main", fail)
    assert run([]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_help_of_the_whole_loads_no_command_and_no_optional_dependency() -> None:
    script = (
        "import sys; from slackwise.cli.main import run; run(['--help']); "
        "heavy = {'numba', 'pandas', 'optuna', 'matplotlib', 'slackwise.simulator'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


EVERY_COMMAND = [
    "demo", "simulate", "compare", "capacity", "policies list", "policies show", "bench kernel", "bench env",
    "trace describe", "trace slice", "trace scale", "trace split", "trace fetch", "trace synthesize", "trace convert",
    "latency show", "calibrate",
]  # fmt: skip


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_every_command_takes_json_and_a_seed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert "--json" in told
    assert "--seed" in told


def test_a_group_without_a_command_shows_its_help_as_it_is_laid_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace"]) == 2
    assert "\n  synthesize " in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "slackwise", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
