"""slackwise beside other simulators of LLM serving, in one run on one core: speed, memory, and how far they agree.

    python benchmarks/peers/run.py --trace azure_llm_2023_conv.csv \
        [--dynosim PYTHON] [--vidur CHECKOUT] [--splitwise CHECKOUT] [--python PYTHON] [--runs 1] [--out FILE] [--json]

PYTHON of --dynosim has ai-dynamo, that of --python what the checkouts import; README.md says how to make them. What is
not given is not run. The trace is one without images (Azure LLM 2023). All serve the same requests on one instance with
the same model of a step's time (job.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from job import GPU, MODEL, job_of
from numpy.typing import NDArray

from slackwise.errors import InputError, SlackwiseError
from slackwise.files import write_text
from slackwise.simulator.speed import machine
from slackwise.traces import Trace, read

HERE = Path(__file__).parent
QUANTILES = (0.5, 0.9, 0.99)
GOALS = {"DynoSim": 100, "Vidur": 1000, "splitwise-sim": 500}
"""Times as many requests per CPU second that slackwise wants to serve."""

LIMIT_S = 3600


def commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The worker of each simulator that was given, without the paths of job and answer. Raises InputError."""
    found = {"slackwise": [sys.executable, "slackwise_worker.py"]}
    if arguments.dynosim:
        found["DynoSim"] = [str(_there(arguments.dynosim)), "dynosim_worker.py"]
    for name, checkout in (("Vidur", arguments.vidur), ("splitwise-sim", arguments.splitwise)):
        if checkout:
            worker = "vidur_worker.py" if name == "Vidur" else "splitwise_worker.py"
            found[name] = [str(_there(arguments.python)), worker, str(_there(checkout).absolute())]
    return found


def _there(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist")
    return path


def measure(name: str, command: list[str], trace: Path, job: Path, runs: int) -> dict[str, Any]:
    """The median of `runs` runs of a worker, and the seconds of its requests. Raises InputError if it fails."""
    measured = [_once(name, command, trace, job) for _ in range(runs)]
    middle: dict[str, Any] = sorted(measured, key=lambda each: each["cpu_s"])[runs // 2]
    return middle | {"runs_cpu_s": [each["cpu_s"] for each in measured]}


def _once(name: str, command: list[str], trace: Path, job: Path) -> dict[str, Any]:
    python, worker, *checkout = command
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.npz"
        source = trace if name == "slackwise" else job
        line = [python, str(HERE / worker), str(source.absolute()), str(out), *checkout]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=LIMIT_S, env=_environment(name), check=False
        )
        facts = _facts(done.stdout)
        if done.returncode or facts is None:
            complaint = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
            raise InputError(f"{name} failed: {complaint[:300]}")
        with np.load(out) as seconds:
            return facts | {each: np.array(seconds[each]) for each in ("ttft_s", "end_to_end_s")}


def _environment(name: str) -> dict[str, str]:
    """One thread; and a peer shall not find our packages before its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if name != "slackwise":
        environment.pop("PYTHONPATH", None)
    return environment


def _facts(text: str) -> dict[str, Any] | None:
    try:
        facts = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return facts if isinstance(facts, dict) else None


def tbt_s(its: dict[str, Any], output_tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean time between the tokens of each request that has more than one."""
    more = output_tokens > 1
    tokens = (its["end_to_end_s"] - its["ttft_s"])[more] / (output_tokens[more] - 1)
    return np.asarray(tokens, dtype=np.float64)


def row(name: str, its: dict[str, Any], ours: dict[str, Any], output_tokens: NDArray[np.int64]) -> dict[str, Any]:
    """What is published of a simulator; `ratio` is how many times as many requests slackwise serves in a CPU second."""
    requests, tbt, our_tbt = len(output_tokens), tbt_s(its, output_tokens), tbt_s(ours, output_tokens)
    return {
        "name": name,
        "requests_per_s": round(requests / its["cpu_s"]),
        "with_set_up_requests_per_s": round(requests / (its["cpu_s"] + its["set_up_s"])),
        "peak_rss_mb": its["peak_rss_mb"],
        "ratio": round(its["cpu_s"] / ours["cpu_s"], 1),
        "goal": GOALS.get(name),
        "cpu_s": its["cpu_s"],
        "runs_cpu_s": its["runs_cpu_s"],
        "ttft_s": quantiles(its["ttft_s"]),
        "tbt_s": quantiles(tbt),
        "ttft_ratio": ratios(its["ttft_s"], ours["ttft_s"]),
        "tbt_ratio": ratios(tbt, our_tbt),
        "ttft_distance": round(distance(its["ttft_s"], ours["ttft_s"]), 3),
        "tbt_distance": round(distance(tbt, our_tbt), 3),
    }


def quantiles(values: NDArray[np.float64]) -> list[float]:
    """P50, P90 and P99."""
    return [round(float(each), 4) for each in np.quantile(values, QUANTILES)]


def ratios(values: NDArray[np.float64], ours: NDArray[np.float64]) -> list[float]:
    """Its P50, P90 and P99 over ours."""
    return [round(float(each), 3) for each in np.quantile(values, QUANTILES) / np.quantile(ours, QUANTILES)]


def distance(values: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Largest difference of the two empirical distribution functions (Kolmogorov-Smirnov): 0 equal, 1 apart."""
    at = np.sort(np.concatenate([values, others]))
    shares = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (values, others)]
    return float(np.abs(shares[0] - shares[1]).max())


def document(arguments: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Everything that is published. Raises InputError for a trace that the peers cannot serve."""
    if arguments.runs < 1:
        raise InputError(f"--runs {arguments.runs} must be at least 1")
    trace, found = _text_only(arguments.trace), commands(arguments)
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        work = job_of(trace)
        work.save(job)
        for name, command in found.items():
            say(f"{name} ...")
            measured[name] = measure(name, command, arguments.trace, job, arguments.runs)
    ours = measured["slackwise"]
    return {
        "trace": trace.source,
        "requests": len(trace),
        "model": f"{MODEL} on one {GPU}",
        "peers": [row(name, its, ours, work.output_tokens) for name, its in measured.items()],
        "not_run": sorted({"slackwise", *GOALS} - measured.keys()),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "machine": machine() | {"python": platform.python_version()},
    }


def _text_only(path: Path) -> Trace:
    trace = read(path)
    if np.any(np.asarray(trace.images) > 0):
        raise InputError(f"{path}: the peers know no images; give a trace without, such as the Azure LLM 2023 one")
    return trace


def table(found: dict[str, Any]) -> str:
    """The document as Markdown."""
    lines = [
        "| simulator | requests per CPU-s | slackwise serves | goal | peak MB | TTFT P50/P90/P99, s | over slackwise's "
        "| distance | TBT over slackwise's | distance |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for its in found["peers"]:
        ttft = " / ".join(f"{each:.3f}" for each in its["ttft_s"])
        times, between = (" / ".join(f"{each:.2f}" for each in its[name]) for name in ("ttft_ratio", "tbt_ratio"))
        goal = "" if its["goal"] is None else f"{its['goal']} x"
        lines.append(
            f"| {its['name']} | {its['requests_per_s']:,} | {its['ratio']:,g} x | {goal} | {its['peak_rss_mb']:,.0f} "
            f"| {ttft} | {times} | {its['ttft_distance']:.3f} | {between} | {its['tbt_distance']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run, print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, required=True)
    for name in ("--dynosim", "--vidur", "--splitwise", "--out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        found = document(arguments, lambda line: print(line, file=sys.stderr))
    except SlackwiseError as error:
        sys.exit(_refuse(str(error)))
    if arguments.out:
        write_text(arguments.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2) if arguments.json else table(found))


def _refuse(message: str) -> int:
    print(f"run.py: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
