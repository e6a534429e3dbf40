"""What happens: the compiled kernel, the reference stepper, clusters and metrics."""

from slackwise.simulator.cluster import Cluster, Pool
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.events import EventLog, event_log
from slackwise.simulator.events_file import write_events
from slackwise.simulator.metrics import summary
from slackwise.simulator.objectives import Objectives, isolated
from slackwise.simulator.presets import PRESETS, disaggregated, preset
from slackwise.simulator.provisioning import Provisioning
from slackwise.simulator.result import Result, result_of
from slackwise.simulator.run import simulate
from slackwise.simulator.simulation import Simulation
from slackwise.simulator.verdict import Verdict

__all__ = [
    "PRESETS",
    "Cluster",
    "Configuration",
    "EventLog",
    "Objectives",
    "Pool",
    "Provisioning",
    "Result",
    "Simulation",
    "Verdict",
    "disaggregated",
    "event_log",
    "isolated",
    "preset",
    "result_of",
    "simulate",
    "summary",
    "write_events",
]
