"""vLLM's own scheduler against the simulator's `vllm` preset: same requests, same latency model, same times?

    python benchmarks/fidelity/scheduler.py --trace FILE [--json]
    python benchmarks/fidelity/scheduler.py --trace synthetic --start-h 5 --hours 0.25 --gpus 16 --batching least_slack

The real scheduler object (vLLM's class for fcfs, the plug-in for any other policy or with --plug-in) is driven in
virtual time, one for each instance, on the requests that the simulator routed there. Prints the requests whose TTFT
agrees within 1 %, the ratio of the P99 TTFTs, and how the rest differ. Needs vLLM: make test-vllm makes .venv-vllm.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.adapters.vllm.loop import Job, Limits, Loop, make_scheduler
from slackwise.adapters.vllm.tiny import tiny_model
from slackwise.errors import SlackwiseError
from slackwise.latency.model import load_model
from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import Cluster, Pool, Simulation, isolated, preset
from slackwise.simulator.configuration import Configuration
from slackwise.simulator.objectives import Objectives
from slackwise.traces import Trace, read, scale_rate, slice_time, synthesize

PLUG_IN = "slackwise.adapters.vllm.SlackwiseScheduler"
WITHIN = 0.01


@dataclass(frozen=True)
class Pair:
    """Times of the same requests, simulated and from vLLM's scheduler, shape (n,) each; seconds of the run."""

    arrival_s: NDArray[np.float64]
    images: NDArray[np.int32]
    simulated_s: NDArray[np.float64]  # first tokens
    vllm_s: NDArray[np.float64]
    simulated_end_s: NDArray[np.float64]  # last tokens
    vllm_end_s: NDArray[np.float64]
    preemptions: int  # in the simulator

    def table(self) -> dict[str, Any]:
        """What is asserted and printed."""
        ours, theirs = self.simulated_s - self.arrival_s, self.vllm_s - self.arrival_s
        error, end = _relative(ours, theirs), _relative(self.simulated_end_s, self.vllm_end_s, self.arrival_s)
        kinds = {"text": self.images == 0, "image": self.images > 0}
        return {
            "requests": len(ours),
            "within_1pct": float((np.abs(error) <= WITHIN).mean()),
            "ttft_p99_ratio": float(np.quantile(ours, 0.99) / np.quantile(theirs, 0.99)),
            "ttft_mean_ratio": float(ours.mean() / theirs.mean()),
            "end_within_1pct": float((np.abs(end) <= WITHIN).mean()),
            "same_to_1e9": float((np.abs(error) <= 1e-9).mean()),
            "worst": float(np.abs(error).max()),
            "earlier": float((error < -WITHIN).mean()),
            "later": float((error > WITHIN).mean()),
            "by_kind": {name: float((np.abs(error[at]) <= WITHIN).mean()) for name, at in kinds.items() if at.any()},
            "vllm_ttft_s": {f"p{q}": float(np.quantile(theirs, q / 100)) for q in (50, 90, 99)},
            "preemptions": self.preemptions,
        }


def _relative(ours: Any, theirs: Any, since: Any = 0.0) -> Any:
    """Simulated over vLLM's, less 1."""
    return (ours - since) / np.maximum(theirs - since, 1e-12) - 1.0


def compare(
    trace: Trace,
    configuration: Configuration,
    objectives: Objectives,
    folder: Path,
    plug_in: bool,
    depth: int = 1,
    image_context: str = "subtract",
) -> Pair:
    """Serve `trace` in the simulator, and what it routed to each instance with a scheduler of vLLM's."""
    simulation = Simulation(trace, configuration, objectives, image_context=image_context)
    simulation.run_until()
    requests, hidden = simulation.workload.requests, simulation.workload.progress
    costs, instances = simulation.costs[0], simulation.state.instances
    limits = _limits(configuration, int(instances.kv_capacity_tokens[0]))
    longest = int((requests.prompt_tokens + hidden.output_tokens).max()) + 64
    model = tiny_model(folder / "model", longest=longest)
    settings = _settings(configuration, objectives, folder) if plug_in else None
    first, last = np.full(len(requests), np.inf), np.full(len(requests), np.inf)
    for instance in range(len(instances)):
        rows = np.flatnonzero(hidden.instance == instance)
        scheduler = make_scheduler(model, limits, PLUG_IN if plug_in else _stock(depth), settings)
        times = Loop(scheduler, costs, jobs(requests, hidden, rows), depth).run()
        for row in rows:
            first[row], last[row] = times[str(row)].first_s, times[str(row)].last_s
    return Pair(
        np.array(requests.arrival_s),
        np.array(requests.images),
        np.array(hidden.first_token_s),
        first,
        np.array(hidden.finish_s),
        last,
        int(hidden.preemptions.sum()),
    )


def _stock(depth: int) -> str:
    """vLLM's class for engines that have one step, or two, under way."""
    return f"vllm.v1.core.sched.{'scheduler.Scheduler' if depth == 1 else 'async_scheduler.AsyncScheduler'}"


def jobs(requests: Any, hidden: Any, rows: Iterable[int]) -> list[Job]:
    """The requests of the simulator at `rows` as the scheduler gets them, named by their rows."""
    return [
        Job(
            name=str(row),
            arrival_s=float(requests.arrival_s[row]),
            prompt_tokens=int(requests.prompt_tokens[row]),
            output_tokens=int(hidden.output_tokens[row]),
            images=int(requests.images[row]),
            tokens_per_image=int(requests.tokens_per_image[row]),
            tiles_per_image=int(requests.tiles_per_image[row]),
            objective_s=float(requests.deadline_s[row] - requests.arrival_s[row]),
        )
        for row in rows
    ]


def _limits(configuration: Configuration, kv_tokens: int) -> Limits:
    rules = configuration.cluster.pools[0].rules
    tokens = rules.encoder_tokens(load_model(configuration.cluster.model))
    return Limits(rules.max_sequences, rules.max_step_tokens, tokens, kv_tokens)


def _settings(configuration: Configuration, objectives: Objectives, folder: Path) -> dict[str, Any]:
    """A bundle of the configuration; the guards that the simulator has not are off."""
    cluster = configuration.cluster
    bundle = folder / "winner.json"
    topology = asdict(cluster) | {"topology": cluster.topology}
    made = Winner(configuration.policies, cluster.model, cluster.gpu, topology, objectives.to_json(), {})
    write_winner(bundle, made)
    return {"bundle": str(bundle), "force": True, "longest_wait_s": None, "correct_estimates": False}


def _trace(given: argparse.Namespace) -> Trace:
    if given.trace == "synthetic":
        trace = synthesize(seed=given.seed, start_h=given.start_h, duration_h=given.hours)
    else:
        trace = read(given.trace)
    if given.text_only:
        trace = trace.take(trace.images == 0)
    if given.rate != 1.0:
        trace = scale_rate(trace, given.rate, given.seed)
    return slice_time(trace, 0.0, given.seconds) if given.seconds else trace


def _configuration(given: argparse.Namespace) -> Configuration:
    """The preset `vllm` with the policies and the tensor parallelism asked for."""
    start = preset("vllm", given.model, given.gpu, 4 * given.gpus)
    pool = Pool("EPD", given.gpus // given.tensor_parallel, given.tensor_parallel, "vllm")
    policies = start.policies.changed([f"batching={given.batching}", *given.settings])
    return Configuration("vllm", Cluster(start.cluster.model, start.cluster.gpu, (pool,)), policies)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True, help="a file, or synthetic")
    parser.add_argument("--model", default="InternVL2.5-26B")
    parser.add_argument("--gpu", default="A100-80GB")
    parser.add_argument("--gpus", type=int, default=16)
    parser.add_argument("--tensor-parallel", type=int, default=4, help="GPUs of an instance: few leave little KV cache")
    parser.add_argument("--batching", default="fcfs", help="the batching policy")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a policy or knob, as in simulate")
    parser.add_argument("--plug-in", action="store_true", help="the plug-in for fcfs too")
    parser.add_argument("--text-only", action="store_true", help="leave the requests with images out")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the rate of arrivals")
    parser.add_argument("--start-h", type=float, default=5.0)
    parser.add_argument("--hours", type=float, default=0.25)
    parser.add_argument("--seconds", type=float, default=0.0, help="only the first so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--depth", type=int, default=1, choices=(1, 2), help="steps under way: 2 = asynchronous")
    parser.add_argument("--json", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison and print it."""
    given = _parser().parse_args(arguments)
    try:
        trace = _trace(given)
        configuration = _configuration(given)
        plug_in = given.plug_in or given.batching != "fcfs" or bool(given.settings)
        with tempfile.TemporaryDirectory() as folder:
            pair = compare(trace, configuration, isolated(configuration.cluster), Path(folder), plug_in, given.depth)
    except SlackwiseError as error:
        print(f"scheduler.py: {error}", file=sys.stderr)
        return error.exit_code
    table = {
        "trace": trace.source,
        "batching": given.batching,
        "plug_in": plug_in,
        "depth": given.depth,
        **pair.table(),
    }
    print(json.dumps(table) if given.json else "\n".join(f"{name:>16}  {value}" for name, value in table.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
