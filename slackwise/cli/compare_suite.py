"""`slackwise compare --suite`: the honest table and its gate."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.table import Table as Drawn

from slackwise.cli.inputs import Inputs
from slackwise.cli.options import check_output, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.tables import console, number, objective_line, policy_line, trace_facts, trace_line
from slackwise.errors import CheckError, InputError
from slackwise.simulator import PRESETS

if TYPE_CHECKING:
    from slackwise.simulator import Configuration
    from slackwise.tuning.honest import Row, Table
    from slackwise.tuning.interval import Difference

BUDGET_TRIALS = 50
"""Trials of a search that the default budget pays for, if none is stopped early."""


@dataclass(frozen=True)
class SuiteOptions:
    """Options that only `--suite` has."""

    suite: bool
    candidates: str | None
    budget: int | None
    test_share: float
    tolerance: float
    suite_requests: int
    jobs: int
    require_winner: bool
    bundle: Path | None


OPTIONS = (
    click.option("--suite", is_flag=True, help="The honest table: tune on a part, judge on the rest and in suites."),
    click.option("--candidates", help="With --suite: names, winner.json or .toml files. [default: all that there are]"),
    click.option("--budget", type=click.IntRange(min=1), help="With --suite: requests each search may simulate."),
    click.option("--test-share", default=1 / 3, show_default="1/3", help="With --suite: last part, never searched."),
    click.option(
        "--tolerance", default=0.01, show_default=True, help="With --suite: loss that a suite allows a winner."
    ),
    click.option(
        "--suite-requests",
        type=click.IntRange(min=100),
        default=20_000,
        show_default=True,
        help="Served in each suite.",
    ),
    click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes of a search."),
    click.option("--require-winner", is_flag=True, help="With --suite: exit code 5 unless there is a winner."),
    click.option("--bundle", type=click.Path(path_type=Path), help="With --suite: write the service named here."),
)


def suite_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of SuiteOptions, handed to the command as `options`."""
    names = [each.name for each in fields(SuiteOptions)]

    @wraps(function)
    def command(*others: Any, **given: Any) -> Any:
        return function(*others, options=SuiteOptions(**{name: given.pop(name) for name in names}), **given)

    for option in reversed(OPTIONS):
        command = option(command)
    return command


def without_suite(context: click.Context) -> None:
    """Raises InputError for an option given that means something with --suite only."""
    for each in fields(SuiteOptions):
        if each.name != "suite" and context.get_parameter_source(each.name) == ParameterSource.COMMANDLINE:
            raise InputError(f"--{each.name.replace('_', '-')} needs --suite")


def run_suite(
    inputs: Inputs, options: SuiteOptions, metric: str, resamples: int, out: Path | None, as_json: bool
) -> None:
    """Make the table, print it, write it. Raises CheckError if a winner is required and there is none."""
    from slackwise.tuning.candidates import Setting, available, find_candidates
    from slackwise.tuning.goals import COST, goal
    from slackwise.tuning.honest import honest_table
    from slackwise.tuning.trials import Task
    from slackwise.tuning.tune import halves
    from slackwise.tuning.workers import workers

    wanted = goal(metric)
    if wanted.metric == COST:
        raise InputError("the table goes by a metric of `slackwise compare`, gpu_s_per_good for cost")
    candidates, left_out = available()
    if options.candidates:
        names = [each.strip() for each in options.candidates.split(",")]
        candidates, left_out = find_candidates(names, lambda text: _bundle(inputs, text)), {}
    for path in (out, options.bundle):
        check_output(path)
    start = inputs.configuration("vllm")
    searched, kept = halves(replace(inputs, rate=1.0).trace(), options.test_share, inputs.rate, inputs.seed)
    task = Task(searched, inputs.objectives(start), (wanted,), (), inputs.seed, inputs.image_context)
    budget = options.budget or BUDGET_TRIALS * len(searched)
    with working("loading the simulator"), workers(task, options.jobs) as running:
        setting = Setting(task, start, budget, running)
        found = honest_table(
            candidates,
            setting,
            kept,
            inputs.objectives,
            options.suite_requests,
            options.tolerance,
            resamples,
            lambda line: click.echo(f"  {line}", err=True),
            left_out,
        )
    document = found.to_json() | {"budget": budget, "objectives": task.objectives.to_json()}
    write_json(out, document)
    if options.bundle is not None:
        _write_bundle(found, options.bundle, task.objectives.to_json(), budget)
    if as_json:
        print_json(document)
    else:
        _print(found, inputs, task.objectives, budget)
    if options.require_winner and found.verdict.winner is None:
        raise CheckError(found.verdict.sentence)


def _bundle(inputs: Inputs, text: str) -> Configuration | None:
    """A file, or a preset with changes, as `--configs` takes them; None for what is neither."""
    name, plus, _ = text.partition("+")
    given = name.endswith((".json", ".toml")) or (plus and name in PRESETS)
    return inputs.configuration(text) if given else None


def _write_bundle(found: Table, path: Path, slo: dict[str, Any], budget: int) -> None:
    from slackwise.policies.winner import write_winner
    from slackwise.traces.trace import facts
    from slackwise.tuning.tune import bundle

    row = found.row(found.verdict.named)
    scores = {"verdict": found.verdict.to_json(), "metric": found.goal.name, "value": row.value}
    provenance = {"command": "slackwise " + shlex.join(sys.argv[1:]), "seed": found.seed, "budget": budget}
    trace = {"searched": facts(found.searched), "reported": facts(found.kept)}
    write_winner(path, bundle(row.made.configuration, slo, trace, scores, provenance, found.seed))


def _print(found: Table, inputs: Inputs, objectives: Any, budget: int) -> None:
    click.echo(f"Searched {trace_line(trace_facts(found.searched, inputs.image_context))}")
    click.echo(f"Judged on {trace_line(trace_facts(found.kept, inputs.image_context))}")
    click.echo(objective_line(objectives))
    click.echo(f"Budget of every search: {budget:,} simulated requests")
    for row in found.rows:
        cluster = row.made.configuration.cluster.describe().partition(": ")[2]
        note = f" ({row.made.note})" if row.made.note else ""
        click.echo(f"{row.name}{note}: {cluster}. {policy_line(row.made.configuration)}")
    for name, reason in found.left_out.items():
        click.echo(f"{name}: no row: {reason}")
    out = console()
    out.print(_main_table(found))
    click.echo("* knows the future: cannot be deployed, and is never a winner")
    click.echo(_bound_line(found))
    out.print(_suite_table(found))
    click.echo(
        f"Intervals: 95 %, paired, {found.comparison.resamples:,} resamples of {found.comparison.blocks.describe()}"
    )
    click.echo(found.verdict.sentence)


def _main_table(found: Table) -> Drawn:
    title = f"{found.goal.name} on the part kept back; best of the rules: {found.heuristic}"
    table = Drawn(title=title, title_justify="left", padding=(0, 0))
    table.add_column("candidate", no_wrap=True)
    headings = (
        found.goal.name, "to default\n[95 %]", "to best rule\n[95 %]", "worst\ntenth", "worst class", "GPU-h",
        "decide\nus", "million\nrequests", "gap", "regret",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in sorted(found.rows, key=lambda each: each.value, reverse=found.goal.more_is_better):
        table.add_row(row.name if row.candidate.deployable else f"{row.name} *", *_cells(found, row))
    _, bound = found.bound
    if bound.value is not None:
        table.add_row("bound *", _value(found, bound.value))
    return table


def _cells(found: Table, row: Row) -> list[str]:
    default = None if row is found.rows[0] else found.comparison.difference(row.name, None, found.goal.category)
    regret = "" if row.regret is None else _value(found, row.regret)
    return [
        _value(found, row.value),
        "default" if default is None else _difference(found, default),
        "best rule" if row.name == found.heuristic else _difference(found, found.to_heuristic[row.name]),
        _value(found, row.worst_decile),
        f"{_value(found, row.worst_class[1])} {row.worst_class[0]}",
        number(row.outcome.result.gpu_s / 3600),
        f"{row.decision_us:.0f}",
        f"{row.made.requests / 1e6:.2f}",
        _value(found, row.searched_value - row.value),
        regret,
    ]


def _bound_line(found: Table) -> str:
    """What the bound is, and by which rungs regret was told."""
    name, bound = found.bound
    if bound.value is None:
        return f"No bound: {bound.rung}"
    rungs = ", ".join(dict.fromkeys(row.bound.rung for row in found.rows if row.bound.value is not None))
    return f"Bound: no schedule does better on the fleet of {name} ({bound.rung}); regret by {rungs}"


def _suite_table(found: Table) -> Drawn:
    groups = list(dict.fromkeys(each.group for each in found.suites))
    table = Drawn(
        title="Gain over the default in each suite, the worst of its cases", title_justify="left", padding=(0, 0)
    )
    table.add_column("candidate", no_wrap=True)
    for group in groups:
        table.add_column(group.replace(" ", "\n"), justify="right")
    for row in (each for each in found.rows[1:] if each.candidate.deployable):
        gains = [min(row.gains[each.name] for each in found.suites if each.group == group) for group in groups]
        table.add_row(row.name, *(_value(found, gain, sign=True) for gain in gains))
    return table


def _value(found: Table, value: float, sign: bool = False) -> str:
    """Shares in points of a hundred, all else in three digits."""
    if found.goal.metric == "attainment":
        return f"{100 * value:+.2f}" if sign else f"{100 * value:.2f}"
    return f"{value:+.3g}" if sign else f"{value:.3g}"


def _difference(found: Table, each: Difference) -> str:
    text = _value(found, each.difference, sign=True)
    if each.verdict == "no interval":
        return text
    return f"{text}\n[{_value(found, each.low, sign=True)}, {_value(found, each.high, sign=True)}]"
