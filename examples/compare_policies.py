"""Which batching policy serves a busy hour best? All serve the same arrivals, so differences carry an interval.

python examples/compare_policies.py
"""

from __future__ import annotations

from dataclasses import replace

from slackwise.simulator import disaggregated, isolated, preset
from slackwise.traces import scale_rate, synthesize
from slackwise.tuning.paired import compare

MODEL = "InternVL2.5-26B"
POLICIES = ("fcfs", "edf", "least_slack", "sjf", "reverse_slack")  # the last is bad on purpose


def main() -> None:
    """Serve an hour with each policy, four encoders beside three LLM instances, and print who wins."""
    trace = scale_rate(synthesize(seed=0, start_h=24, duration_h=1), 2.0)
    start = replace(preset("modserve", MODEL), cluster=disaggregated(MODEL, "A100-80GB", 16, text_instances=3))
    services = [
        replace(start, name=name, policies=start.policies.changed([f"batching={name}", f"encode_batching={name}"]))
        for name in POLICIES
    ]
    found = compare([trace], services, isolated(start.cluster, scale="work"), baseline="fcfs")
    print(f"{len(trace):,} requests, {MODEL}, {start.cluster.describe()}")
    for name in found.ranking():
        attained = found.values[name]["all"]["attainment"]
        against = "baseline"
        if name != found.baseline:
            over = found.difference(name)
            against = (
                f"{100 * over.difference:+.1f} points [{100 * over.low:+.1f}, {100 * over.high:+.1f}]: {over.verdict}"
            )
        print(f"{name:15} {attained:7.2%}  {against}")


if __name__ == "__main__":
    main()
