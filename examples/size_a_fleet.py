"""The cheapest fleet for an hour of traffic, with a proof of how far from the cheapest it can be at most.

python examples/size_a_fleet.py          # needs the extra solver
"""

from __future__ import annotations

from slackwise.solver.hardware import Hardware
from slackwise.solver.replay import replay
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import plan_for
from slackwise.traces import synthesize


def main() -> None:
    """Plan monoliths and encoders apart, print what runs when, and serve the hour with it by the clock."""
    trace = synthesize(seed=0, start_h=24, duration_h=1)
    hardware = Hardware(servers=(4,), parallel=(1, 4), batches=(256,), encoder_batches=(1,))
    request = PlanRequest("InternVL2.5-26B", hardware=hardware, window_s=600.0, target=0.95)
    study = plan_for(trace, request, report=print)
    result = study.result
    print(
        f"{result.status}: {sum(study.gpu_hours().values()):.1f} GPU-hours; at most {result.gap:.1%} from the cheapest"
    )
    for row in study.schedule():
        print(f"windows {row['windows']:>8}, from {row['from']}: {row['fleet']}")
    _, served = replay(study, trace)
    print(f"served by the clock: {served.met.mean():.1%} of {len(trace):,} requests within their objectives")


if __name__ == "__main__":
    main()
