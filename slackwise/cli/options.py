"""Options and output that every command shares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from slackwise.errors import InputError
from slackwise.files import write_text

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every random stream."
)
out_option = click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to this file too.")

no_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), expose_value=False, help="Taken by every command; nothing is drawn here."
)
"""For commands without randomness, so that a script may pass its seed to all."""


def check_output(path: Path | None) -> None:
    """Raise InputError, before any work, if `path` cannot be written."""
    if path is not None and path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {path}: no such folder")


def write_json(path: Path | None, document: Any) -> None:
    """Write `document` to `path`, if there is one, whole or not at all."""
    if path is not None:
        write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_json(document: Any) -> None:
    """Print `document` as JSON on stdout; NaN and infinity are refused, so that every parser can read it."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
