"""`slackwise simulate`: one configuration serves a trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from slackwise.cli.inputs import Inputs, changed, check_text_instances, input_options
from slackwise.cli.options import check_output, json_option, out_option, print_json, write_json
from slackwise.cli.progress import working
from slackwise.cli.stage_tables import interval_line, stage_lines, stage_table
from slackwise.cli.tables import (
    class_table,
    console,
    failures,
    fault_lines,
    fleet_line,
    number,
    objective_line,
    policy_line,
    trace_facts,
    trace_line,
    utilisation,
    verdict_line,
)
from slackwise.cli.trace import duration_s
from slackwise.optional import require
from slackwise.simulator import Simulation, event_log, result_of, summary, write_events
from slackwise.simulator.configuration_file import write_toml
from slackwise.simulator.events_file import check_suffix
from slackwise.simulator.samples import fragmentation
from slackwise.simulator.warmup import mser5
from slackwise.tuning.confidence import confidence


@click.command()
@input_options
@click.option("--config", default="vllm", show_default=True, help="A preset, a .toml file or a winner.json.")
@click.option("--set", "settings", multiple=True, metavar="ROLE[.KNOB]=VALUE", help="Change a policy or a knob.")
@click.option(
    "--drain-limit",
    "drain_limit_s",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="End the run so long after the last arrival. [default: when nothing is left to do]",
)
@click.option("--print-config", is_flag=True, help="Print the configuration as TOML and run nothing.")
@click.option(
    "--events", type=click.Path(path_type=Path), help="Log what happens: .parquet, or .json[.gz] for Perfetto."
)
@click.option("--event-limit", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Events to log.")
@click.option(
    "--warm-up", metavar="SECONDS|mser5", help="Serve the first seconds (also 15min, 2h) but do not judge them."
)
@click.option("--resamples", type=click.IntRange(0, 100_000), default=1000, show_default=True, help="0: no intervals.")
@click.option("--stages", is_flag=True, help="Show where the time goes: stages, idleness, starvation, fairness.")
@out_option
@json_option
def command(
    inputs: Inputs,
    config: str,
    settings: tuple[str, ...],
    drain_limit_s: float | None,
    print_config: bool,
    events: Path | None,
    event_limit: int,
    warm_up: str | None,
    resamples: int,
    stages: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Serve TRACE (a file, or `synthetic`) with one configuration and print latencies, attainment and load.

    Roles of --set: encode_routing, encode_batching, chunking, routing, batching, decode_routing,
    admission, provisioning. For example --set batching=least_slack --set batching.aging=0.5, or
    --set provisioning=modserve_ceil --set provisioning.gpu_cap=32, where interval_s, start_s, role_switch_s, gpu_cap
    and least hold for any policy.
    """
    configuration = inputs.configuration(config)
    configuration = changed(configuration, settings, configuration.name)
    check_text_instances(inputs, [configuration])
    if print_config:
        click.echo(write_toml(configuration), nl=False)
        return
    check_output(out)
    check_events(events)
    warm_up_s = warm_up_given(warm_up)
    objectives, trace = inputs.objectives(configuration), inputs.trace()
    limit = event_limit if events is not None else 0
    with working(f"simulating {len(trace):,} requests"):
        simulation = Simulation(trace, configuration, objectives, inputs.seed, inputs.image_context, limit)
        found = warm_up_found(simulation) if warm_up_s is None else warm_up_s
        run = serve(simulation, found, resamples, math.inf if drain_limit_s is None else drain_limit_s)
    write_log(simulation, events)
    document: dict[str, Any] = {
        "trace": trace_facts(trace, inputs.image_context),
        "configuration": configuration.name,
        "cluster": configuration.cluster.describe(),
        "policies": configuration.policies.to_dict(),
        "objectives": objectives.to_json(),
        "faults": configuration.faults.describe(),
        "seed": inputs.seed,
        **run,
    }
    write_json(out, document)
    if as_json:
        print_json(document)
        return
    click.echo(trace_line(document["trace"]))
    click.echo(f"Cluster: {document['cluster']}")
    click.echo(policy_line(configuration))
    click.echo(objective_line(objectives))
    for line in fault_lines(configuration):
        click.echo(line)
    counts = f"{run['preemptions']:,} preemptions, {failures(run)}"
    click.echo(f"Load: utilisation {utilisation(run)}; {number(run['gpu_hours'])} GPU-hours; {counts}")
    if "fleet" in run:
        click.echo(fleet_line(run["fleet"]))
    click.echo(verdict_line(run))
    click.echo(interval_line(run))
    if run["warm_up"]["requests"]:
        left_out = f"{run['warm_up']['requests']:,} requests of the first {number(run['warm_up']['seconds'])} s"
        click.echo(f"Warm-up: {left_out} are served but not judged")
    console().print(class_table([run], names=False))
    if stages:
        console().print(stage_table(run))
        for line in stage_lines(run):
            click.echo(line)


def warm_up_given(text: str | None) -> float | None:
    """Seconds of a warm-up given as a length of time, 0 for none; None if a rule is to find it. InputError else."""
    if text is None:
        return 0.0
    return None if text.lower() == "mser5" else duration_s(text)


def warm_up_found(simulation: Simulation) -> float:
    """Seconds of warm-up that the rule MSER-5 finds in the TTFTs of a run to the end."""
    begun = simulation.snapshot()
    simulation.run_until()
    whole = result_of(simulation)
    simulation.restore(begun)
    return float(whole.arrival_s[mser5(whole.ttft_s)] - whole.arrival_s[0])


def serve(simulation: Simulation, warm_up_s: float, resamples: int, drain_limit_s: float) -> dict[str, Any]:
    """Run to the end; the metrics, with what was seen on the way and the intervals."""
    watch = simulation.watch()
    if warm_up_s:
        simulation.warm_up(warm_up_s)
    simulation.run_until(simulation.arrival_s[-1] + drain_limit_s)
    result = result_of(simulation)
    idle, sure = fragmentation(watch.samples(simulation.state)), confidence([result], simulation.seed, None, resamples)
    return summary(result) | {"fragmentation": idle, "confidence": sure.to_json()}


def check_events(path: Path | None) -> None:
    """Raise InputError, before any work, if no event log can be written to `path`."""
    check_output(path)
    if path is not None and check_suffix(path) == ".parquet":
        require("pyarrow", "trace")


def write_log(simulation: Simulation, path: Path | None) -> None:
    """Write the simulation's event log to `path`, if there is one; say on stderr if it is not whole."""
    if path is None:
        return
    log = event_log(simulation)
    with working(f"writing {len(log.rows):,} events"):
        write_events(log, path)
    if log.warning:
        click.echo(f"warning: {log.warning}", err=True)
