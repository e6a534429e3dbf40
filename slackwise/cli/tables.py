"""Tables of runs for people: latencies by class, with the load beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from slackwise.simulator import Configuration, Objectives
from slackwise.traces import Trace

COLUMNS = 132
"""Width of tables that do not go to a terminal."""

LATENCIES = ("mean", "p50", "p90", "p99")


def console() -> Console:
    """A console for stdout, of a fixed width where that is no terminal."""
    found = Console()
    if not found.is_terminal:
        found.width = COLUMNS
    return found


def trace_facts(trace: Trace, image_context: str) -> dict[str, Any]:
    """What was served: source, window, size, and the readings that the numbers rest on."""
    return {
        "source": trace.source,
        "start": trace.start,
        "span_s": trace.span_s,
        "requests": len(trace),
        "image_share": float((trace.images > 0).mean()),
        "image_count": trace.image_count,
        "image_context": image_context,
        "notes": trace.notes,
    }


def trace_line(facts: Mapping[str, Any]) -> str:
    """The same in one line."""
    notes = "".join(f"; {key}: {value}" for key, value in facts["notes"].items())
    return (
        f"Trace: {facts['source']}, {facts['requests']:,} requests in {facts['span_s']:,.0f} s "
        f"({facts['image_share']:.0%} with images), image_count {facts['image_count']}, "
        f"image_context {facts['image_context']}{notes}"
    )


def policy_line(configuration: Configuration) -> str:
    """The policies that decide something here, with the knobs that are not at their defaults."""
    policies, monolith = configuration.policies, configuration.cluster.topology == "monolith"
    parts = []
    for role, choice in policies.to_dict().items():
        if choice["name"] in ("fixed_ratio", "admit_all") or (monolith and role.startswith("encode")):
            continue
        declared = policies.policy(role).knobs
        knobs = [f"{knob}={value}" for knob, value in choice["knobs"].items() if value != declared[knob].default]
        parts.append(f"{role} {choice['name']}" + (f" ({', '.join(knobs)})" if knobs else ""))
    return "Policies: " + ", ".join(parts)


def fault_lines(configuration: Configuration) -> list[str]:
    """What goes wrong in one line; none if nothing does."""
    return [f"Faults: {configuration.faults.describe()}"] if configuration.faults.any else []


def objective_line(objectives: Objectives) -> str:
    """The objectives in one line."""
    return f"Objectives: {objectives.describe()}"


def fleet_line(fleet: Mapping[str, Any]) -> str:
    """What provisioning did, in one line."""
    pools = [f"{kind} {low} to {high}" for kind, (low, high) in fleet["ready"].items()]
    done = f"{fleet['started']:,} starts, {fleet['drained']:,} drains, {fleet['switched']:,} role switches"
    return f"Fleet: {', '.join(pools)} instances ready; {done} in {fleet['turns']:,} turns"


def utilisation(run: Mapping[str, Any]) -> str:
    """Share of time in a step, by kind of instance, of a `summary`."""
    return ", ".join(f"{kind} {share:.0%}" for kind, share in run["utilisation"].items())


def failures(run: Mapping[str, Any]) -> str:
    """How many requests failed, by reason, of a `summary`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in run["failed"].items()) or "none failed"


def verdict_line(run: Mapping[str, Any]) -> str:
    """How the run ended, of a `summary`."""
    return f"Verdict: {run['verdict']['word']}: {run['verdict']['sentence']}"


def class_table(runs: Sequence[Mapping[str, Any]], names: bool) -> Table:
    """Latencies by class, a row for each of `runs` (documents of `summary`, with "name" if `names`) in each class."""
    table = Table(title="By class: TTFT in seconds, TBT in milliseconds", title_justify="left")
    table.add_column("class", no_wrap=True)
    if names:
        table.add_column("configuration", no_wrap=True, overflow="ellipsis")
    times = [f"{what}\n{each}" for what in ("TTFT", "TBT") for each in LATENCIES]
    for heading in ("requests", *times, "SLO\nmet", "goodput\na second"):
        table.add_column(heading, justify="right", no_wrap=True)
    for category in runs[0]["classes"]:
        for run in runs:
            table.add_row(category, *([run["name"]] if names else []), *_cells(run["classes"][category]))
        table.add_section()
    return table


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    ttft, tbt = metrics["ttft_s"], metrics["tbt_s"]
    return [
        f"{metrics['requests']:,}",
        *(number(ttft[each]) for each in LATENCIES),
        *(number(tbt[each], 1e3) for each in LATENCIES),
        f"{metrics['attainment']:.2%}",
        f"{metrics['goodput_rps']:.3g}",
    ]


def number(value: float | None, scale: float = 1.0) -> str:
    """Three digits that matter, "never" for what has no number: a request that was not served."""
    if value is None:
        return "never"
    scaled = value * scale
    return f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
