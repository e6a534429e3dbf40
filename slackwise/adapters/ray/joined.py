"""A Ray cluster that is there already: joined to deploy on it, or to give what runs there a new bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slackwise.adapters.ray.fleet import FleetPool, fleet_of
from slackwise.adapters.ray.hot import open_store, parse_bundle
from slackwise.adapters.ray.render import BUNDLE
from slackwise.adapters.ray.routing import compile_routing
from slackwise.adapters.ray.target import LIMITS, Target
from slackwise.adapters.ray.up import left_in, read_document
from slackwise.errors import InputError, brief
from slackwise.files import write_text
from slackwise.optional import require
from slackwise.policies.winner import Winner


@contextmanager
def joined_ray(address: str) -> Iterator[str]:
    """The dashboard's address of the cluster at `address` (host:port of its head, or `auto`), joined meanwhile.

    Raises InputError if no Ray answers there, or without a dashboard.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # as a local Ray asks for
    ray = require("ray", "serve")
    try:
        context = ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray answers at {address}: {brief(error)}") from None
    try:
        if not context.dashboard_url:
            raise InputError(f"the Ray at {address} has no dashboard, which deploys applications")
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()


def reload(folder: Path, path: Path) -> Winner:
    """Give what is up in a folder the bundle at `path`, and keep it there; no replica restarts.

    Raises InputError for what is no bundle, does not compile or has other pools, and where nothing is up; CheckError
    for a bundle that decides differently here than where it was tuned. Then the old one stays.
    """
    running, document = left_in(folder), read_document(folder)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    winner = parse_bundle(text)
    compile_routing(winner.policies)
    check_pools(winner, [FleetPool.from_dict(each) for each in document["applications"][0]["args"]["pools"]])
    with joined_ray(running.ray):
        open_store(text)
    write_text(folder / BUNDLE, text)
    return winner


def check_pools(winner: Winner, there: list[FleetPool]) -> None:
    """Raise InputError unless a bundle's pools are of the kinds that run; their numbers may differ."""
    wanted = fleet_of(winner, Target("model", LIMITS["gpus"][1]))
    kinds, found = ([(each.name, each.tensor_parallel) for each in pools] for pools in (wanted, there))
    if kinds != found:
        asked, runs = (", ".join(f"{name} on {width} GPUs" for name, width in each) for each in (kinds, found))
        raise InputError(f"the bundle's pools are {asked}; {runs} are up: render and deploy it instead")
