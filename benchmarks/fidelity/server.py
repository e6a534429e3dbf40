"""A real vLLM server on an emulated GPU against the simulator: the same requests over HTTP, the same TTFTs?

    python benchmarks/fidelity/server.py --trace synthetic [--batching least_slack] [--requests 400] [--json]

Starts `vllm serve` on a tiny model with an executor that sleeps as long as the latency model says
(slackwise.adapters.vllm.EmulatedExecutor), replays a trace of text requests against it in real time and prints TTFT
quantiles beside those of the simulator, as they are and with what lone requests, sent before, showed the front end to
take. Images are left out: a tiny model's are of another size than those of the model that is emulated. Both sides
share their costs: what differs is the overhead of the server, and of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.adapters.vllm.tiny import tiny_model
from slackwise.errors import SlackwiseError
from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import Cluster, Pool, Simulation, isolated, preset
from slackwise.simulator.configuration import Configuration
from slackwise.traces import Trace, read, scale_rate, slice_time, synthesize

MODEL, GPU, TENSOR_PARALLEL = "InternVL2.5-26B", "A100-80GB", 4
START_S = 300.0
LONE, LONE_EVERY_S = 12, 1.0
"""Requests sent one by one, and seconds between them: what do HTTP, tokens and the engine's loop take by themselves?"""


def configured(batching: str) -> Configuration:
    """One monolith under the preset `vllm` with this batching policy."""
    start = preset("vllm", MODEL, GPU, TENSOR_PARALLEL)
    cluster = Cluster(MODEL, GPU, (Pool("EPD", 1, TENSOR_PARALLEL, "vllm"),))
    return Configuration("vllm", cluster, start.policies.changed([f"batching={batching}"]))


@contextmanager
def server(folder: Path, configuration: Configuration, longest: int) -> Iterator[str]:
    """A server that emulates the configuration's instance; its address, once it answers."""
    port = _free_port()
    options = _options(folder, configuration)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [str(Path(sys.executable).parent / "vllm"), "serve", str(tiny_model(folder / "model", longest=longest))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny", *options]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await(process, f"http://127.0.0.1:{port}/health", folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _options(folder: Path, configuration: Configuration) -> list[str]:
    rules = configuration.cluster.pools[0].rules
    emulated = {"model": MODEL, "gpu": GPU, "tensor_parallel": TENSOR_PARALLEL}
    additional: dict[str, Any] = {"emulated": emulated}
    options = ["--load-format", "dummy", "--dtype", "float32", "--enforce-eager", "--no-enable-prefix-caching"]
    options += ["--block-size", "32", "--max-num-seqs", str(rules.max_sequences)]
    options += ["--max-num-batched-tokens", str(rules.max_step_tokens)]
    options += ["--distributed-executor-backend", "slackwise.adapters.vllm.EmulatedExecutor"]
    if configuration.policies.batching.name != "fcfs":
        cluster, bundle = configuration.cluster, folder / "winner.json"
        topology = asdict(cluster) | {"topology": cluster.topology}
        slo = isolated(cluster).to_json()
        write_winner(bundle, Winner(configuration.policies, cluster.model, cluster.gpu, topology, slo, {}))
        additional["slackwise"] = {"bundle": str(bundle), "force": True, "longest_wait_s": None}
        options += ["--scheduler-cls", "slackwise.adapters.vllm.SlackwiseScheduler"]
    return [*options, "--additional-config", json.dumps(additional)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SlackwiseError(f"the server stopped: {log.read_text(errors='replace')[-1500:]}")
        try:
            with urlopen(address, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.25)
    raise SlackwiseError(f"no answer from {address} within {START_S:g} s")


async def replay(
    address: str, arrival_s: NDArray[np.float64], prompts: NDArray[Any], outputs: NDArray[Any], slo_s: NDArray[Any]
) -> NDArray[np.float64]:
    """Send every request at its time; TTFTs in seconds as the client sees them, shape (n,)."""
    import aiohttp

    found = np.full(len(arrival_s), np.inf)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        begun = time.monotonic() + 0.5

        async def one(at: int) -> None:
            await asyncio.sleep(max(0.0, begun + arrival_s[at] - time.monotonic()))
            sent = time.monotonic()
            body = {"model": "tiny", "prompt": [5] * int(prompts[at]), "max_tokens": int(outputs[at]), "stream": True}
            body |= {"ignore_eos": True, "temperature": 0, "vllm_xargs": {"slo_ms": 1e3 * float(slo_s[at])}}
            async with session.post(address + "/v1/completions", json=body) as reply:
                reply.raise_for_status()
                async for line in reply.content:
                    if line.startswith(b"data: {") and found[at] == np.inf:
                        found[at] = time.monotonic() - sent

        await asyncio.gather(*(one(at) for at in range(len(arrival_s))))
    return found


def warm_up(address: str) -> None:
    """Let the server handle a few requests before it counts."""
    few = np.zeros(4)
    asyncio.run(replay(address, few, few + 50, few + 3, few + 9.0))


def compare(trace: Trace, configuration: Configuration) -> dict[str, Any]:
    """Quantiles of the TTFT from the simulator and from the server, and the median overhead of a request."""
    simulation = Simulation(trace, configuration, isolated(configuration.cluster), image_context="keep")
    simulation.run_until()
    requests, hidden = simulation.workload.requests, simulation.workload.progress
    arrival = np.array(requests.arrival_s - requests.arrival_s[0])
    ours = np.array(hidden.first_token_s - requests.arrival_s)
    longest = int((requests.prompt_tokens + hidden.output_tokens).max()) + 64
    slo = np.array(requests.deadline_s - requests.arrival_s)
    with tempfile.TemporaryDirectory() as place, server(Path(place), configuration, longest) as address:
        warm_up(address)
        front_end_s = front_end(address, trace, configuration)
        theirs = asyncio.run(replay(address, arrival, requests.prompt_tokens, hidden.output_tokens, slo))
        plug_in = _counted(address)
    return table(ours, theirs, front_end_s) | {"span_s": float(arrival[-1]), "plug_in": plug_in}


def front_end(address: str, trace: Trace, configuration: Configuration) -> float:
    """Median seconds by which the first token of a lone request comes later than the simulator says."""
    some = trace.take(np.linspace(0, len(trace) - 1, min(LONE, len(trace))).astype(np.int64))
    alone = replace(some, arrival_s=np.arange(len(some)) * np.float64(1000.0))
    simulation = Simulation(alone, configuration, isolated(configuration.cluster), image_context="keep")
    simulation.run_until()
    requests, hidden = simulation.workload.requests, simulation.workload.progress
    arrival, few = np.arange(len(some)) * np.float64(LONE_EVERY_S), np.full(len(some), 2)
    theirs = asyncio.run(replay(address, arrival, requests.prompt_tokens, few, few + 9.0))
    return float(np.median(theirs - (hidden.first_token_s - requests.arrival_s)))


def table(ours: NDArray[np.float64], theirs: NDArray[np.float64], front_end_s: float = 0.0) -> dict[str, Any]:
    """Quantiles and mean of both, and simulated over served: as they are, and with the front end's seconds added."""
    points: dict[str, Any] = {f"p{q}": (np.quantile(ours, q / 100), np.quantile(theirs, q / 100)) for q in (50, 90, 99)}
    points["mean"] = (ours.mean(), theirs.mean())
    return {
        "requests": len(ours),
        "simulated_s": {name: float(pair[0]) for name, pair in points.items()},
        "served_s": {name: float(pair[1]) for name, pair in points.items()},
        "ratio": {name: float(pair[0] / pair[1]) for name, pair in points.items()},
        "front_end_s": front_end_s,
        "ratio_with_front_end": {name: float((pair[0] + front_end_s) / pair[1]) for name, pair in points.items()},
        "median_overhead_s": float(np.median(theirs - ours)),
    }


def _counted(address: str) -> dict[str, float]:
    """What the plug-in's metrics say, empty without it."""
    from urllib.request import urlopen

    time.sleep(0.5)  # its counters are written now and then
    with urlopen(address + "/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    wanted = {"admitted": "slackwise:admitted_total", "reorders": "slackwise:reorders_total"}
    wanted |= {"fallbacks": "slackwise:fallbacks_total"}
    found = {name: [float(line.split()[-1]) for line in lines if line.startswith(key)] for name, key in wanted.items()}
    return {name: values[0] for name, values in found.items() if values}


def _trace(given: argparse.Namespace) -> Trace:
    trace = synthesize(seed=given.seed, start_h=5, duration_h=1) if given.trace == "synthetic" else read(given.trace)
    trace = scale_rate(trace.take(trace.images == 0), given.rate, given.seed)
    return slice_time(trace, 0.0, given.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", default="synthetic", help="a file, or synthetic")
    parser.add_argument("--batching", default="fcfs")
    parser.add_argument("--rate", type=float, default=2.0, help="factor on the rate of the trace's text requests")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the replay")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison and print it."""
    given = _parser().parse_args(arguments)
    try:
        found = compare(_trace(given), configured(given.batching))
    except SlackwiseError as error:
        print(f"server.py: {error}", file=sys.stderr)
        return error.exit_code
    found = {"batching": given.batching, "rate": given.rate, **found}
    print(json.dumps(found) if given.json else "\n".join(f"{name:>18}  {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
