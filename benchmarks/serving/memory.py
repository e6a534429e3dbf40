"""Resident memory of Ray's processes and of the application's over time: flat, or growing.

Sampled by against_simulator.py while it runs: 30 minutes at `--speed 0.333`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

MIB = 2**20
SKIPPED = 0.2
"""Share of the run at its beginning that the slope leaves out: caches fill."""

PAGE = os.sysconf("SC_PAGE_SIZE")
NAMES = {
    "ray::ServeReplica:slackwise:ingress": "ingress",
    "ray::ServeReplica:slackwise:e": "encoder",
    "ray::ServeReplica:slackwise:pd": "text",
    "ray::ServeController": "controller",
    "ray::ProxyActor": "proxy",
    "gcs_server": "gcs",
    "raylet/raylet": "raylet",
}
"""Beginning, or part, of a command line, and what the process is."""


def processes(root: int) -> dict[int, str]:
    """The processes below `root` that are looked at, by id."""
    children: dict[int, list[int]] = defaultdict(list)
    words: dict[int, str] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                words[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            children[parent].append(int(each.name))
    found, left = {}, [root]
    while left:
        for child in children[left.pop()]:
            left.append(child)
            kind = next((name for part, name in NAMES.items() if words[child].startswith(part)), None)
            kind = kind or next((name for part, name in NAMES.items() if part in words[child][:200]), None)
            if kind is not None:
                found[child] = kind
    return found


def resident(process: int) -> float:
    """MiB of a process, NaN if it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / MIB
    except OSError:
        return math.nan


class Memory:
    """Samples the processes below this one every `every_s` in a thread, as long as the `with` lasts."""

    def __init__(self, every_s: float) -> None:
        self.every_s, self.times = every_s, list[float]()
        self.samples: list[dict[int, float]] = []
        self.kinds: dict[int, str] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self.every_s):
            known = processes(os.getpid())
            self.kinds |= known
            self.times.append(time.monotonic())
            self.samples.append({each: resident(each) for each in known})

    def summary(self) -> dict[str, Any]:
        """By kind of process: first and last MiB of a process, and the slope in MiB an hour with its 95 % interval."""
        kinds = {kind: found for kind in sorted(set(self.kinds.values())) if (found := self._of(kind)) is not None}
        minutes = (self.times[-1] - self.times[0]) / 60 if self.times else 0.0
        lines = [
            f"Resident memory over {minutes:.0f} minutes, one process of each kind (mean), slopes without the first "
            f"{SKIPPED:.0%}.",
            "",
            "| process | of them | MiB at first | at last | MiB an hour (95 %) |",
            "|---|---:|---:|---:|---:|",
        ]
        for kind, each in kinds.items():
            low, high = each["interval"]
            lines.append(
                f"| {kind} | {each['processes']} | {each['first']:.1f} | {each['last']:.1f} | "
                f"{each['slope']:.1f} ({low:.1f} to {high:.1f}) |"
            )
        return {"minutes": round(minutes, 1), "kinds": kinds, "lines": lines}

    def _of(self, kind: str) -> dict[str, Any] | None:
        """The figures of a kind of process, None if none of it lasted all the time."""
        lasting = [each for each, its in self.kinds.items() if its == kind and all(each in row for row in self.samples)]
        if not lasting:
            return None
        means = np.array([np.mean([row[each] for each in lasting]) for row in self.samples])
        slope, error = slope_of(np.array(self.times) / 3600, means)
        return {
            "processes": len(lasting),
            "first": round(float(means[0]), 2),
            "last": round(float(means[-1]), 2),
            "slope": round(slope, 2),
            "interval": [round(slope - 1.96 * error, 2), round(slope + 1.96 * error, 2)],
            "mib": [round(float(each), 2) for each in means],
        }


BLOCKS = 12


def slope_of(hours: Any, mib: Any) -> tuple[float, float]:
    """(slope, its standard error) of a line through means of 12 blocks: neighbouring samples are not independent."""
    kept = hours >= hours[0] + SKIPPED * (hours[-1] - hours[0])
    parts = [each for each in np.array_split(np.flatnonzero(kept), BLOCKS) if len(each)]
    if len(parts) < 4:
        return math.nan, math.nan
    x, y = (np.array([values[each].mean() for each in parts]) for values in (hours, mib))
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt((rest**2).sum() / (len(x) - 2) / (x * x).sum()))
