"""Section 5.3: image tokens by InfiniBand RDMA and by TCP, at high and at low load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slackwise.simulator import Result
from slackwise.tuning.outcome import run_windows
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, OURS, Finding, Goal, Row, judged, number, reduction
from slackwise.tuning.reproduce.services import MONOLITH, Tuned, modserve, monolith
from slackwise.tuning.reproduce.setting import COUNTS, INTERN, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, window

LOADS = {"high": 0.6, "low": 0.3}
LINKS = ("infiniband", "tcp")
RESAMPLES = 300


def transfer(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Seconds of the transfer, its share of TTFT, and what is left of the gain over the monolith."""
    gpus, day = setting.gpus, window(setting, COUNTS[0])
    cells = [(model, load) for model in setting.models for load in LOADS]
    rows: list[Row] = []
    goals: list[Goal] = []
    for at, (model, load) in enumerate(cells):
        progress(f"{model}, {load} load", at / len(cells))
        base, ours = monolith(setting, model, gpus), modserve(setting, model, gpus)
        trace = at_rate(day, LOADS[load] * busy_rate(day, base, setting), setting.seed)
        linked = [replace(ours, name=link, cluster=replace(ours.cluster, link=link)) for link in LINKS]
        outcomes = [run_windows([trace], each, setting.objectives(model), setting.seed) for each in (base, *linked)]
        case = f"{model}, {gpus} GPUs, {load} load"
        found = judge(outcomes, MONOLITH, metric="ttft_mean_s", resamples=RESAMPLES)
        gains = {link: reduction(found.difference(link)) for link in LINKS}
        for link, outcome in zip(LINKS, outcomes[1:], strict=True):
            rows += _rows(outcome.result, link, case, model)
            said = paper.TCP_GAIN[load][LINKS[::-1].index(link)] if model == INTERN else None
            what = f"{link}: mean TTFT lower than the monolith's"
            rows.append(Row(what, case, gains[link][0], "%", *gains[link][1:], said, CHECK if said else OURS, True))
        over = judge(outcomes[1:], LINKS[0], metric="ttft_mean_s", resamples=RESAMPLES).difference(LINKS[1])
        words = f"mean TTFT {over.difference * 1e3:+.1f} ms [{over.low * 1e3:+.1f}, {over.high * 1e3:+.1f}]"
        goals.append(judged(f"TCP costs TTFT: {case}", over.verdict == "worse", words))
    why = (
        "The links' speeds were set from the paper's own P50 and P99, so the seconds agree by construction; congestion "
        "is not simulated, which leaves TCP's tail at its middle."
    )
    return Finding(tuple(rows), why, tuple(goals))


def _rows(result: Result, link: str, case: str, model: str) -> list[Row]:
    seconds = result.stages["transfer"]
    moved = ~np.isnan(seconds)
    share = 100 * float(seconds[moved].sum() / result.ttft_s[moved].sum())
    quantiles = {"P50": 0.5, "P99": 0.99}
    known = {("infiniband", "P99"): paper.RDMA_P99_S, ("tcp", "P50"): paper.TCP_P50_S, ("tcp", "P99"): paper.TCP_P99_S}
    rows = []
    for name, level in quantiles.items():
        value = number(float(np.quantile(seconds[moved], level)))
        said = known.get((link, name))
        rows.append(
            Row(f"{link}: {name} of a request's transfer", case, value, "s", None, None, said, CHECK if said else OURS)
        )
    said = paper.RDMA_SHARE[model] if link == "infiniband" else None
    what = f"{link}: share of the TTFT of image requests"
    rows.append(Row(what, case, share, "%", None, None, said, CHECK if said else OURS, True))
    return rows
