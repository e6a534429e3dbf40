"""`slackwise bench`: measure the speed of the simulator, the environments and the solver on this machine."""

from __future__ import annotations

import click

from slackwise.cli.options import json_option, no_seed_option, print_json, seed_option


@click.group()
def command() -> None:
    """Measure the speed of the simulator, the environments and the solver on this machine."""


@command.command()
@click.option("--requests", type=click.IntRange(1000, 10_000_000), default=1_000_000, show_default=True)
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="The median run is reported.")
@click.option("--suite", is_flag=True, help="Every topology, rate and set of policies; growing traces and fleets.")
@click.option("--suite-requests", type=click.IntRange(1000), default=200_000, show_default=True, help="Of most rows.")
@click.option("--most-requests", type=click.IntRange(1000), default=10_000_000, show_default=True)
@click.option("--most-instances", type=click.IntRange(8), default=4096, show_default=True)
@seed_option
@json_option
def kernel(
    requests: int,
    runs: int,
    suite: bool,
    suite_requests: int,
    most_requests: int,
    most_instances: int,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate the synthetic week on 128 A100s: E+PD, least_slack, predicted_completion, per_image, on one core."""
    if suite:
        _suite(suite_requests, most_requests, most_instances, seed, as_json)
        return
    from slackwise.simulator.speed import kernel_speed

    found = kernel_speed(seed, requests, runs, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(found)
        return
    for name in ("requests", "requests_per_s", "events_per_s", "run_s", "load_s", "compile_s", "peak_rss_mb"):
        click.echo(f"{name:>16}  {found[name]:,}")
    click.echo(f"{'busy':>16}  encoders {found['busy_encoders']:.0%}, text instances {found['busy_text']:.0%}")
    click.echo(f"{'topology':>16}  {found['topology']}")
    click.echo(f"{'machine':>16}  {found['machine']['processor']}")


@command.command()
@click.option("--lanes", type=click.IntRange(1, 4096), default=64, show_default=True, help="Windows side by side.")
@click.option("--steps", type=click.IntRange(1), default=480, show_default=True, help="Steps of every lane.")
@click.option("--trials", type=click.IntRange(0), default=200, show_default=True, help="Of a tuning; 0: none.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes of the tuning.")
@seed_option
@json_option
def env(lanes: int, steps: int, trials: int, jobs: int, seed: int, as_json: bool) -> None:
    """Step slackwise/Provision-v0 over windows of the synthetic week on 16 A100s, on one core; tune a window of it."""
    from slackwise.optional import require

    require("gymnasium", "env")
    from slackwise.env.speed import env_speed

    found = env_speed(seed, lanes, steps, lambda line: click.echo(line, err=True))
    if trials:
        from slackwise.tuning.speed import tune_speed

        found |= tune_speed(seed, trials, jobs, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(found)
        return
    for name in ("steps_per_s", "moving_steps_per_s", "random_steps_per_s", "requests_per_step"):
        click.echo(f"{name:>18}  {found[name]:,.0f}")
    if trials:
        click.echo(f"{f'tune_{trials}_s':>18}  {found[f'tune_{trials}_s']:,}")
    if "env_share_in_ppo" in found:
        shares = f"environment {found['env_share_in_ppo']:.0%}, learner {found['learner_share_in_ppo']:.0%}"
        click.echo(f"{'shares in PPO':>18}  {shares}, {found['ppo_steps_per_s']:,} steps/s")
    click.echo(f"{'machine':>18}  {found['machine']['processor']}")


@command.command()
@click.option("--small", is_flag=True, help="Small cases, to see that all of it runs.")
@seed_option
@json_option
def solve(small: bool, seed: int, as_json: bool) -> None:
    """Plan the synthetic week and parts of it, count late requests, bound 10,000 requests; seconds and gaps."""
    from slackwise.optional import require

    require("ortools", "solver")
    from slackwise.solver.speed import FULL, SMALL, solve_speed

    found = solve_speed(seed, SMALL if small else FULL, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if not isinstance(value, dict | list):
            click.echo(f"{name:>20}  {value}")
    for row in found["bound_10k"]:
        click.echo(f"{'bound of ' + row['objective']:>20}  {row['ratio']} of {row['best_policy']} on {row['fleet']}")


@command.command()
@click.option("--steps", type=click.IntRange(10, 100_000), default=300, show_default=True, help="Of a run.")
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="Plug-in and stock take turns.")
@no_seed_option
@json_option
def plugin(steps: int, runs: int, as_json: bool) -> None:
    """Cost of the plug-in in a step of vLLM's scheduler, against the stock one: 128 decode, 256 or 2,048 wait."""
    from slackwise.optional import require

    require("vllm", "vllm")
    from slackwise.adapters.vllm.speed import plugin_speed

    found = plugin_speed(steps, runs, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if not isinstance(value, dict):
            click.echo(f"{name:>26}  {value:,.3f}" if isinstance(value, float) else f"{name:>26}  {value}")


def _suite(requests: int, most_requests: int, most_instances: int, seed: int, as_json: bool) -> None:
    from slackwise.simulator.speed_suite import suite

    found = suite(seed, requests, most_requests, most_instances, lambda line: click.echo(line, err=as_json))
    if as_json:
        print_json(found)
