"""Options and output that every command shares."""

from __future__ import annotations

import json
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every random stream."
)


def print_json(document: Any) -> None:
    """Print `document` as JSON on stdout; NaN and infinity are refused, so that every parser can read it."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
