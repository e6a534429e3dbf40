"""`slackwise reproduce`: the experiments of a paper, each beside what the paper says."""

from __future__ import annotations

from pathlib import Path

import click

from slackwise.cli.options import json_option, print_json, seed_option
from slackwise.cli.progress import working
from slackwise.cli.study_progress import study_bars
from slackwise.files import check_folder


@click.command()
@click.argument("paper", type=click.Choice(["modserve"]))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default=True, help="Existing folder for the files."
)
@click.option("--only", multiple=True, metavar="NAME", help="An experiment; may be given several times.")
@click.option("--gpus", default=128, show_default=True, help="The large fleet; the other fleets are parts of it.")
@click.option("--minutes", default=10.0, show_default=True, help="Length of the windows that are judged.")
@click.option("--trials", default=150, show_default=True, help="Trials of each search.")
@click.option("--slo-factor", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True)
@click.option(
    "--engine",
    default="vllm-0.7",
    show_default=True,
    help="Of the paper's services: vllm-0.7, or vllm-0.7-host with the work of its host.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. [default: usable cores]")
@click.option("--list", "listed", is_flag=True, help="Name the experiments and do nothing.")
@seed_option
@json_option
def command(
    paper: str,
    out: Path,
    only: tuple[str, ...],
    gpus: int,
    minutes: float,
    trials: int,
    slo_factor: float,
    engine: str,
    jobs: int | None,
    listed: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Run the experiments of PAPER (modserve) and set each number beside the paper's.

    A finished experiment is kept in --out and not run again while its inputs are the same. Writes NAME.json for each
    experiment, report.json, report.md and report.html.
    """
    from slackwise.reports.demo import warm_up
    from slackwise.reports.processes import usable_cores
    from slackwise.reports.reproduction.report import lines, report, write_report
    from slackwise.reports.reproduction.run import reproduce
    from slackwise.tuning.reproduce.catalogue import EXPERIMENTS, chosen
    from slackwise.tuning.reproduce.setting import Setting

    if listed:
        for name, each in EXPERIMENTS.items():
            click.echo(f"{name:<14} {each.title} (section {each.section})")
        return
    setting = Setting(seed=seed, gpus=gpus, minutes=minutes, trials=trials, slo_factor=slo_factor, engine=engine)
    chosen(only)
    check_folder(out)
    with working("compiling the simulator (the first time only; about 20 s)"):
        warm_up()
    found = reproduce(out, setting, only, jobs or usable_cores(), study_bars)
    document = report(found)
    written = write_report(out, document)
    if as_json:
        print_json(document)
    else:
        for line in lines(document):
            click.echo(line)
    click.echo(f"wrote {', '.join(str(each) for each in written)}", err=True)
