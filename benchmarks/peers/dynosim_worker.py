"""DynoSim's part: PYTHON_WITH_AI_DYNAMO dynosim_worker.py JOB OUT. Its offline replay, one worker.

It has two tables of its own: seconds of a prefill by its tokens, and of a decode step by active KV tokens and mean
context. The step's time is put into them; a step that prefills and decodes it makes of both.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from worker import BLOCK_TOKENS, Clock, leave, step_seconds

HASHED_TOKENS = 512


def tables(job: Any, path: Path) -> None:
    """Its profile: prefills at 40 lengths, decode steps at 32 sizes of the KV cache and 32 contexts."""
    lengths = np.unique(np.geomspace(1, int(job["step_tokens"]), 40).astype(int)).astype(float)
    prefill = [1e3 * step_seconds(job, int(each), 0.0, each * each / 2) for each in lengths]
    active, context = np.linspace(1, int(job["kv_tokens"]), 32), np.linspace(1, 16384, 32)
    decode = [
        [1e3 * step_seconds(job, max(1, min(int(job["max_sequences"]), round(kv / each))), kv, 0.0) for each in context]
        for kv in active
    ]
    np.savez(
        path,
        prefill_isl=lengths,
        prefill_ttft_ms=np.array(prefill),
        decode_active_kv_tokens=active,
        decode_context_length=context,
        decode_itl=np.array(decode),
    )


def rows(job: Any, path: Path) -> None:
    """The requests in Mooncake's form; no two share a block."""
    block, lines = 0, []
    for arrival, prompt, output in zip(job["arrival_s"], job["prompt_tokens"], job["output_tokens"], strict=True):
        blocks = -(-int(prompt) // HASHED_TOKENS)
        row = {"timestamp": 1e3 * float(arrival), "input_length": int(prompt), "output_length": int(output)}
        lines.append(json.dumps({**row, "hash_ids": list(range(block, block + blocks))}))
        block += blocks
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Serve the job and leave the seconds of its requests."""
    job = dict(np.load(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        trace, profile, each = (Path(folder) / name for name in ("trace.jsonl", "profile.npz", "requests.jsonl"))
        rows(job, trace)
        tables(job, profile)
        engine = {
            "block_size": BLOCK_TOKENS,
            "num_gpu_blocks": int(job["kv_tokens"]) // BLOCK_TOKENS,
            "max_num_seqs": int(job["max_sequences"]),
            "max_num_batched_tokens": int(job["step_tokens"]),
            "enable_prefix_caching": False,
            "enable_chunked_prefill": True,
            "planner_profile_data": str(profile),
        }
        arguments = import_module("dynamo.mocker").MockEngineArgs.from_json(json.dumps(engine))
        replay, clock = import_module("dynamo.replay").run_trace_replay, Clock()
        replay(str(trace), extra_engine_args=arguments, trace_block_size=HASHED_TOKENS, report_jsonl_path=str(each))
        seconds = clock.lap()
        served = sorted(map(json.loads, each.read_text().splitlines()), key=lambda row: row["arrival_time_ms"])
    ttft = [1e-3 * row["ttft_ms"] for row in served]
    leave(sys.argv[2], ttft, [1e-3 * row["e2e_latency_ms"] for row in served], cpu_s=seconds, set_up_s=0.0)


if __name__ == "__main__":
    main()
