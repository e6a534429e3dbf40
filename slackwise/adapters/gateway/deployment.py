"""A rendered deployment, as the scaler and the picker need it: bundle, pools, budget, and what the servers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slackwise.adapters.gateway.feed import Feed
from slackwise.adapters.gateway.scrape import read_services
from slackwise.adapters.ray.fleet import FleetPool
from slackwise.adapters.ray.hot import Bundle
from slackwise.adapters.ray.render import BUNDLE
from slackwise.adapters.ray.up import gpus_of, read_document
from slackwise.adapters.ray.workload import work_for
from slackwise.errors import InputError


@dataclass
class Deployment:
    """What was rendered into a folder, with a feed of its servers."""

    bundle: Bundle
    sizes: tuple[FleetPool, ...]
    gpu_budget: int
    feed: Feed
    body_bytes: int
    images_per_request: int
    source: Path  # of the bundle
    text: str  # that was there last

    def reload(self) -> None:
        """Use the bundle in the folder if it has changed; a bad one is refused and the last good one stays."""
        try:
            text = self.source.read_text(encoding="utf-8")
        except OSError as error:
            self.bundle.error = f"cannot read {self.source}: {error.strerror}"
            return
        if text != self.text:
            self.text = text
            self.bundle.take(text)


def read_deployment(folder: Path, servers: Sequence[str], wanted: Sequence[str] | None = None) -> Deployment:
    """The deployment in `folder` over `servers`, each POOL=HOST:PORT; `wanted` pools must have servers, None: all.

    Raises InputError for what was not rendered, and for servers that do not fit it.
    """
    document = read_document(folder)
    arguments = document["applications"][0]["args"]
    sizes = tuple(FleetPool.from_dict(each) for each in arguments["pools"])
    try:
        text = (folder / BUNDLE).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {folder / BUNDLE}: {error.strerror}") from None
    services = read_services(servers, [each.name for each in sizes], wanted)
    bundle = Bundle(text)
    winner = bundle.winner
    work = {each.name: work_for(winner, each.tensor_parallel) for each in sizes}
    feed = Feed(services, {each.name: each for each in sizes}, work, winner.objectives)
    limits = int(arguments["body_bytes"]), int(arguments["images_per_request"])
    return Deployment(bundle, sizes, gpus_of(document), feed, *limits, folder / BUNDLE, text)
