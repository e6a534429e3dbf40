"""The shipped constants on measurements that neither they nor the form of the model ever saw.

    git clone https://github.com/microsoft/vidur
    git -C vidur fetch origin pull/6/head   # has the profile of attention kernels
    python benchmarks/fidelity/blind.py vidur [--publish]

Vidur (2024) profiled collectives of NCCL on DGX A100 and H100, attention kernels on an A100, and the time that an
engine of early 2024 (vLLM's scheduler and workers, under Ray) spends outside the GPU. Files are read from its history,
at the commits named below. Of the all-reduces only those that vLLM leaves to NCCL are compared, from 8 MiB on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from report import markdown, tell

from slackwise.errors import InputError, SlackwiseError
from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import Language, load_model
from slackwise.latency.rates import Rates, rates
from slackwise.latency.roofline import roofline
from slackwise.latency.stages import seconds_of
from slackwise.latency.terms import ring_seconds
from slackwise.latency.work import all_reduced, language_work, ring_steps

NETWORK, ATTENTION, HOST = "7d47513363ec", "e2d00e9afba9", "0633efaee282"
"""Commits of 2024-11-19, 2024-05-08 and 2024-01-11."""

DEGREES = (2, 4, 8)
SERVERS = {"A100-80GB": "a100_dgx", "H100": "h100_dgx"}
LEAST_S = 1e-4
"""Attention kernels shorter than this are left out: what a launch takes is an overhead of the layer."""

LAYER = Language(layers=1, hidden=8192, heads=64, kv_heads=8, head_dim=128, mlp=0, vocab=0)
LAYER_GPUS = 2
"""Whose attention was profiled: a layer of Llama 2 70B on each of two GPUs."""

HOST_DEGREES = (1, 2, 4)
LLAMA, A100, CONTEXT = load_model("Llama-3.2-11B"), load_gpu("A100-80GB"), 1024
OUTSIDE = (
    "SCHEDULE",
    "SAMPLER_E2E",
    "PREPARE_INPUTS_E2E",
    "PROCESS_MODEL_OUTPUTS",
    "POST_PREPARE_INPUTS_BARRIER",
    "RAY_COMM_TIME",
)
"""What happens between two runs of the model, in the profile's words; medians over the steps are taken."""


def stored(repository: Path, commit: str, path: str) -> pd.DataFrame:
    """A csv of the repository's history. Raises InputError if it is not there."""
    command = ["git", "-C", str(repository), "show", f"{commit}:data/profiling/{path}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{repository} is no clone of Vidur that holds data/profiling/{path} at {commit}") from error
    return pd.read_csv(StringIO(found.stdout))


def all_reduces(repository: Path) -> pd.DataFrame:
    """One row a size and number of GPUs of one server: error of the roofline's all-reduce."""
    parts = []
    for name, folder in SERVERS.items():
        reached = rates(load_gpu(name), load_engine("vllm"))
        rows = stored(repository, NETWORK, f"network/{folder}/all_reduce.csv")
        inside = (rows["num_workers"] == rows["devices_per_node"]) & (rows["size"] >= float(reached.ring_bytes))
        measured_ms = rows[inside].groupby(["num_workers", "size"])["time_stats.all_reduce.median"].median()
        for gpus in DEGREES:
            some = measured_ms.loc[gpus]
            error = _reduce_s(some.index.to_numpy(float), gpus, reached) / (1e-3 * some.to_numpy(float)) - 1
            parts.append(pd.DataFrame({"what": f"all-reduce of {gpus} GPUs", "gpu": name, "error": error}))
    return pd.concat(parts)


def _reduce_s(size: NDArray[np.float64], gpus: int, reached: Rates) -> NDArray[np.float64]:
    """Seconds of one all-reduce of `size` bytes."""
    moved_s = all_reduced(1.0, gpus) * size / reached.reduce_bytes_s
    return np.asarray(reached.all_reduce_s + moved_s + ring_seconds(ring_steps(gpus), size, reached))


def attention(repository: Path) -> pd.DataFrame:
    """One row a kernel of LEAST_S and more: reading the KV cache in decode, pairs of tokens in prefill."""
    rows = stored(repository, ATTENTION, "a100/attention.csv")
    reached, work = rates(A100, load_engine("vllm")), language_work(LAYER, LAYER_GPUS)
    read = rows["batch_size"] * rows["kv_cache_size"] * work.kv_bytes_per_token
    pairs = rows["prefill_chunk_size"] * (rows["kv_cache_size"] + rows["prefill_chunk_size"] / 2)
    parts = []
    for what, kind, predicted in (
        ("decode attention", "attn_decode", read / reached.kv_bytes_s),
        ("prefill attention", "attn_prefill", pairs * work.flops_per_pair / reached.attention_flops_s),
    ):
        measured = 1e-3 * rows[f"time_stats.{kind}.median"]
        some = measured >= LEAST_S  # rows of the other kind hold no number
        error = (predicted[some] / measured[some] - 1).to_numpy(float)
        parts.append(pd.DataFrame({"what": what, "gpu": A100.name, "error": error}))
    return pd.concat(parts)


def host(repository: Path) -> str:
    """Time outside the model by sequences and GPUs, and Llama 3.2 11B's decode step with it, in ms."""
    rows = stored(repository, HOST, "a100/cpu_overheads.csv")
    rows = rows[rows["model_name"] == "meta-llama/Llama-2-7b-hf"]
    rows["ms"] = rows[[f"{each}_MEDIAN" for each in OUTSIDE]].sum(axis=1)
    table = rows.pivot(index="batch_size", columns="tensor_parallel_degree", values="ms")[list(HOST_DEGREES)]
    kernels = [roofline(LLAMA, A100, degree, "vllm") for degree in HOST_DEGREES]
    between = load_engine("vllm").step_s
    lines = [
        "| sequences | outside the model: TP-1 | TP-2 | TP-4 | decode step with it: TP-1 | TP-2 | TP-4 |",
        "| ---: |" + " ---: |" * 6,
    ]
    for sequences, outside in zip(table.index.astype(int).tolist(), table.to_numpy(float), strict=True):
        steps = [seconds_of(each, sequences, sequences * CONTEXT) - between for each in kernels]
        cells = [*outside, *(1e3 * np.array(steps) + outside)]
        lines.append(f"| {sequences} | {' | '.join(f'{each:.1f}' for each in cells)} |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, metavar="VIDUR", help="clone of microsoft/vidur, history included")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/latency.md")
    options = parser.parse_args(given)
    try:
        errors = pd.concat([all_reduces(options.repository), attention(options.repository)])
        body = f"{markdown(errors, ['what', 'gpu'], ['what', 'GPU'])}\n\n{host(options.repository)}"
    except SlackwiseError as error:
        print(f"blind: {error}", file=sys.stderr)
        return error.exit_code
    tell("blind", body, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
