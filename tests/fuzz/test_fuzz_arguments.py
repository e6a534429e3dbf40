"""Any arguments on the command line: one line and an exit code, never a traceback, and nothing left behind.

Commands that would measure, search or serve for minutes if their arguments happened to be right are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.cli.main import COMMANDS, run, slackwise
from tests.fuzz.examples import many
from tests.fuzz.readers import GPU, LMM

LONG = {"demo", "bench", "reproduce", "doctor", "train", "tune", "report", "measure", "watch"}
"""Whose arguments alone may start minutes of work, or which serve until they are stopped."""

SLOW = {("deploy", "up"), ("deploy", "scaler"), ("deploy", "picker"), ("trace", "fetch"), ("trace", "synth")}
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9}
VALUES = ("", "0", "-1", "nan", "inf", "1e400", "x", "a=b", "=", "trace.csv", "nowhere.csv", "folder", "vllm", GPU)


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is tried, with its words."""
    with click.Context(slackwise) as context:
        for name in sorted(COMMANDS.keys() - LONG):
            found = slackwise.get_command(context, name)
            assert found is not None
            if isinstance(found, click.Group):
                yield from (((name, each), inner) for each, inner in found.commands.items() if (name, each) not in SLOW)
            else:
                yield (name,), found


FOUND = dict(commands())


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """The words of a command, and options of its own with values that fit or not; often an option is unknown."""
    words = draw(st.sampled_from(sorted(FOUND)))
    value = st.one_of(st.sampled_from(VALUES), st.text(max_size=8).filter(lambda text: "\x00" not in text))
    options = [name for each in FOUND[words].params for name in each.opts if name.startswith("--")]
    line = [*words, *draw(st.lists(value, max_size=2))]
    for _ in range(draw(st.integers(0, 3))):
        line.append(draw(st.sampled_from([*options, "--unknown"])))
        line += draw(st.lists(value, max_size=1))
    return line


@many
@given(line=lines())
def test_arguments_are_taken_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], line: list[str]
) -> None:
    (tmp_path / "trace.csv").write_bytes(LMM)
    (tmp_path / "folder").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    code = run(line)
    said = capfd.readouterr().err
    assert code in CODES, (line, said)
    assert "Traceback" not in said
    if code == 2:
        assert len([each for each in said.splitlines() if each.startswith("slackwise: ")]) <= 1, (line, said)
        assert set(tmp_path.rglob("*")) == before, line
