"""Write a policy, prove that it keeps the contract, and see where it ranks among all that slackwise knows.

python examples/write_a_policy.py
"""

from __future__ import annotations

from slackwise.policies import Range, batching_policy, policies
from slackwise.policies.declare import Instance, Params, Request
from slackwise.simulator import Configuration, disaggregated, isolated, preset, simulate
from slackwise.testing.policies import check_policy
from slackwise.traces import scale_rate, synthesize

MODEL = "InternVL2.5-26B"


@batching_policy(source="an example", order="fixed", weight=Range(0.0, 4.0, default=1.0))
def deadline_and_images(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Earliest deadline first, each image counting as a second of it.

    Formula: key [s] = d_r + weight * images left.

    Trade-offs: requests with many images wait for those with few.
    """
    key: float = float(request.deadline_s) + params[0] * float(request.images_left)
    return key


def main() -> None:
    """Check the policy, then serve a busy hour with every batching policy and print them, best first."""
    check_policy(deadline_and_images)
    trace = scale_rate(synthesize(seed=0, start_h=24, duration_h=1), 2.0)
    cluster = disaggregated(MODEL, "A100-80GB", 16, text_instances=3)
    start, objectives = preset("modserve", MODEL), isolated(cluster, scale="work")
    attained = {}
    for name in [each.name for each in policies("batching")] + [f"{__name__}:deadline_and_images"]:
        policies_of = start.policies.changed([f"batching={name}", f"encode_batching={name}"])
        served = simulate(trace, Configuration(name, cluster, policies_of), objectives)
        attained[name] = float(served.met.mean())
    for rank, name in enumerate(sorted(attained, key=lambda name: -attained[name]), start=1):
        print(f"{rank:2}  {attained[name]:7.2%}  {name}{'  <-- yours' if ':' in name else ''}")


if __name__ == "__main__":
    main()
