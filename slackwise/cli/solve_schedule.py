"""`slackwise solve schedule`: how far policies are from the best possible schedule of a window."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from slackwise.cli.inputs import Inputs, changed, check_used, input_options
from slackwise.cli.options import check_output, json_option, out_option, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.solve import seconds_option
from slackwise.cli.tables import console, number, objective_line, trace_facts, trace_line


@click.command()
@input_options
@click.option("--config", default="vllm", show_default=True, help="A preset, a .toml file or a winner.json: the fleet.")
@click.option("--set", "settings", multiple=True, metavar="ROLE[.KNOB]=VALUE", help="Change a policy or a knob.")
@click.option(
    "--objective",
    type=click.Choice(["late", "tardiness", "ttft"]),
    default="late",
    show_default=True,
    help="Late requests; seconds beyond the TTFT objectives; seconds to the first token.",
)
@click.option("--sequences", type=click.IntRange(min=1), help="Requests an instance runs at a time; 1 has exact rungs.")
@click.option(
    "--work", type=click.FloatRange(min=0), default=10.0, show_default=True, help="CP-SAT, deterministic time."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Workers of CP-SAT.")
@seconds_option
@out_option
@json_option
def command(
    inputs: Inputs,
    config: str,
    settings: tuple[str, ...],
    objective: str,
    sequences: int | None,
    work: float,
    workers: int,
    seconds: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Climb the ladder of bounds for TRACE (a file, or `synthetic`) on a fleet, and show every policy's regret.

    Regret is an interval: at least the distance to the best schedule known, at most that to the highest bound.
    """
    from slackwise.solver.result import Limits
    from slackwise.solver.schedule.ladder import Window, climb

    configuration = inputs.configuration(config)
    configuration = changed(configuration, settings, configuration.name)
    check_used(inputs, config, configuration)
    check_output(out)
    trace, objectives = inputs.trace(), inputs.objectives(configuration)
    window = Window(trace, configuration, objectives, inputs.seed, sequences, inputs.image_context)
    with working("climbing"):
        ladder = climb(window, objective, Limits(0.0, seconds, work, workers, inputs.seed), _tell)
    document = {
        "trace": trace_facts(trace, inputs.image_context),
        "cluster": configuration.cluster.describe(),
        "sequences": sequences,
        "objectives": objectives.to_json(),
        **ladder.to_json(),
    }
    write_json(out, document)
    if as_json:
        print_json(document)
        return
    click.echo(trace_line(document["trace"]))
    click.echo(f"Cluster: {document['cluster']}")
    click.echo(objective_line(objectives))
    console().print(_rungs(document))
    if search := ladder.search:
        click.echo(
            f"Search: {search.status}; built in {search.build_s:.1f} s, solved in {search.solve_s:.1f} s "
            f"({search.solver}, {search.version})"
        )
    console().print(_regrets(document))


def _tell(line: str) -> None:
    click.echo(f"  {line}", err=True)


def _rungs(document: dict[str, object]) -> Table:
    table = Table(title=f"Bounds: {document['unit']}", title_justify="left")
    for heading in ("rung", "no schedule costs less than", "verdict", "s"):
        table.add_column(heading, justify="left" if heading in ("rung", "verdict") else "right", no_wrap=True)
    for rung in document["rungs"]:  # type: ignore[attr-defined]
        table.add_row(rung["name"], number(rung["bound"]), rung["verdict"], f"{rung['seconds']:.1f}")
    return table


def _regrets(document: dict[str, object]) -> Table:
    known = number(document["best_known"])  # type: ignore[arg-type]
    title = f"Regret to the best possible (best known {known}, bound from {document['bound_from']})"
    table = Table(title=title, title_justify="left")
    for heading in ("policies", "cost", "regret at least", "at most"):
        table.add_column(heading, justify="left" if heading == "policies" else "right", no_wrap=True)
    for row in document["policies"]:  # type: ignore[attr-defined]
        table.add_row(row["policies"], number(row["cost"]), *(number(each) for each in row["regret"]))
    return table
