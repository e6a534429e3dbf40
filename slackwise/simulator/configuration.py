"""A configuration: a cluster and the policies that run it, under a name."""

from __future__ import annotations

from dataclasses import dataclass

from slackwise.policies.bundle import Policies
from slackwise.simulator.cluster import Cluster


@dataclass(frozen=True)
class Configuration:
    """What is simulated, compared and tuned."""

    name: str
    cluster: Cluster
    policies: Policies
