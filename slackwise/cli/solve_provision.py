"""`slackwise solve provision`: the cheapest fleet for a trace's traffic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from slackwise.cli.inputs import Inputs, input_options_without
from slackwise.cli.options import check_output, json_option, out_option, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.solve import backend_option, gap_option, seconds_option, workers_option
from slackwise.cli.tables import console, number, trace_facts, trace_line
from slackwise.errors import CheckError
from slackwise.solver.result import Step

if TYPE_CHECKING:
    from slackwise.solver.confirm import Confirmed
    from slackwise.solver.study import PlanStudy

PLAN_OPTIONS = (
    click.option("--window", "window_s", type=float, default=300.0, show_default=True, help="Seconds of a window."),
    click.option(
        "--servers",
        default="16",
        show_default=True,
        help="Servers of 8 GPUs: of each GPU type, or TYPE=COUNT,...; none: no limit.",
    ),
    click.option("--price", "prices", help="Of a GPU-hour: TYPE=PRICE,... [default: 1 for each]"),
    click.option("--tp", "parallel", help="GPUs of an instance, such as 1,2,4. [default: 1,2,4,8]"),
    click.option("--batch", "batches", help="Requests an instance runs at a time, such as 32,256. [default: 256]"),
    click.option("--encoder-batch", "encoder_batches", help="Images an encoder takes at a time. [default: 1]"),
    click.option(
        "--target",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.95,
        show_default=True,
        help="Share of requests within the objectives at capacity.",
    ),
    click.option("--topology", "topologies", multiple=True, help="Allow only this one; may be given several times."),
    click.option("--headroom", type=float, default=0.0, show_default=True, help="Capacity beyond the load."),
    click.option(
        "--switch", "switch_gpu_s", type=float, default=60.0, show_default=True, help="GPU-seconds a GPU started."
    ),
    click.option("--min-up", "min_up_windows", type=int, default=1, show_default=True, help="Windows it then stays."),
    click.option("--kappa", type=float, default=1.0, show_default=True, help="Factor on all delays (robust_ilp: 1.5)."),
    click.option("--scenarios", type=click.IntRange(min=1), help="Plan for this many draws of the traffic."),
    click.option("--violation", type=float, help="Share of the scenarios not planned for. [default: 0.01]"),
    click.option("--budget", type=float, help="Gamma: loads at their upper value at a time, 0 to 2."),
    click.option("--reach", type=float, help="Upper value, in spreads above the mean. [default: 1]"),
    click.option("--levels", type=click.IntRange(1, 16), default=8, show_default=True, help="Levels of the SLO split."),
    click.option(
        "--table", "table_path", type=click.Path(path_type=Path), help="Capacity table; measured if not there."
    ),
    gap_option,
    seconds_option,
    workers_option,
    backend_option,
)
"""What `PlanRequest.of` is made from."""


def plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a plan."""
    for option in reversed(PLAN_OPTIONS):
        function = option(function)
    return function


@click.command()
@input_options_without("gpus", "text_instances", "image_context", "force_bundle", "faults")
@plan_options
@click.option(
    "--confirm/--no-confirm",
    default=True,
    show_default=True,
    help="Replay the plan in the simulator; raise the headroom until it meets the target.",
)
@out_option
@json_option
def command(inputs: Inputs, confirm: bool, out: Path | None, as_json: bool, **options: Any) -> None:
    """Plan the cheapest fleet for TRACE (a file, or `synthetic`), window by window, within the objectives.

    Kinds of instances (--topology x --tp x --batch x --gpu, which takes several, as A100-80GB,H100) are measured in the
    simulator first (once; --table keeps the result); the first GPU type sets the objectives. Infeasible demand is
    explained: how many servers, how much time or how many requests would have to give way.
    """
    from slackwise.solver.confirm import confirmed
    from slackwise.solver.request import PlanRequest
    from slackwise.solver.study import plan_for

    check_output(out)
    check_output(options["table_path"])
    trace = inputs.trace()
    request = PlanRequest.of(inputs.model, inputs.gpu, inputs.slo_factor, inputs.slo_scale, inputs.seed, options)
    with working("planning"):
        study = plan_for(trace, request, lambda line: click.echo(f"  {line}", err=True))
        found = confirmed(study, trace, lambda line: click.echo(f"  {line}", err=True)) if confirm else None
        study = found.study if found else study
    document = {"trace": trace_facts(trace, inputs.image_context), **study.to_json()}
    if found is not None:
        document["replay"] = {"headroom": found.headroom, "met": found.met, **found.run.to_json()}
    write_json(out, document)
    if as_json:
        print_json(document)
    else:
        _show(document, study, found)
    if found is not None and not found.met:
        raise CheckError(
            f"replayed, the plan attains {found.run.attainment:.2%}, less than the target of {request.target:.2%}, and "
            "more headroom does not help or has no room"
        )


def _show(document: dict[str, Any], study: PlanStudy, found: Confirmed | None) -> None:
    """The plan, for people."""
    click.echo(trace_line(document["trace"]))
    result, plan = study.result, study.plan
    click.echo(f"Split: {plan.option.describe(study.data)}")
    terms = ", ".join(f"{name} {value / 3600:,.1f}" for name, value in plan.terms(study.data).items())
    unit = study.request.hardware.unit
    click.echo(f"Cost: {number((result.objective or 0.0) / 3600)} {unit} ({terms})")
    if len(study.request.hardware.gpus) > 1:
        click.echo("GPU-hours: " + ", ".join(f"{gpu} {value:,.1f}" for gpu, value in study.gpu_hours().items()))
    click.echo(
        f"Proof: bound {result.bound / 3600:,.1f} {unit}, gap {100 * (result.gap or 0.0):.2f} %, {result.status}; "
        f"built in {result.build_s:.1f} s, solved in {result.solve_s:.1f} s ({result.solver}, {result.version})"
    )
    if found is None:
        click.echo("Replay: switched off; that the plan meets the target is not shown")
    else:
        told = "meets" if found.met else "MISSES"
        click.echo(
            f"Replay: {found.run.attainment:.2%} of requests within the objectives, {told} the target of "
            f"{study.request.target:.2%}; {found.run.gpu_s / 3600:,.1f} GPU-hours, with {found.headroom:.0%} headroom"
        )
    console().print(_table(study.schedule()))


def _table(rows: list[dict[str, Any]]) -> Table:
    """What to run when."""
    table = Table(title="What to run when", title_justify="left")
    for heading, side in (("windows", "left"), ("from", "right"), ("instances", "left"), ("GPUs", "right")):
        table.add_column(heading, justify=side, no_wrap=heading != "instances")  # type: ignore[arg-type]
    for row in rows[:MOST_ROWS]:
        table.add_row(row["windows"], row["from"], row["fleet"], str(row["gpus"]))
    if len(rows) > MOST_ROWS:
        table.add_row(f"... {len(rows) - MOST_ROWS} more", "", "see --json", "")
    return table


MOST_ROWS = 40
"""Rows of the table in a terminal."""


def step_line(step: Step) -> str:
    """A step of the search, for people."""
    found = "no plan" if step.objective is None else f"plan {step.objective / 3600:,.1f}"
    return f"{step.at}: {found}, bound {step.bound / 3600:,.1f} GPU-hours"
