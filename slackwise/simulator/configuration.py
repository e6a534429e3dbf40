"""A configuration: a cluster and the policies that run it, under a name."""

from __future__ import annotations

from dataclasses import dataclass, field

from slackwise.policies.bundle import Policies
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.provisioning import Provisioning


@dataclass(frozen=True)
class Configuration:
    """What is simulated, compared and tuned."""

    name: str
    cluster: Cluster
    policies: Policies
    provisioning: Provisioning = field(default_factory=Provisioning)
