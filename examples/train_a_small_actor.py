"""Train a small network to resize a fleet, and serve with it as a provisioning policy.

    python examples/train_a_small_actor.py   # needs the extra rl

Too few steps, and one seed: docs/results.md has what 60,000 steps and five seeds come to.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from slackwise.simulator import isolated, preset, simulate
from slackwise.traces import synthesize
from slackwise.tuning.training.run import train
from slackwise.tuning.training.settings import PROVISION, Settings

MODEL = "InternVL2.5-26B"


def main() -> None:
    """Learn for 24,000 decisions, judge on 16 windows, then serve an hour with the actor and without."""
    settings = Settings(PROVISION, "ppo", steps=24_000, split_h=(48, 24, 24), windows=16, evaluations=4, model=MODEL)
    with tempfile.TemporaryDirectory() as folder:
        result = train(settings, seed=0, folder=Path(folder) / "run", say=print)
        print(f"score {result['score']:.4f}, of leaving the fleet alone {result['default']:.4f}")
        trace, fixed = synthesize(seed=0, start_h=48, duration_h=1), preset("modserve", MODEL, gpus=16)
        learned = fixed.policies.changed([f"provisioning={Path(folder) / 'run' / 'actor.json'}"])
        for name, service in (("fixed", fixed), ("learned", replace(fixed, policies=learned))):
            run = simulate(trace, service, isolated(fixed.cluster, scale="work"))
            print(f"{name:8} {run.met.mean():7.2%} attained, {run.gpu_s / 3600:.1f} GPU-hours")


if __name__ == "__main__":
    main()
