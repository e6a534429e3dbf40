"""Where the time of requests and of instances goes, for people: `slackwise simulate --stages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from slackwise.cli.tables import number

TIMES = ("mean", "p99")


def stage_table(run: Mapping[str, Any]) -> Table:
    """Milliseconds in each stage by class, of a `summary`."""
    table = Table(title="By stage: milliseconds of those who passed it", title_justify="left")
    table.add_column("stage", no_wrap=True)
    for category in run["classes"]:
        for each in TIMES:
            table.add_column(f"{category}\n{each}" if each == TIMES[0] else f"\n{each}", justify="right", no_wrap=True)
    for stage in run["classes"]["all"]["stages"]:
        cells = [_cell(metrics["stages"][stage], each) for metrics in run["classes"].values() for each in TIMES]
        table.add_row(stage.replace("_", " "), *cells)
    return table


def stage_lines(run: Mapping[str, Any]) -> Iterator[str]:
    """Utilisation by stage, idleness, starvation and fairness of a `summary` with its `fragmentation`, a line each."""
    for kind, shares in run["stage_utilisation"].items():
        yield f"Time of {kind}: " + ", ".join(f"{share:.0%} {what}" for what, share in shares.items())
    for group, found in run["fragmentation"].items():
        stranded = f", {found['stranded_kv']:.2%} of KV cache stranded" if "stranded_kv" in found else ""
        yield f"Fragmentation of {group}: {found['idle_gpus']:.2%} of GPUs idle beside a queue{stranded}"
    worst = run["starvation"]
    if worst["longest_wait_s"] is not None:
        longest, ratio = number(worst["longest_wait_s"]), number(worst["over_objective"])
        yield f"Starvation: longest wait {longest} s; no wait is over {ratio} times the request's TTFT objective"
    fair = run["fairness"]
    if fair["attainment_ratio"] is not None and fair["jain"] is not None:
        yield f"Fairness of classes: attainment {fair['attainment_ratio']:.2f} worst to best, Jain {fair['jain']:.2f}"


def interval_line(run: Mapping[str, Any]) -> str:
    """The intervals of the main metrics of all requests, of a `summary` with its `confidence`."""
    found = run["confidence"]
    if found["classes"]["all"]["attainment"] is None:
        return f"Intervals: none ({found['note']})"
    parts = []
    for metric, scale, unit in (("attainment", 100, " %"), ("ttft_p99_s", 1, " s"), ("goodput_rps", 1, " a second")):
        pair = found["classes"]["all"][metric]
        if pair is not None:
            low, high = (number(each, scale) for each in pair)
            parts.append(f"{metric.removesuffix('_s').replace('_', ' ')} {low} to {high}{unit}")
    return f"{found['confidence']:.0%} intervals: {', '.join(parts)} ({found['note']})"


def _cell(found: Mapping[str, Any] | None, each: str) -> str:
    return "-" if found is None else number(found[each], 1e3)
