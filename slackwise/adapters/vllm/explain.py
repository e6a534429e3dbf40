"""Why a request waited: read off the decisions that the scheduler wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slackwise.adapters.vllm.decisions import WHY
from slackwise.errors import InputError, unknown

SHOWN = 5
"""Of those who overtook a request, so many are named."""


@dataclass
class Story:
    """What happened to one request; seconds since the engine's start."""

    name: str
    added: dict[str, Any]
    admitted_s: list[float] = field(default_factory=list)
    slack_s: float | None = None  # at its first admission
    held_s: dict[str, float] = field(default_factory=dict)  # seconds by what held the head of the queue meanwhile
    overtaken_by: list[str] = field(default_factory=list)  # who came later and was admitted before
    ahead: int = 0  # who came earlier and was admitted while it waited
    first_s: float | None = None
    met: bool | None = None
    preempted: int = 0

    @property
    def waited_s(self) -> float | None:
        """Seconds from arrival to its first admission."""
        return self.admitted_s[0] - float(self.added["arrival"]) if self.admitted_s else None

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        told = {key: self.added[key] for key in ("arrival", "objective_s", "source", "images", "prompt_tokens")}
        return {
            "request": self.name,
            **told,
            "waited_s": self.waited_s,
            "admissions_s": self.admitted_s,
            "slack_at_admission_s": self.slack_s,
            "held_s": self.held_s,
            "overtaken_by": self.overtaken_by,
            "earlier_ones_admitted_meanwhile": self.ahead,
            "ttft_s": None if self.first_s is None else self.first_s - float(self.added["arrival"]),
            "met": self.met,
            "preemptions": self.preempted,
        }


def read_decisions(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of decisions. Raises InputError with the line of the first that is none."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row["e"], row["t"] = str(row["e"]), float(row["t"])
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break  # the engine was cut off while it wrote
            raise InputError(f"{path} line {number}: not a decision of slackwise") from None
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no decisions")
    return rows


def story(rows: list[dict[str, Any]], name: str) -> Story:
    """What happened to request `name`, or to the only one whose name contains it.

    Raises InputError if there is none, naming the closest, or several.
    """
    added = {row["id"]: row for row in rows if row["e"] == "add"}
    found = [name] if name in added else [each for each in added if name in each]
    if len(found) > 1:
        raise InputError(f"'{name}' is part of {len(found)} requests: {', '.join(found[:SHOWN])}")
    if not found:
        raise unknown("request", name, list(added)[:50])
    told = Story(found[0], added[found[0]])
    _follow(told, rows, added)
    return told


def waits(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """(request, seconds from arrival to first admission), the longest first."""
    arrival = {row["id"]: float(row["arrival"]) for row in rows if row["e"] == "add"}
    first: dict[str, float] = {}
    for row in rows:
        if row["e"] == "admit" and row["id"] in arrival:
            first.setdefault(row["id"], row["t"])
    return sorted(((name, at - arrival[name]) for name, at in first.items()), key=lambda each: -each[1])


def sentences(told: Story) -> list[str]:
    """The story in plain words, a line each."""
    added = told.added
    what = f"{added['images']} images, " * bool(added["images"]) + f"{added['prompt_tokens']} prompt tokens"
    wanted = f"objective {added['objective_s']:g} s (from its {added['source']})"
    lines = [f"{told.name}: {what}; arrived at {added['arrival']:.3f} s; {wanted}"]
    if added.get("complaint"):
        lines.append(f"its own deadline was passed over: {added['complaint']}")
    if told.waited_s is None:
        lines.append("never admitted in this file")
    else:
        lines.append(f"admitted after {told.waited_s:.3f} s, with {told.slack_s:.3f} s of slack")
    for why, seconds in sorted(told.held_s.items(), key=lambda each: -each[1]):
        lines.append(f"  {seconds:8.3f} s: {WHY.get(why, why)}")
    if told.overtaken_by:
        some = ", ".join(told.overtaken_by[:SHOWN]) + ", ..." * (len(told.overtaken_by) > SHOWN)
        lines.append(f"overtaken by {len(told.overtaken_by)} that came later and ranked lower: {some}")
    if told.ahead:
        lines.append(f"{told.ahead} that had come earlier were admitted meanwhile")
    if told.preempted:
        lines.append(f"preempted {told.preempted} times: computed again from the start")
    if told.first_s is not None:
        verdict = "within its objective" if told.met else "too late"
        lines.append(f"first token after {told.first_s - added['arrival']:.3f} s: {verdict}")
    return lines


def _follow(told: Story, rows: list[dict[str, Any]], added: dict[str, Any]) -> None:
    arrival, name, held, since = float(told.added["arrival"]), told.name, "", 0.0
    for row in rows:
        now, waiting = row["t"], not told.admitted_s
        if row["e"] == "hold":
            if waiting and held and row["t"] > arrival:
                told.held_s[held] = told.held_s.get(held, 0.0) + now - max(since, arrival)
            held, since = row["why"], now
        if row["e"] == "admit" and row["id"] == name:
            if waiting:
                told.slack_s = float(row["slack_s"])
                if held:
                    told.held_s[held] = told.held_s.get(held, 0.0) + max(0.0, now - max(since, arrival))
            told.admitted_s.append(now)
        elif row["e"] == "admit" and waiting and now >= arrival and row["id"] in added:
            if float(added[row["id"]]["arrival"]) > arrival:
                told.overtaken_by.append(row["id"])
            else:
                told.ahead += 1
        elif row["e"] == "first" and row["id"] == name:
            told.first_s, told.met = now, bool(row["met"])
        told.preempted += row["e"] == "preempt" and row["id"] == name
