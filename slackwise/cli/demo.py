"""`slackwise demo`: which scheduling wins on hours of a real-like week, why, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from slackwise.cli.options import json_option, print_json, seed_option
from slackwise.cli.progress import working
from slackwise.cli.study_progress import study_bars

MODELS = ("Llama-3.2-11B-Vision", "InternVL2.5-26B")
TABLE_COLUMNS = 120


@click.command()
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True, help="May be given several times.")
@click.option("--gpu", default="A100-80GB", show_default=True, help="A100-80GB, H100 or H200.")
@click.option("--gpus", type=click.IntRange(min=8), default=16, show_default=True, help="A multiple of 4.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 4.5, min_open=True),
    default=3.0,
    show_default=True,
    help="Hours to report on; half as many, of other days, are searched.",
)
@click.option("--trials", type=click.IntRange(min=1), default=60, show_default=True, help="Trials of the search.")
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.75,
    show_default=True,
    help="Load: the highest rate at which vllm attains this on the searched part.",
)
@click.option("--slo-factor", type=float, default=5.0, show_default=True, help="Objectives in isolated requests.")
@click.option(
    "--slo-scale",
    default="work",
    show_default=True,
    help="work: objectives grow with a request's own work; class: one for all image requests.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. [default: usable cores, at most one a model]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default=True, help="Existing folder for the files."
)
@seed_option
@json_option
def command(
    models: tuple[str, ...],
    gpu: str,
    gpus: int,
    hours: float,
    trials: int,
    target: float,
    slo_factor: float,
    slo_scale: str,
    jobs: int | None,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Show which scheduling wins on hours of the synthetic week, why, and how sure that is.

    Serves the same traffic with vLLM as it runs today, vLLM 0.7, ModServe, and the winner of a small search. Writes
    report.html, report.json and winner.json (that of another model: winner-MODEL.json). Needs no network.
    """
    from slackwise.reports.demo import check, demo, warm_up, write_files
    from slackwise.reports.processes import usable_cores
    from slackwise.tuning.search_study import Plan

    names, plan = check(models, Plan(gpu, gpus, hours, trials, seed, slo_factor, slo_scale, target), out)
    with working("compiling the simulator (the first time only; about 20 s)"):
        warm_up()
    with study_bars(names) as report:
        found = demo(names, plan, jobs or usable_cores(), report)
    with working("drawing the report"):
        written = write_files(out, found)
    if as_json:
        print_json(found["rows"])
    else:
        _print(found)
    click.echo(f"wrote {', '.join(str(each) for each in written)}", err=True)


def _print(found: dict[str, object]) -> None:
    from slackwise.reports.table import lines, table

    console = Console()
    if not console.is_terminal:
        console.width = TABLE_COLUMNS
    console.print(table(found))
    for line in lines(found, min(console.width, TABLE_COLUMNS)):
        click.echo(line)
