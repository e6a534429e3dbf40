"""Search layout, policies and knobs for 20 trials, and judge what was found on hours that the search never saw.

python examples/tune_20_trials.py        # needs the extra tune
"""

from __future__ import annotations

from slackwise.simulator import isolated, preset
from slackwise.traces import scale_rate, synthesize
from slackwise.tuning.paired import compare
from slackwise.tuning.search import Service, Trial, search

MODEL, GPU, GPUS = "InternVL2.5-26B", "A100-80GB", 16


def tell(trial: Trial) -> None:
    """Print a trial as it ends."""
    print(f"trial {trial.number:2}: {trial.attainment:7.2%}{'  (stopped early)' if trial.stopped else ''}")


def main() -> None:
    """Search Tuesday's noon, judge on Wednesday's."""
    searched, judged = (scale_rate(synthesize(seed=0, start_h=hour, duration_h=0.5), 2.0) for hour in (0, 24))
    baselines = [preset(name, MODEL, GPU, GPUS) for name in ("vllm", "modserve")]
    objectives = isolated(baselines[0].cluster, scale="work")
    best = search(searched, Service(MODEL, GPU, GPUS, objectives), trials=20, progress=tell).best
    tuned = best.candidate.configuration("tuned", MODEL, GPU, GPUS)
    print(f"best: trial {best.number}, {tuned.cluster.describe()}")
    found = compare([judged], [*baselines, tuned], objectives, baseline="vllm")
    for name in found.ranking():
        print(f"{name:9} {found.values[name]['all']['attainment']:7.2%} on hours not searched")
    over = found.difference("tuned")
    interval = f"[{100 * over.low:+.1f}, {100 * over.high:+.1f}]"
    print(f"tuned against vllm: {over.verdict}, {100 * over.difference:+.1f} points {interval}")


if __name__ == "__main__":
    main()
