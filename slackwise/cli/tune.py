"""`slackwise tune`: search a service on one part of a trace, judge it on the rest, leave a winner."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slackwise.cli.inputs import Inputs, input_options
from slackwise.cli.options import json_option, print_json
from slackwise.cli.progress import working
from slackwise.cli.study_progress import study_bars
from slackwise.cli.tables import class_table, console, objective_line, policy_line, trace_facts, trace_line
from slackwise.optional import require

if TYPE_CHECKING:
    from slackwise.traces import Trace
    from slackwise.tuning.tune import Tuned
    from slackwise.tuning.tune_search import Budget, History

DEFAULT_OUT = Path("tune-run")


@click.command()
@input_options
@click.option(
    "--start", "trial_0", default="vllm", show_default=True, help="Trial 0: a preset, a .toml, a winner.json."
)
@click.option(
    "--search",
    "parts",
    multiple=True,
    help="layout, ROLE, ROLE=NAME|NAME or ROLE=all; may be repeated. [default: layout and the usual policies]",
)
@click.option("--sampler", default="tpe", show_default=True, help="random, qmc, tpe, cmaes or gp.")
@click.option("--trials", type=click.IntRange(min=1), default=100, show_default=True, help="Trials in all.")
@click.option("--budget", type=click.IntRange(min=1), help="End once so many requests were simulated.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    default=("attainment",),
    show_default=True,
    help="A metric of `slackwise compare`, gpu_s, or CLASS.METRIC; two of them: a Pareto front.",
)
@click.option("--pareto", is_flag=True, help="--objective gpu_s --objective attainment: cost against attainment.")
@click.option("--constraint", "constraints", multiple=True, help="Such as attainment>=0.99 or image.ttft_p99_s<=2.")
@click.option("--target", default=0.99, show_default=True, help="Of a front: the cheapest that attains this is chosen.")
@click.option(
    "--test-share", default=1 / 3, show_default="1/3", help="Last part of the window: judges, never searched."
)
@click.option("--test", "test", help="A trace of other days that judges, instead of the last part of TRACE.")
@click.option("--prune/--no-prune", default=True, help="Stop trials that cannot win any more.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trials side by side.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: trials are tasks of a Ray cluster, --jobs of them at a time.",
)
@click.option("--ray-address", default="auto", show_default=True, help="Of the cluster that is already there.")
@click.option("--resume", is_flag=True, help="Go on with the study in --out.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="Folder of the run."
)
@json_option
def command(
    inputs: Inputs,
    trial_0: str,
    parts: tuple[str, ...],
    sampler: str,
    trials: int,
    budget: int | None,
    objectives: tuple[str, ...],
    pareto: bool,
    constraints: tuple[str, ...],
    target: float,
    test_share: float,
    test: str | None,
    prune: bool,
    jobs: int,
    engine: str,
    ray_address: str,
    resume: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Search how TRACE (a file, or `synthetic`) is served best: layout, policies, knobs.

    The first part of the window is searched, the rest judges: what is not shown better than --start there is no winner.
    Leaves config.json, study.journal (Optuna), trials.json, comparison.json, winner.json and report.html in --out.
    After Ctrl-C, --resume goes on.
    """
    from slackwise.errors import InputError
    from slackwise.interrupts import interruptible
    from slackwise.reports.tuned import write_report
    from slackwise.tuning.goals import COST, bound, goals
    from slackwise.tuning.ray_workers import ray_workers
    from slackwise.tuning.samplers import find_sampler
    from slackwise.tuning.space import space_of
    from slackwise.tuning.trials import Task
    from slackwise.tuning.tune import apart, halves, judged
    from slackwise.tuning.tune_run import open_journal, settings, trials_kept, write_config, write_found
    from slackwise.tuning.tune_search import Budget, search
    from slackwise.tuning.workers import workers

    wanted = goals((COST, "attainment") if pareto else objectives)
    bounds = tuple(bound(each) for each in constraints)
    find_sampler(sampler, len(wanted))
    if engine == "ray":
        require("ray", "ray")
    limit = Budget(trials, budget)
    first = inputs.configuration(trial_0)
    space = space_of(first, parts, sizes=any(each.metric == COST for each in wanted))
    if test is None:
        searched, kept = halves(replace(inputs, rate=1.0).trace(), test_share, inputs.rate, inputs.seed)
    else:
        searched, kept = apart(inputs.trace(), replace(inputs, source=test, start=0.0, end=None, hours=None).trace())
    task = Task(searched, inputs.objectives(first), wanted, bounds, inputs.seed, inputs.image_context, prune)
    made = settings(task, space, kept, sampler)
    typed = "slackwise " + shlex.join(sys.argv[1:])
    begin = workers(task, jobs) if engine == "local" else ray_workers(task, jobs, ray_address)
    seen: list[History] = []
    with begin as running:
        journal = open_journal(out, task, made, resume)
        write_config(out, made, typed)
        with trials_kept(out, space, seen), interruptible() as check, study_bars([sampler]) as report:
            report(0, f"{len(space.parameters)} parameters; {len(searched):,} requests a trial", 0.0)

            def tell(history: History) -> None:
                seen.append(history)
                report(0, _words(history), _share(history, limit))
                check()

            try:
                history = search(task, space, sampler, limit, running, journal, tell)
            except KeyboardInterrupt:
                click.echo(f"{len(journal.trials)} trials are kept in {out}: --resume goes on with them", err=True)
                raise
    with working(f"judging on {len(kept):,} requests that were not searched"):
        found = judged(task, space, history, kept, target)
    provenance = {"command": typed, "seed": inputs.seed, "sampler": sampler, "trials": len(history.entries)}
    provenance |= {"requests_simulated": history.requests, "jobs": jobs}
    written = write_found(out, found, kept, provenance)
    try:
        written += write_report(out, found, kept, journal.study, provenance)
    except InputError as error:
        click.echo(f"no report.html: {error}", err=True)
    if as_json:
        print_json(_document(found, kept, inputs))
    else:
        _print(found, kept, inputs)
    click.echo(f"wrote {', '.join(str(each) for each in written)}", err=True)


def _words(history: History) -> str:
    best, done = history.best, len(history.entries)
    spent = f"{history.requests:,} requests simulated"
    if best is None:
        return f"{done} trials, none within the constraints; {spent}"
    values = ", ".join(
        f"{goal.name} {value:.4g}" for goal, value in zip(history.goals, best.measured.values, strict=True)
    )
    front = f", front of {len(history.front)}" if len(history.goals) > 1 else ""
    return f"{done} trials, best {values} (trial {best.number}){front}; {spent}"


def _share(history: History, limit: Budget) -> float:
    share = len(history.entries) / limit.trials
    return min(1.0, share if limit.requests is None else max(share, history.requests / limit.requests))


def _document(found: Tuned, kept: Trace, inputs: Inputs) -> dict[str, Any]:
    from slackwise.tuning.tune import scores
    from slackwise.tuning.tune_run import trial_row

    front = [trial_row(found.space, found.history, each) for each in found.history.front]
    return {
        "searched": trace_facts(found.task.trace, inputs.image_context),
        "reported": trace_facts(kept, inputs.image_context),
        "scores": scores(found),
        "best": trial_row(found.space, found.history, found.chosen),
        "front": front if len(found.history.goals) > 1 else None,
        "comparison": found.comparison.to_json(),
    }


def _print(found: Tuned, kept: Trace, inputs: Inputs) -> None:
    from slackwise.cli.compare import comparison_table

    click.echo(f"Searched {trace_line(trace_facts(found.task.trace, inputs.image_context))}")
    click.echo(f"Judged on {trace_line(trace_facts(kept, inputs.image_context))}")
    click.echo(objective_line(found.task.objectives))
    if len(found.history.goals) > 1:
        _print_front(found)
    out = console()
    out.print(comparison_table(found.comparison))
    out.print(class_table([each.to_json() for each in found.comparison.outcomes], names=True))
    click.echo(
        f"tuned (trial {found.chosen.number}): {found.space.configuration(found.chosen.values).cluster.describe()}"
    )
    click.echo(f"  {policy_line(found.space.configuration(found.chosen.values))}")
    click.echo(found.verdict)


def _print_front(found: Tuned) -> None:
    names = [each.name for each in found.history.goals]
    click.echo(f"Front on the searched part ({', '.join(names)}):")
    for entry in found.history.front:
        values = ", ".join(f"{value:.4g}" for value in entry.measured.values)
        cluster = found.space.configuration(entry.values).cluster
        click.echo(f"  trial {entry.number}: {values}  {cluster.describe().partition(': ')[2]}")
