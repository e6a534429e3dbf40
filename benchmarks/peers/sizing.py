"""slackwise beside AIConfigurator: a fleet for the same traffic, both plans served by the simulator.

    python benchmarks/peers/sizing.py --python PYTHON [--trace FILE] [--gpu H100] [--rate 12] [--out FILE] [--json]

PYTHON has AIConfigurator; README.md says how to make it. AIConfigurator is told the mean request and the mean rate, as
it takes no trace. Without --trace the traffic is half an hour of the synthetic week. What is equal: model, GPU, image
size, objectives. Each plan is served twice, by the step times of slackwise and by those of AIConfigurator's tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sizing_plan import Plan, enough, read_plan, simulated, solved_plan
from sizing_steps import beside, fitted
from sizing_worlds import MeanRequest, mean_request, worlds

from slackwise.cli.options import check_output
from slackwise.errors import InputError, SlackwiseError, unknown
from slackwise.files import write_text
from slackwise.simulator import Cluster, Pool
from slackwise.simulator.speed import machine
from slackwise.solver.confirm import confirmed
from slackwise.solver.hardware import Hardware
from slackwise.solver.measure import reference_ttft_s
from slackwise.solver.request import PlanRequest
from slackwise.solver.study import plan_for
from slackwise.traces import Trace, read, scale_image_share, scale_rate, synthesize

WORKER = Path(__file__).with_name("aiconfigurator_worker.py")
MODELS = {"Qwen3-VL-8B": "Qwen/Qwen3-VL-8B-Instruct"}
"""Models of slackwise that AIConfigurator has an encoder of."""
SYSTEMS = {"A100-80GB": "a100_sxm", "H100": "h100_sxm", "H200": "h200_sxm"}
FROM_H, HOURS = 30.0, 0.5
IMAGE_SHARE = 0.464
"""Of the synthetic half hour, at which its mean request has one image: AIConfigurator takes whole images."""

PARALLEL = (1, 2)
"""GPUs of an instance that slackwise plans with; AIConfigurator sweeps 1, 2, 4 and 8."""
TABLES = (1, 2, 4, 8)
SLO_FACTOR = 10.0
SERVERS = 8
LIMIT_S = 1800

Say = Callable[[str], None]


def traffic(path: Path | None, rate: float, seed: int) -> Trace:
    """The trace at so many times its rate. Raises InputError for a rate that is not positive, or a bad file."""
    if not 0 < rate < float("inf"):
        raise InputError(f"--rate {rate:g} must be positive and finite")
    trace = scale_image_share(synthesize(seed, None, FROM_H, HOURS), IMAGE_SHARE, seed) if path is None else read(path)
    return trace if rate == 1.0 else scale_rate(trace, rate, seed)


def request_of(model: str, gpu: str, trace: Trace, seed: int) -> PlanRequest:
    """What slackwise is asked: one window, so that its fleet does not change either."""
    for kind, name, known in (("model", model, MODELS), ("GPU", gpu, SYSTEMS)):
        if name not in known:
            raise unknown(kind, name, known)
    window_s = 60.0 * (1 + float(trace.arrival_s[-1]) // 60.0)
    hardware = Hardware((gpu,), (SERVERS,), parallel=PARALLEL)
    return PlanRequest(model, SLO_FACTOR, seed=seed, hardware=hardware, window_s=window_s)


def ask(python: Path, job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """AIConfigurator's answer. Raises InputError with its last line if there is none."""
    if not python.exists():
        raise InputError(f"{python} does not exist")
    question, answer = folder / "job.json", folder / "answer.json"
    question.write_text(json.dumps(job), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [str(python), str(WORKER), str(question), str(answer)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False)
    except OSError as error:
        raise InputError(f"{python} does not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"AIConfigurator gave no answer in {LIMIT_S} s") from None
    if done.returncode or not answer.exists():
        complaint = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
        raise InputError(f"AIConfigurator failed: {complaint[:300]}")
    return read_answer(answer.read_text(encoding="utf-8"))


def read_answer(text: str) -> dict[str, Any]:
    """The worker's answer. Raises InputError for what is none, and if it has no plan."""
    try:
        answer = json.loads(text)
        missing = [name for name in ("versions", "plans", "failed", "tables") if name not in answer]
    except (ValueError, TypeError) as error:
        raise InputError(f"AIConfigurator's answer is no JSON: {error}") from None
    if missing or not isinstance(answer, dict):
        raise InputError(f"AIConfigurator's answer lacks {', '.join(missing) or 'everything'}")
    if not answer["plans"]:
        told = "; ".join(f"{way}: {reason}" for way, reason in answer["failed"].items())
        raise InputError(f"AIConfigurator has no plan: {told[:300]}")
    return answer


def job_of(mean: MeanRequest, request: PlanRequest, ttft_s: float, tbt_s: float) -> dict[str, Any]:
    """The question to AIConfigurator."""
    return {
        "model": MODELS[request.model],
        "system": SYSTEMS[request.gpu],
        "image_size": list(request.reference().image_size),
        "images": mean.whole_images,
        "text_tokens": round(mean.text_tokens),
        "output_tokens": round(mean.output_tokens),
        "rate_rps": mean.rate_rps,
        "ttft_s": ttft_s,
        "tbt_s": tbt_s,
        "tensor_parallel": list(TABLES),
    }


def document(arguments: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Everything that is published. Raises InputError for bad input, an environment without AIConfigurator."""
    trace = traffic(arguments.trace, arguments.rate, arguments.seed)
    request = request_of(arguments.model, arguments.gpu, trace, arguments.seed)
    objectives, mean = request.objectives(), mean_request(trace)
    within_s = reference_ttft_s(trace, request.reference(), objectives)
    job = job_of(mean, request, float(within_s.mean()), min(objectives.text_tbt_s, objectives.image_tbt_s))
    with tempfile.TemporaryDirectory() as folder:
        say("AIConfigurator plans ...")
        answer = ask(arguments.python, job, Path(folder))
        profiles, fits = {}, {}
        for size in TABLES:
            profiles[size], fits[size] = fitted(answer["tables"][str(size)], Path(folder), f"tp{size}")
        say("slackwise plans ...")
        study = confirmed(plan_for(trace, request, say), trace, say)
        theirs, ours = [read_plan(each) for each in answer["plans"]], solved_plan(study.study)
        say("both are served ...")
        found = {
            "runs": _runs(
                {**{f"AIConfigurator: {each.way}": each for each in theirs}, "slackwise": ours},
                trace,
                request,
                profiles,
            ),
            "worlds": _worlds(theirs[0], trace, mean, request, profiles, arguments.seed),
        }
    return {
        "traffic": {"source": trace.source, "requests": len(trace), "rate": arguments.rate, **mean.to_json()},
        "model": request.model,
        "gpu": request.gpu,
        "objectives": {
            **objectives.to_json(),
            "target": request.target,
            "mean_ttft_s": job["ttft_s"],
            "tbt_s": job["tbt_s"],
        },
        "versions": answer["versions"],
        "plans": {
            "AIConfigurator": answer["plans"],
            "AIConfigurator, no plan": answer["failed"],
            "slackwise": {"fleet": ours.describe(), "gpus": ours.gpus, "headroom": study.headroom, "met": study.met},
        },
        **found,
        "steps": beside(answer["tables"]["1"], _costs(request)),
        "fits": {f"TP-{size}": _errors(fit) for size, fit in fits.items()},
        "kv_tokens": {
            "AIConfigurator": answer["tables"]["1"]["kv_tokens"],
            "slackwise": _costs(request).kv_capacity_tokens,
        },
        "machine": machine() | {"python": platform.python_version()},
    }


def _runs(
    plans: Mapping[str, Plan], trace: Trace, request: PlanRequest, profiles: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Each plan served by both models of the step, and how many GPUs of its shape meet the target."""
    rows = []
    for name, plan in plans.items():
        for steps, its in (("slackwise", None), ("AIConfigurator", profiles)):
            run, more = simulated(plan, trace, request, its), enough(plan, trace, request, its)
            rows.append({"plan": name, "steps": steps, **run, "enough_gpus": more and more["gpus"]})
    return rows


def _worlds(
    plan: Plan, trace: Trace, mean: MeanRequest, request: PlanRequest, profiles: Mapping[int, str], seed: int
) -> list[dict[str, Any]]:
    """AIConfigurator's plan by its own step times, from the traffic that it was told to the traffic that there is."""
    return [
        {"traffic": name, **simulated(plan, each, request, profiles)}
        for name, each in worlds(trace, mean, seed).items()
    ]


def _costs(request: PlanRequest) -> Any:
    cluster = Cluster(request.model, request.gpu, (Pool("EPD", 1, 1),))
    return cluster.costs(cluster.pools[0])


def _errors(fit: Any) -> dict[str, float]:
    size = np.abs(fit.errors)
    return {"mape": round(float(size.mean()), 4), "p90": round(float(np.quantile(size, 0.9)), 4)}


def table(found: Mapping[str, Any]) -> str:
    """The document as Markdown."""
    lines = ["| plan | fleet | GPUs | predicted TTFT / TBT, s | capacity, requests/s |", "|---|---|---|---|---|"]
    for plan in found["plans"]["AIConfigurator"]:
        lines.append(
            f"| AIConfigurator: {plan['way']} | {read_plan(plan).describe()} | {plan['gpus']} "
            f"| {plan['ttft_s']:.3f} / {plan['tbt_s']:.3f} | {plan['capacity_rps']:.1f} |"
        )
    ours = found["plans"]["slackwise"]
    lines += [f"| slackwise | {ours['fleet']} | {ours['gpus']} | by the runs below | |", ""]
    lines += ["| plan | steps of | GPUs | attained | TTFT P50/P90/P99, s | TBT P50/P90/P99, s | GPUs for the target |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {run['plan']} | {run['steps']} {_cells(run)} | {run['enough_gpus'] or 'none'} |" for run in found["runs"]
    ]
    lines += ["", "| AIConfigurator's plan under | GPUs | attained | TTFT P50/P90/P99, s | TBT P50/P90/P99, s |"]
    lines += ["|---|---|---|---|---|"]
    lines += [f"| {run['traffic']} {_cells(run)} |" for run in found["worlds"]]
    lines += [
        "",
        "| step on one GPU | AIConfigurator, ms | slackwise, ms | slackwise / AIConfigurator |",
        "|---|---|---|---|",
    ]
    for step in found["steps"]:
        theirs, its = 1e3 * step["aiconfigurator_s"], 1e3 * step["slackwise_s"]
        lines.append(f"| {step['step']} | {theirs:.2f} | {its:.2f} | {step['ratio']:.2f} |")
    return "\n".join(lines)


def _cells(run: Mapping[str, Any]) -> str:
    times = (
        " / ".join("never" if each is None else f"{each:.3f}" for each in run[name]) for name in ("ttft_s", "tbt_s")
    )
    return f"| {run['gpus']} | {100 * run['attainment']:.1f} % | " + " | ".join(times)


def main() -> None:
    """Run, print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--rate", type=float, default=12.0)
    parser.add_argument("--model", default="Qwen3-VL-8B")
    parser.add_argument("--gpu", default="H100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        check_output(arguments.out)
        found = document(arguments, lambda line: print(line, file=sys.stderr))
        if arguments.out:
            write_text(arguments.out, json.dumps(found, indent=2) + "\n")
    except SlackwiseError as error:
        print(f"sizing.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(found, indent=2) if arguments.json else table(found))


if __name__ == "__main__":
    main()
