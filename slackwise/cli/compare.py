"""`slackwise compare`: configurations on the same arrivals, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from slackwise.cli.compare_suite import SuiteOptions, run_suite, suite_options, without_suite
from slackwise.cli.inputs import Inputs, input_options
from slackwise.cli.options import check_output, json_option, out_option, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.tables import (
    class_table,
    console,
    fault_lines,
    number,
    objective_line,
    policy_line,
    trace_facts,
    trace_line,
    utilisation,
)
from slackwise.errors import InputError, unknown
from slackwise.simulator import PRESETS, Configuration
from slackwise.traces import Trace
from slackwise.tuning.estimates import METRICS
from slackwise.tuning.interval import Difference
from slackwise.tuning.outcome import Outcome
from slackwise.tuning.paired import Comparison, check_metric, compare
from slackwise.tuning.robustness import Robustness, robustness

if TYPE_CHECKING:
    from slackwise.solver.multiples import Multiple


@click.command()
@input_options
@click.option(
    "--configs",
    default=",".join(PRESETS),
    show_default=True,
    help="Presets, .toml files, winner.json, each with changes if any: modserve+batching=edf.",
)
@click.option("--baseline", help="Which of them the others are compared with. [default: the first]")
@click.option("--metric", default="attainment", show_default=True, help="What the ranking goes by.")
@click.option(
    "--block-s", type=click.FloatRange(0, min_open=True), help="Length of the bootstrap's blocks, in seconds."
)
@click.option("--resamples", type=click.IntRange(100, 100_000), default=1000, show_default=True)
@click.option(
    "--latency-error",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Repeat with every latency constant moved down and up by this share, such as 0.15.",
)
@click.option("--fluid", is_flag=True, help="GPU-hours as a multiple of what no autoscaler can go below.")
@suite_options
@out_option
@json_option
def command(
    inputs: Inputs,
    options: SuiteOptions,
    configs: str,
    baseline: str | None,
    metric: str,
    block_s: float | None,
    resamples: int,
    latency_error: float | None,
    fluid: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Serve TRACE (a file, or `synthetic`) with several configurations and say which differ, and how surely.

    All serve the same arrivals; a 95 % interval that covers zero is called "no difference shown". With --suite:
    searches with equal budgets on the first part of the window, all candidates judged on the rest and in other
    conditions, and a gate that says whether there is a winner.
    """
    check_metric(metric)
    if options.suite:
        run_suite(inputs, options, metric, resamples, out, as_json)
        return
    without_suite(click.get_current_context())
    configurations = inputs.configurations(configs)
    _one_model(configurations)
    names = [each.name for each in configurations]
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    check_output(out)
    trace = inputs.trace()
    with working(f"simulating {len(trace):,} requests with {', '.join(names)}"):
        found = compare(
            [trace],
            configurations,
            inputs.objectives,
            baseline or names[0],
            inputs.seed,
            metric,
            block_s,
            resamples,
            inputs.image_context,
        )
    document = {"trace": trace_facts(trace, inputs.image_context)} | found.to_json()
    moved = None if latency_error is None else _moved(found, trace, inputs, latency_error)
    if moved is not None:
        document["robustness"] = moved.to_json()
    times = _multiples(found, trace) if fluid else {}
    if fluid:
        document["fluid"] = {name: None if each is None else each.to_json() for name, each in times.items()}
    write_json(out, document)
    if as_json:
        print_json(document)
    else:
        _print(found, trace, inputs)
        for name, each in times.items():
            words = "none: requests failed" if each is None else each.describe()
            click.echo(f"{name}: {words}")
        if moved is not None:
            _print_moved(moved)


def _multiples(found: Comparison, trace: Trace) -> Mapping[str, Multiple | None]:
    from slackwise.solver.multiples import multiples

    runs = [(each.configuration, each.result) for each in found.outcomes]
    return multiples(trace, runs, found.outcomes[0].objectives)


def _one_model(configurations: Sequence[Configuration]) -> None:
    models = {(each.cluster.model, each.cluster.gpu) for each in configurations}
    if len(models) > 1:
        pairs = ", ".join(f"{model} on {gpu}" for model, gpu in sorted(models))
        raise InputError(f"configurations of different models or GPUs cannot be compared: {pairs}")
    faults = {each.faults for each in configurations}
    if len(faults) > 1:
        told = "; ".join(f"{each.name}: {each.faults.describe()}" for each in configurations)
        raise InputError(f"configurations under different faults cannot be compared, give --faults for all: {told}")


def _moved(found: Comparison, trace: Trace, inputs: Inputs, error: float) -> Robustness:
    with working(f"again with every latency constant moved by {error:.0%}"):
        return robustness(found, [trace], inputs.objectives, error, inputs.image_context, _progress)


def _progress(case: str) -> None:
    click.echo(f"  {case}", err=True)


def _print_moved(found: Robustness) -> None:
    metric, names = found.nominal.metric, list(found.nominal.differences)
    title = f"If a latency constant is wrong: {metric} against {found.nominal.baseline}"
    table = Table(title=title, title_justify="left")
    for heading in ("constant", *names, "ranking"):
        table.add_column(heading, overflow="fold")
    for case in found.cases:
        changes = [case.comparison.difference(name) for name in names]
        words = [f"{each.difference:+.3g} {each.verdict}" for each in changes]
        table.add_row(case.name, *words, " > ".join(case.comparison.ranking()))
    console().print(table)
    click.echo(found.verdict)


def _print(found: Comparison, trace: Trace, inputs: Inputs) -> None:
    click.echo(trace_line(trace_facts(trace, inputs.image_context)))
    for each in found.outcomes:
        click.echo(f"{each.name}: {each.configuration.cluster.describe()}. {policy_line(each.configuration)}")
    click.echo(objective_line(found.outcomes[0].objectives))
    for line in fault_lines(found.outcomes[0].configuration):
        click.echo(line)
    out = console()
    out.print(comparison_table(found))
    out.print(class_table([each.to_json() for each in found.outcomes], names=True))
    _notes(found, out)


def comparison_table(found: Comparison) -> Table:
    """One row a configuration, best first."""
    table = Table(title=f"Against {found.baseline}, best first by {found.metric}", title_justify="left")
    table.add_column("configuration", overflow="fold")
    for heading in ("SLO met", "difference [95 %], points", "TTFT P99 s", "x", "goodput/s", "GPU-h", "utilisation"):
        table.add_column(heading, justify="right")
    table.add_column(f"{found.metric}", no_wrap=True)
    for name in found.ranking():
        table.add_row(name, *_row(found, found.outcome(name)))
    return table


def _row(found: Comparison, outcome: Outcome) -> list[str]:
    name, values = outcome.name, found.values[outcome.name]["all"]
    base = found.values[found.baseline]["all"]
    run = outcome.to_json()
    difference = None if name == found.baseline else found.difference(name, "attainment")
    return [
        f"{values['attainment']:.2%}",
        "baseline" if difference is None else _points(difference),
        number(run["classes"]["all"]["ttft_s"]["p99"]),
        f"{values['ttft_p99_s'] / base['ttft_p99_s']:.2f}" if base["ttft_p99_s"] > 0 else "",
        f"{values['goodput_rps']:.3g}",
        number(run["gpu_hours"]),
        utilisation(run),
        "" if name == found.baseline else found.difference(name).verdict,
    ]


def _points(found: Difference) -> str:
    if found.verdict == "no interval":
        return f"{100 * found.difference:+.2f}"
    return f"{100 * found.difference:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def _notes(found: Comparison, out: Console) -> None:
    for name in found.ranking():
        if name == found.baseline:
            continue
        words = {metric: found.difference(name, metric).verdict for metric in METRICS}
        groups = {verdict: [metric for metric, word in words.items() if word == verdict] for verdict in words.values()}
        text = "; ".join(f"{verdict}: {', '.join(metrics)}" for verdict, metrics in groups.items())
        click.echo(f"{name} against {found.baseline}: {text}")
    click.echo(f"Intervals: 95 %, paired, {found.resamples:,} resamples of {found.blocks.describe()}")
