"""What a row of a table must not be read without: combinations that nobody can run as they stand."""

from __future__ import annotations

from slackwise.latency.model import load_model
from slackwise.simulator import Configuration

NO_CROSS_ATTENTION = (
    "hypothetical: vLLM's V1 engine does not run {model} (last vLLM release that does: 0.10.2, on V0), "
    "so this is what its rules would do"
)


def note(configuration: Configuration) -> str:
    """What keeps `configuration` from being run as it stands, "" if nothing does."""
    cluster = configuration.cluster
    today = any(pool.engine == "vllm" for pool in cluster.pools)
    if today and load_model(cluster.model).cross_attention:
        return NO_CROSS_ATTENTION.format(model=cluster.model)
    return ""
