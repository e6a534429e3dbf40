"""`slackwise deploy`: the files that a cluster needs for a bundle, and its application on Ray."""

from __future__ import annotations

import time
from pathlib import Path

import click

from slackwise.cli.gateway import picker, scaler
from slackwise.cli.options import json_option, no_seed_option, print_json


@click.group()
def command() -> None:
    """Bring a winner to a cluster."""


@command.command()
@click.argument("winner", type=click.Path(path_type=Path))
@click.option("--cluster", type=click.Path(path_type=Path), required=True, help="cluster.toml: what the cluster has.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
@no_seed_option
@json_option
def render(winner: Path, cluster: Path, out: Path, as_json: bool) -> None:
    """Write Ray Serve's configuration, vllm serve lines, llm-d weights and KEDA manifests for WINNER."""
    from slackwise.adapters.ray.render import render as rendered_files
    from slackwise.adapters.ray.render import write_files
    from slackwise.adapters.ray.target import read_target
    from slackwise.policies.winner import read_winner

    target = read_target(cluster)
    rendered = rendered_files(read_winner(winner), target, out)
    write_files(rendered, out)
    for note in rendered.notes:
        click.echo(f"slackwise: {note}", err=True)
    if as_json:
        pools = [{"name": pool.name, "instances": pool.instances, "most": pool.most} for pool in rendered.pools]
        print_json({"folder": str(out), "files": sorted(rendered.files), "pools": pools, "notes": list(rendered.notes)})
        return
    for name in rendered.files:
        click.echo(str(out / name))


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--emulate", is_flag=True, help="Replicas without a model that take the modelled times.")
@click.option("--cpu", is_flag=True, help="Engines of vLLM's CPU build, where there are no GPUs.")
@click.option("--speed", type=click.FloatRange(0.001, 1e6), default=1.0, show_default=True, help="Divides those times.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the endpoint, in place of the rendered one.")
@click.option("--limit", "limit_s", type=click.FloatRange(min=1.0), default=600.0, show_default=True, help="Seconds.")
@click.option("--address", help="host:port of a Ray cluster's head, or auto: deploy there and return.")
@no_seed_option
def up(
    folder: Path, emulate: bool, cpu: bool, speed: float, port: int | None, limit_s: float, address: str | None
) -> None:
    """Run what was rendered into FOLDER on a local Ray until it is taken down or interrupted, or on a cluster."""
    from slackwise.adapters.ray import up as ray_up
    from slackwise.adapters.ray.joined import joined_ray

    document = ray_up.read_document(folder)
    if emulate:
        document = ray_up.emulated(document, folder, speed, port)
    else:
        document = ray_up.with_engines(document, folder, cpu, port)
    local = address is None
    ray = ray_up.local_ray(ray_up.gpus_of(document), emulate or cpu) if address is None else joined_ray(address)
    with ray as dashboard:
        running = ray_up.bring_up(document, folder, dashboard, lambda line: click.echo(line, err=True), limit_s)
        click.echo(running.endpoint)
        while local and (folder / ray_up.LEFT).exists():
            time.sleep(0.5)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@no_seed_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Show the replicas of what is up in FOLDER."""
    from slackwise.adapters.ray.up import left_in, status_of

    running = left_in(folder)
    found = status_of(running.client()) | {"endpoint": running.endpoint}
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['status']} {running.endpoint}")
    for name, pool in found["pools"].items():
        click.echo(f"{name}: {pool['running']} of {pool['target']} running")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@no_seed_option
def down(folder: Path) -> None:
    """End what is up in FOLDER."""
    from slackwise.adapters.ray.up import bring_down

    bring_down(folder)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("winner", type=click.Path(path_type=Path))
@no_seed_option
def reload(folder: Path, winner: Path) -> None:
    """Give what is up in FOLDER the bundle WINNER; no replica restarts, and a bad bundle changes nothing."""
    from slackwise.adapters.ray import joined

    joined.reload(folder, winner)
    click.echo(str(folder / "winner.json"))


command.add_command(picker)
command.add_command(scaler)
