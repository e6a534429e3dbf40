"""`slackwise deploy scaler` and `slackwise deploy picker`: servers for clusters that have KEDA or Envoy, not Ray."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click

from slackwise.cli.options import no_seed_option

folder_argument = click.argument("folder", type=click.Path(path_type=Path))
servers_option = click.option(
    "--servers",
    multiple=True,
    required=True,
    metavar="POOL=HOST:PORT",
    help="Servers of a pool; every address of the host name is one. Give it once or more for each pool.",
)


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


@click.command()
@folder_argument
@servers_option
@click.option("--listen", default="127.0.0.1:6000", show_default=True, help="host:port for KEDA.")
@no_seed_option
def scaler(folder: Path, servers: tuple[str, ...], listen: str) -> None:
    """Answer KEDA with the replicas that the bundle in FOLDER wants, until interrupted."""
    from slackwise.adapters.gateway.deployment import read_deployment
    from slackwise.adapters.gateway.scaler import serve_scaler

    deployment = read_deployment(folder, servers)
    _log()
    asyncio.run(serve_scaler(deployment, listen, lambda port: click.echo(f"{listen.rpartition(':')[0]}:{port}")))


@click.command()
@folder_argument
@servers_option
@click.option("--pool", help="Whose servers are picked; by default the first that prefills.")
@click.option("--listen", default="127.0.0.1:9002", show_default=True, help="host:port for Envoy.")
@no_seed_option
def picker(folder: Path, servers: tuple[str, ...], pool: str | None, listen: str) -> None:
    """Pick servers for Envoy (ext_proc) by the bundle in FOLDER, until interrupted."""
    from slackwise.adapters.gateway.deployment import read_deployment
    from slackwise.adapters.gateway.picker import serve_picker

    deployment = read_deployment(folder, servers, [] if pool is None else [pool])
    _log()
    address = listen.rpartition(":")[0]
    asyncio.run(serve_picker(deployment, pool, listen, lambda port: click.echo(f"{address}:{port}")))
