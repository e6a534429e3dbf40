"""`slackwise train`: learn a policy in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slackwise.cli.options import json_option, print_json, seed_option
from slackwise.errors import InputError
from slackwise.policies.registry import find
from slackwise.tuning.training.settings import ALGORITHMS, PROVISION, Settings, settings_from

DEFAULTS = Settings("Provision-v0", "ppo")


@click.command()
@click.argument("environment")
@click.option("--algo", "algorithm", default="ppo", show_default=True, help=f"One of {', '.join(ALGORITHMS)}.")
@click.option("--steps", type=int, default=DEFAULTS.steps, show_default=True, help="Decisions to learn from.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs, of seeds one after another."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder: seed-0, seed-1 ... are put there.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoints, up to --steps.")
@click.option("--trace", default=DEFAULTS.trace, show_default=True, help="A file, or `synthetic`, its week.")
@click.option("--split", default="96,24,48", show_default=True, help="Hours to train, to choose and to test on.")
@click.option("--hours", type=float, default=DEFAULTS.hours, show_default=True, help="Length of a window.")
@click.option("--windows", type=int, default=DEFAULTS.windows, show_default=True, help="Windows of a suite.")
@click.option("--lanes", type=int, default=DEFAULTS.lanes, show_default=True, help="Windows to learn in, side by side.")
@click.option(
    "--evaluations", type=int, default=DEFAULTS.evaluations, show_default=True, help="Times the suite is run."
)
@click.option("--config", "configuration", default="", help="A preset. [default: the environment's own]")
@click.option("--model", default=DEFAULTS.model, show_default=True)
@click.option("--gpu", default=DEFAULTS.gpu, show_default=True)
@click.option("--gpus", type=click.IntRange(min=1), default=DEFAULTS.gpus, show_default=True)
@click.option("--against", default="", help="Provisioning policies to judge on the same windows, by commas.")
@click.option("--env", "arguments", multiple=True, metavar="NAME=VALUE", help="An argument of the environment.")
@click.option(
    "--set", "hyperparameters", multiple=True, metavar="NAME=VALUE", help="A hyperparameter of the algorithm."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: seeds, suites and the episodes of ARS are tasks of a Ray cluster.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="With ray: tasks of a suite.")
@click.option("--ray-address", default="auto", show_default=True, help="Of the cluster that is already there.")
@seed_option
@json_option
def command(
    environment: str,
    seeds: int,
    out: Path,
    engine: str,
    jobs: int,
    ray_address: str,
    resume: bool,
    split: str,
    against: str,
    arguments: tuple[str, ...],
    hyperparameters: tuple[str, ...],
    seed: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Train in ENVIRONMENT: Provision-v0, Knobs-v0 or Dispatch-v0.

    Learns on the first hours of the trace, keeps the model that is best on the next ones, and tells what it is worth
    on the last, beside the action that changes nothing. Each run leaves an actor.json, which decides in the other
    commands: --set provisioning=OUT/seed-0/actor.json.
    """
    from slackwise.optional import require

    settings = Settings(
        environment.removeprefix("slackwise/"),
        split_h=_hours(split),
        environment_arguments=settings_from(arguments),
        hyperparameters=settings_from(hyperparameters),
        **given,
    )
    for module in ("stable_baselines3", "sb3_contrib", "torch"):
        require(module, "rl")
    if engine == "ray":
        require("ray", "ray")
    from slackwise.tuning.ray_workers import ray_tasks
    from slackwise.tuning.training.run import rivals, summary, train
    from slackwise.tuning.training.seeds import run_on_cluster

    others = [name.strip() for name in against.split(",") if name.strip()]
    if others and settings.environment != PROVISION:
        raise InputError(f"--against names provisioning policies: they are compared in {PROVISION} only")
    for name in others:
        find("provisioning", name)
    numbers = range(seed, seed + seeds)
    if engine == "ray":
        with ray_tasks(jobs, ray_address) as tasks:
            scored = rivals(settings, others)
            results = run_on_cluster(settings, numbers, out, _say, resume, scored, tasks)
    else:
        scored = rivals(settings, others)
        results = []
        for each in numbers:
            say = lambda line, each=each: _say(f"seed {each}: {line}")  # noqa: E731
            results.append(train(settings, each, out / f"seed-{each}", say, resume, scored))
    found = summary(results)
    if as_json:
        print_json({"settings": settings.to_dict(), "summary": found, "runs": results})
        return
    for result in results:
        click.echo(f"seed {result['seed']}: {_line(result)}  (best after {result['best_steps']:,} steps)")
    click.echo(f"{seeds} seeds: {_line(found)}")
    for name, other in found.get("policies", {}).items():
        click.echo(f"{name}: score {other['score']:.4f}, learned minus this {_difference(other['difference'])}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _hours(text: str) -> tuple[float, float, float]:
    try:
        train, choose, test = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--split {text}: write three numbers of hours, as 96,24,48") from None
    return train, choose, test


def _line(result: dict[str, Any]) -> str:
    """Score, that of the default action, and the difference with its interval, in a line."""
    line = f"score {result['score']:.4f}"
    if "difference" not in result:
        return line
    return f"{line}, default {result['default']:.4f}, difference {_difference(result['difference'])}"


def _difference(found: dict[str, float]) -> str:
    return f"{found['mean']:+.4f}" + (f" [{found['low']:+.4f}, {found['high']:+.4f}]" if "low" in found else "")
