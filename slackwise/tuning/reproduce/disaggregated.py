"""Section 5.3: encoders apart on top of prefill/decode disaggregation: 4 x TP-8 to prefill, or 3 and 8 encoders."""

from __future__ import annotations

from dataclasses import replace

from slackwise.simulator import Configuration
from slackwise.simulator.cluster import Cluster, Pool
from slackwise.tuning.outcome import run_windows
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, OURS, Finding, Goal, Row, judged
from slackwise.tuning.reproduce.services import Tuned, modserve, monolith
from slackwise.tuning.reproduce.setting import COUNTS, INTERN, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, window

LOADS = (0.3, 0.6, 0.75)
METRICS = {"ttft_mean_s": "mean TTFT", "ttft_p90_s": "P90 TTFT"}
BASE, APART = "EP+D", "E+P+D"
RESAMPLES = 300


def disaggregated(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """How many times lower TTFT is with the encoders apart; decode instances are the same on both sides."""
    cells = [(model, load) for model in setting.models for load in LOADS]
    day = window(setting, COUNTS[0])
    rows: list[Row] = []
    goals: list[Goal] = []
    for at, (model, load) in enumerate(cells):
        progress(f"{model}, load {load:g}", at / len(cells))
        base, ours = _services(setting, model)
        trace = at_rate(day, load * busy_rate(day, base, setting, 0), setting.seed)
        outcomes = [run_windows([trace], each, setting.objectives(model), setting.seed) for each in (ours, base)]
        found = judge(outcomes, ours.name, metric="ttft_mean_s", resamples=RESAMPLES)
        case = f"{model}, {base.cluster.pools[0].gpus} GPUs to prefill, load {load:g}"
        for metric, words in METRICS.items():
            over = found.difference(BASE, metric)
            said = paper.OVER_DISAGGREGATION[list(METRICS).index(metric)] if model == INTERN else None
            value, low, high = (
                (over.baseline + each) / over.baseline for each in (over.difference, over.low, over.high)
            )
            main = load == LOADS[1]
            what = f"{words}: {BASE} over {APART}"
            rows.append(Row(what, case, value, "x", low, high, said, CHECK if said else OURS, main))
        verdict = found.difference(BASE, "ttft_mean_s").verdict
        holds = {"worse": True, "better": False}.get(verdict)
        goals.append(judged(f"encoders apart lower mean TTFT: {case}", holds, f"{BASE} is {verdict}"))
    why = (
        "The paper's rate is unknown, and the gain is that of queueing: it grows without bound as instances that "
        "prefill and encode come near saturation."
    )
    return Finding(tuple(rows), why, tuple(goals))


def _services(setting: Setting, model: str) -> tuple[Configuration, Configuration]:
    """Both with ModServe's large instances; TP-8 if the large fleet has 128 GPUs."""
    wide = setting.gpus // 16
    decodes = Pool("D", 4, wide, setting.engine)
    together = Cluster(model, setting.gpu, (Pool("EP", 4, wide, setting.engine), decodes))
    pools = (Pool("E", wide, 1, "transformers"), Pool("P", 3, wide, setting.engine), decodes)
    base, ours = monolith(setting, model, setting.gpus), modserve(setting, model, setting.gpus)
    return (
        replace(base, name=BASE, cluster=together),
        replace(ours, name=APART, cluster=replace(together, pools=pools)),
    )
