"""`slackwise capacity`: the highest rate within the objectives."""

from __future__ import annotations

from pathlib import Path

import click

from slackwise.cli.inputs import Inputs, input_options
from slackwise.cli.options import check_output, json_option, out_option, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.tables import objective_line, policy_line, trace_facts, trace_line
from slackwise.simulator import PRESETS
from slackwise.tuning.capacity import HIGHEST, TARGET, TOLERANCE, Probe, capacity, check_search


@click.command()
@input_options
@click.option("--configs", default=",".join(PRESETS), show_default=True, help="As in `slackwise compare`.")
@click.option("--target", default=TARGET, show_default=True, help="Share of requests that must meet their objectives.")
@click.option("--tolerance", default=TOLERANCE, show_default=True, help="Relative distance of the final bracket.")
@click.option("--highest", default=HIGHEST, show_default=True, help="Highest rate factor to try.")
@out_option
@json_option
def command(
    inputs: Inputs, configs: str, target: float, tolerance: float, highest: float, out: Path | None, as_json: bool
) -> None:
    """Find the highest rate of TRACE (a file, or `synthetic`) that each configuration serves within its objectives.

    The trace is thinned or superposed, and the rate bisected until the requests that meet their objectives cross
    --target.
    """
    configurations = inputs.configurations(configs)
    check_output(out)
    check_search(target, tolerance)
    trace = inputs.trace()
    facts = trace_facts(trace, inputs.image_context)
    found = []
    for each in configurations:
        with working(f"{each.name}: searching the highest rate"):
            objectives = inputs.objectives(each)
            found.append(
                capacity(
                    trace, each, objectives, target, tolerance, highest, inputs.seed, inputs.image_context, _progress
                )
            )
    document = {"trace": facts, "configurations": [each.to_json() for each in found]}
    write_json(out, document)
    if as_json:
        print_json(document)
        return
    click.echo(trace_line(facts))
    for result in found:
        click.echo(result.describe())
        click.echo(f"  {result.configuration.cluster.describe()}\n  {policy_line(result.configuration)}")
        click.echo(f"  {objective_line(result.objectives)}")


def _progress(probe: Probe) -> None:
    click.echo(
        f"  rate x {probe.factor:.3g}: {probe.requests_per_s:.3g} requests/s, {probe.attainment:.2%} met", err=True
    )
