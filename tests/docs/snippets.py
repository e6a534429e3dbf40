"""How the blocks of a page are run: commands in this process, Python in one namespace a page, files read.

A block below `<!-- not run: why -->` is only checked: options of its commands are parsed, its Python is compiled.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path

import click
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from slackwise.cli.main import run, slackwise
from slackwise.simulator.configuration_file import read_configuration

LANGUAGES = {"sh", "python", "toml", "csv", "text"}
"""What a fence may say; `text` is not looked at."""

NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")


def blocks(page: Path) -> Iterable[Example]:
    """The examples of a page, in order."""
    languages = {"sh": shell, "python": python, "toml": toml, "csv": csv}
    return Document.parse(str(page), *(CodeBlockParser(name, each) for name, each in languages.items())).examples()


def runs(example: Example) -> bool:
    """Whether the block is run, and not only checked."""
    return not NOT_RUN.search(example.document.text[: example.start])


def shell(example: Example) -> None:
    """Run the commands of slackwise; anything else needs the mark."""
    for command in commands(example.parsed):
        if runs(example):
            assert command[0] == "slackwise", f"{command[0]}: only slackwise is run; mark the block as not run"
            assert run(command[1:]) == 0, f"{shlex.join(command)} failed"
        elif command[0] == "slackwise":
            parse(slackwise, "slackwise", command[1:])


def commands(block: str) -> list[list[str]]:
    """The words of each command, without comments; a backslash continues a line."""
    lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words]


def parse(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Parse the arguments of a command that is not run: an option that is gone raises click.UsageError."""
    if ">" in words:
        words = words[: words.index(">")]
    with command.make_context(name, list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            found, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None
            parse(inner, str(found), rest, context)


def python(example: Example) -> None:
    """Run the block in the page's namespace; one that begins with `# name.py` is written to that file too."""
    if named := re.match(r"# (\w+\.py)\n", example.parsed):
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
    if runs(example):
        PythonEvaluator()(example)
    else:
        compile(example.parsed, example.path, "exec")


def toml(example: Example) -> None:
    """Read it; a configuration of a service is built."""
    document = tomllib.loads(example.parsed)
    if "base" in document:
        Path("block.toml").write_text(example.parsed, encoding="utf-8")
        read_configuration("block.toml", "InternVL2.5-26B", "A100-80GB", 16)


def csv(example: Example) -> None:
    """Write it where the commands after it look for it."""
    Path("mine.csv").write_text(example.parsed, encoding="utf-8")
