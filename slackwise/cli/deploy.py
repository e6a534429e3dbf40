"""`slackwise deploy`: the files that a cluster needs for a bundle."""

from __future__ import annotations

from pathlib import Path

import click

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
