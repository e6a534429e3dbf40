"""`slackwise explain`: why a request waited in vLLM."""

from __future__ import annotations

from pathlib import Path

import click

from slackwise.cli.options import json_option, no_seed_option, print_json


@click.command()
@click.argument("decisions", type=click.Path(path_type=Path))
@click.argument("request_id", required=False)
@click.option("--longest", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Without a REQUEST_ID.")
@no_seed_option
@json_option
def command(decisions: Path, request_id: str | None, longest: int, as_json: bool) -> None:
    """Say why REQUEST_ID (or the only request whose id contains it) waited, from the DECISIONS that the plug-in wrote.

    Without REQUEST_ID list those that waited longest. The file is `decisions` in the plug-in's settings.
    """
    from slackwise.adapters.vllm.explain import read_decisions, sentences, story, waits

    rows = read_decisions(decisions)
    if request_id is not None:
        told = story(rows, request_id)
        if as_json:
            print_json(told.to_json())
        else:
            click.echo("\n".join(sentences(told)))
        return
    found = waits(rows)[:longest]
    if as_json:
        print_json([{"request": name, "waited_s": seconds} for name, seconds in found])
    else:
        for name, seconds in found:
            click.echo(f"{seconds:10.3f} s  {name}")
