"""`slackwise watch`: pools, queues, targets and attainment of a running application, live in the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from slackwise.cli.options import json_option, no_seed_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Look once, with what was attained since the start.")
@click.option("--every", "every_s", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds.")
@no_seed_option
@json_option
def command(folder: Path, once: bool, every_s: float, as_json: bool) -> None:
    """Watch what is up in FOLDER until interrupted; attainment is of what was judged since the look before."""
    from rich.console import Console
    from rich.live import Live

    from slackwise.adapters.ray.watching import window

    through = window(folder)
    first = through.look()
    if once or as_json:
        _say(first, as_json)
        while not once:
            time.sleep(every_s)
            _say(through.look(), as_json)
        return
    with Live(picture(first), console=Console(), auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(picture(through.look()), refresh=True)


def _say(document: dict[str, Any], as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        click.echo(json.dumps(document, allow_nan=False))
    else:
        Console().print(picture(document))


def picture(document: dict[str, Any]) -> Any:
    """The document as a table of the pools with the rest below."""
    from rich.table import Table

    table = Table(title=f"{document['endpoint']} {document['status']}", title_justify="left", caption_justify="left")
    table.add_column("pool")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, pool in document["pools"].items():
        table.add_row(name, *(_cell(pool[key]) for key in COLUMNS))
    table.caption = "\n".join(_words(document))
    return table


HEADINGS = ("there", "target", "wanted", "start", "drain", "wait", "run", "work s")
COLUMNS = ("replicas", "target", "wanted", "starting", "draining", "waiting", "running", "backlog_s")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _words(document: dict[str, Any]) -> list[str]:
    shares = [
        f"{objective.upper()} {each['met'] / each['judged']:.1%} of {each['judged']}" if each["judged"] else ""
        for objective, each in document["attained"].items()
    ]
    lines = [f"attained: {', '.join(filter(None, shares)) or 'nobody judged'}; {document['in_flight']} in flight"]
    if document["reason"] is not None:
        advice = "advice only; " if document["advisory"] else ""
        lines.append(f"provisioning: {advice}{document['reason']}")
    return [*lines, *([document["complaint"]] if document["complaint"] else [])]
