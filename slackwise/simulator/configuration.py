"""A configuration: a cluster, the policies that run it and what goes wrong, under a name."""

from __future__ import annotations

from dataclasses import dataclass, field

from slackwise.policies.bundle import Policies
from slackwise.simulator.cluster import Cluster
from slackwise.simulator.faults import NO_FAULTS, Faults
from slackwise.simulator.provisioning import Provisioning


@dataclass(frozen=True)
class Configuration:
    """What is simulated, compared and tuned."""

    name: str
    cluster: Cluster
    policies: Policies
    provisioning: Provisioning = field(default_factory=Provisioning)
    faults: Faults = NO_FAULTS
