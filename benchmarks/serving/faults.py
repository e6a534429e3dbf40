"""What requests see when something breaks: an encoder, a text replica, the statistics, the controller, or is slow.

    python benchmarks/serving/faults.py --out faults

A steady stream of requests with 0 to 4 images runs over each fault; half of the time is before it. Nothing is judged by
its speed. Written: OUT.json and OUT.md. Exits with 5 if a request was lost: no answer within the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleet import Fleet, configuration, fleet, machine, publish, say
from load import Ask, Record, drive, outcomes, ttft

from slackwise.simulator import Configuration

ENCODERS, TEXTS, SPEED, MANY = 3, 2, 1.0, 16
BEFORE_S, AFTER_S, RATE, LIMIT_S = 10.0, 50.0, 2.0, 240.0


def asks() -> list[Ask]:
    """One request every 1 / RATE seconds, of 0 to 4 images, with answers that take some seconds.

    One of MANY images is sent 0.3 s before the fault, so that every encoder has some of it.
    """
    count = int((BEFORE_S + AFTER_S) * RATE)
    steady = [Ask(at / RATE, at % 5, 300, 100 + 40 * (at % 4)) for at in range(count)]
    return [Ask(BEFORE_S - 0.3, MANY, 300, 50), *steady]


def kill_encoder(running: Fleet) -> str:
    """While one request with many images has calls on every encoder."""
    return running.kill("#e#")


def kill_text(running: Fleet) -> str:
    """While answers stream from it."""
    return running.kill("#pd#")


def kill_controller(running: Fleet) -> str:
    """Ray starts it again."""
    return running.kill("SERVE_CONTROLLER")


def mute_statistics(running: Fleet) -> str:
    """No replica reports to the routers any more."""
    for pool, found in running.pools().items():
        if pool != "ingress":
            running.broadcast(pool, "ail", {each: {"mute": True} for each in found["replicas"]})
    return "all replicas"


def slow_instance(running: Fleet) -> str:
    """One text replica takes ten times as long."""
    victim = str(running.pools()["pd"]["replicas"][0])
    running.broadcast("pd", "ail", {victim: {"slow": 10.0}})
    return victim


def heal(running: Fleet) -> None:
    """Replicas report and are fast again, those that were killed are back."""
    wait_whole(running, time.monotonic() + 240.0)
    for pool, found in running.pools().items():
        if pool != "ingress":
            running.broadcast(pool, "ail", {each: {} for each in found["replicas"]})


def wait_whole(running: Fleet, until_s: float) -> None:
    """Until every pool has as many replicas as it wants."""
    while any(each["running"] < each["target"] for each in running.pools().values()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"not whole again: {running.pools()}")
        time.sleep(0.5)


FAULTS: dict[str, Callable[[Fleet], str]] = {
    "encoder killed": kill_encoder,
    "text replica killed": kill_text,
    "statistics stopped": mute_statistics,
    "controller killed": kill_controller,
    "text replica ten times slower": slow_instance,
}


def row(running: Fleet, name: str) -> dict[str, Any]:
    """What became of the requests around one fault."""
    struck: dict[str, Any] = {}

    def strike() -> None:
        time.sleep(BEFORE_S)
        struck["at_s"] = time.monotonic() - began
        struck["victim"] = FAULTS[name](running)
        if "killed" in name:
            struck["whole_s"] = _whole_again(running, struck["victim"])

    thread = threading.Thread(target=strike)
    began = time.monotonic()
    thread.start()
    records = asyncio.run(drive(running.endpoint, asks(), LIMIT_S))
    thread.join()
    return judged(name, records, struck)


def _whole_again(running: Fleet, victim: str) -> float | None:
    """Seconds until every pool has all its replicas again and none is the victim; None after two minutes."""
    began = time.monotonic()
    while time.monotonic() - began < 120.0:
        with suppress(Exception):  # the controller may be away
            pools = running.pools().values()
            gone = not any(victim.endswith(name) for each in pools for name in each["replicas"])
            if gone and pools and all(each["running"] >= each["target"] for each in pools):
                return round(time.monotonic() - began, 1)
        time.sleep(0.25)
    return None


def judged(name: str, records: Sequence[Record], struck: dict[str, Any]) -> dict[str, Any]:
    """Outcomes; recovery is the last failure after the fault, counted from it."""
    at_s = struck["at_s"]
    failed = [each.last_s - at_s for each in records if each.outcome in ("failed", "lost")]
    errors = sorted({f"{each.status} {each.error}"[:160] for each in records if each.outcome in ("failed", "lost")})
    return {
        "fault": name,
        **outcomes(records),
        "errors": errors,
        "many_images": f"{records[0].outcome} {records[0].status}",
        "last_failure_s": round(max(failed), 1) if failed else 0.0,
        "replicas_whole_s": struck.get("whole_s"),
        "ttft_before_s": ttft([each for each in records if each.sent_s < at_s - 2.0]),
        "ttft_after_s": ttft([each for each in records if each.sent_s >= at_s]),
        "victim": struck.get("victim"),
        "load_average": machine()["load_average"],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people."""
    heads = ["sent", "answered", "refused", "failed", "lost", "last_failure_s", "replicas_whole_s"]
    words = ["sent", "answered", "429", "failed, saying so", "lost", "last failure after [s]", "all replicas after [s]"]
    loads = sorted(each["load_average"] for each in rows)
    lines = [
        f"{ENCODERS} encoders, {TEXTS} text replicas, {RATE:g} requests/s; load average {loads[0]} to {loads[-1]}.",
        "",
    ]
    lines += ["| fault | " + " | ".join(words) + " | TTFT P50 before, after [s] |", "|---" * (len(heads) + 2) + "|"]
    for each in rows:
        first = f"{each['ttft_before_s'].get('p50')}, {each['ttft_after_s'].get('p50')}"
        cells = ["-" if each[key] is None else str(each[key]) for key in heads]
        lines.append(f"| {each['fault']} | " + " | ".join(cells) + f" | {first} |")
    said = sorted({error for each in rows for error in each["errors"]})
    return "\n".join([*lines, "", "What failures said:", "", *(f"- `{each}`" for each in said)]) + "\n"


def main() -> None:
    """Break one thing after the other and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FAULTS, action="append")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    configured: Configuration = configuration(ENCODERS, TEXTS)
    rows = []
    with fleet(configured, SPEED) as running:
        asyncio.run(drive(running.endpoint, [Ask(0.2 * at, at % 3, 100, 4) for at in range(20)], 60.0))
        for name in options.only or FAULTS:
            rows.append(row(running, name))
            say(str(rows[-1]))
            heal(running)
    document = {"fleet": configured.cluster.describe(), "speed": SPEED, "rate": RATE, "rows": rows}
    publish(options.out, document | {"machine": machine()}, table(rows))
    if any(each["lost"] for each in rows):
        sys.exit(5)


if __name__ == "__main__":
    main()
