"""`slackwise report`: the offline solver report as JSON, Markdown and one HTML file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from slackwise.cli.inputs import Inputs, check_used, input_options_without
from slackwise.cli.options import check_output, json_option, print_json
from slackwise.cli.progress import working
from slackwise.cli.solve_provision import plan_options
from slackwise.errors import InfeasibleError, InputError
from slackwise.files import check_folder, write_text


@click.command()
@input_options_without("image_context", "faults")
@plan_options
@click.option("--today", default="vllm", show_default=True, help="A preset, .toml file or winner.json: what runs now.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Share of the window, at its end, that is not planned for.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default=True, help="Existing folder for the files."
)
@json_option
def command(inputs: Inputs, today: str, held_out: float, out: Path, as_json: bool, **options: Any) -> None:
    """Plan the first part of TRACE (a file, or `synthetic`), test the plan on the rest, write the report.

    It is written as report.json, report.md and report.html. An infeasible plan is reported with what would have to
    give way; the exit code is 3 then.

    Instead of a trace, a run that is kept: a folder of `slackwise tune` or `slackwise reproduce`, or the .json file of
    `slackwise compare` or `slackwise capacity`; then only --out and --json count.
    """
    from slackwise.optional import require

    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    from slackwise.reports.kept import is_kept
    from slackwise.reports.solver.pages import html, markdown
    from slackwise.reports.solver.study import Asked, solver_report
    from slackwise.solver.request import PlanRequest

    check_folder(out)
    if is_kept(inputs.source):
        _kept(inputs.source, out, as_json)
        return
    check_output(options["table_path"])
    trace = replace(inputs, rate=1.0).trace()
    request = PlanRequest.of(inputs.model, inputs.gpu, inputs.slo_factor, inputs.slo_scale, inputs.seed, options)
    present = replace(inputs, gpu=inputs.gpu and request.gpu).configuration(today)
    check_used(inputs, today, present)
    asked = Asked(trace, request, present, _typed(click.get_current_context()), held_out, inputs.rate)
    with working("planning and replaying"):
        document = solver_report(asked, lambda line: click.echo(f"  {line}", err=True))
    _write(out, document, markdown(document), html(document), as_json)
    if not document["feasible"]:
        raise InfeasibleError(document["error"])


def _kept(source: str, out: Path, as_json: bool) -> None:
    """The report of a run that is kept. Raises InputError for what is none, or another option that is given."""
    from slackwise.reports.kept import kept_report
    from slackwise.reports.solver.pages import html, markdown

    context = click.get_current_context()
    unused = [name for name in context.params if name not in ("source", "out", "as_json") and _is_given(context, name)]
    if unused:
        raise InputError(f"--{unused[0].replace('_', '-')} has no effect on a run that is kept")
    document, figures = kept_report(source)
    _write(out, document, markdown(document), html(document, figures), as_json)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE


def _write(out: Path, document: dict[str, Any], markdown: str, html: str, as_json: bool) -> None:
    texts = {"json": json.dumps(document, indent=1, allow_nan=False) + "\n", "md": markdown, "html": html}
    for kind, text in texts.items():
        write_text(out / f"report.{kind}", text)
    if as_json:
        print_json(document)
    else:
        click.echo(document["cards"][0]["lines"][0])
        click.echo(f"Written: {', '.join(str(out / f'report.{kind}') for kind in texts)}")


def _typed(context: click.Context) -> str:
    """The command with every option that is not at its default; where it writes is left out."""
    words = ["slackwise report"]
    for each in context.command.params:
        value = context.params.get(each.name or "")
        if each.name in ("out", "as_json") or value in (None, (), each.get_default(context)):
            continue
        given = value if isinstance(value, tuple) else (value,)
        name = [] if isinstance(each, click.Argument) else [max(each.opts, key=len)]
        words += [" ".join([*name, *([] if value is True else [str(one)])]) for one in given]
    return " ".join(words)
