"""AIConfigurator's part of sizing.py: PYTHON aiconfigurator_worker.py JOB ANSWER, both JSON.

Its plans for the mean request at the mean rate, by the way that its `recommend` goes (every parallelism is swept, then
the replicas that serve the rate within the objectives are counted and the fewest GPUs win), with encoders beside the
language model (agg, disagg) and apart (EPD). And the step times of its tables: sums of measured kernels, without what
its planner adds to them (0.8 ms a layer and prompt, a queueing factor, corrections of 8 to 80 %).
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

BACKEND = "vllm"
SERVER_GPUS = 8
DECODES = (1, 4, 16, 64, 128, 256)
CONTEXTS = (256, 1024, 4096)
PROMPTS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
CHUNKS = (512, 2048)
IMAGES = (1, 2, 4, 8, 16)
STEP_TOKENS, SEQUENCES = 2048, 256
"""Of vLLM's scheduler, for the memory that activations take."""


def plans(job: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The plan of the fewest GPUs of each way to serve, the fewest first; and why a way has none."""
    task = import_module("aiconfigurator.sdk.task_v2").Task
    make = task.build_model_config

    def with_default_attention(self: Any, **given: Any) -> Any:
        made = make(self, **given)
        made.attention_backend = None  # the planner's "flashinfer" has no table of vLLM on Hopper
        return made

    task.build_model_config = with_default_attention
    found, failed = [], {}
    for apart in (False, True):
        for name, each in _tasks(job, apart).items():
            way = f"{name}, encoders apart" if apart else name
            try:
                best = _best(each, job["rate_rps"])
            except Exception as error:  # whatever it raises is its answer
                failed[way] = str(error)
                continue
            if best is None:
                failed[way] = "no configuration within the objectives"
            else:
                found.append({"way": way, **_plan(best, each.serving_mode, apart)})
    return sorted(found, key=lambda plan: plan["gpus"]), failed


def _tasks(job: dict[str, Any], apart: bool) -> Any:
    cli, api = import_module("aiconfigurator.cli.main"), import_module("aiconfigurator.cli.api")
    width, height = job["image_size"]
    base = cli.build_default_tasks(
        model_path=job["model"],
        total_gpus=SERVER_GPUS,
        system=job["system"],
        backend=BACKEND,
        database_mode="SILICON",  # measured tables alone
        isl=job["text_tokens"],
        osl=job["output_tokens"],
        image_width=width,
        image_height=height,
        num_images=job["images"],
        ttft=1e3 * job["ttft_s"],
        tpot=1e3 * job["tbt_s"],
        enable_epd=apart,
    )
    return api._build_recommend_tasks(base, SERVER_GPUS)


def _best(task: Any, rate_rps: float) -> Any:
    pick = import_module("aiconfigurator.sdk.picking").pick_load_match
    frame = task.run()
    if frame is None or not len(frame):
        return None
    rows = frame[frame["tpot"] <= task.tpot]  # where none keeps it, the picker takes the nearest that does not
    if not len(rows):
        return None
    best = pick(rows, task.serving_mode, target_tpot=task.tpot, target_request_rate=rate_rps, top_n=1)
    return best["best_config_df"].iloc[0].to_dict()


def _plan(row: dict[str, Any], mode: str, apart: bool) -> dict[str, Any]:
    """A row of its answer as pools of instances."""
    replicas = int(row["replicas_needed"])
    if mode == "agg":
        worker = ("PD" if apart else "EPD", row["(a)workers"] if apart else 1, row["tp"], row["bs"])
        workers = [worker]
    else:
        prefill = ("P" if apart else "EP", row["(p)workers"], row["(p)tp"], row["(p)bs"])
        workers = [prefill, ("D", row["(d)workers"], row["(d)tp"], row["(d)bs"])]
    if apart:
        workers.insert(0, ("E", row["(e)workers"], row["(e)tp"], row["(e)bs"]))
    pools = [  # of one replica
        {"stages": stages, "instances": int(count), "tensor_parallel": int(size), "batch": int(batch)}
        for stages, count, size, batch in workers
    ]
    return {
        "replicas": replicas,
        "pools": pools,
        "gpus": int(row["total_gpus_needed"]),
        "ttft_s": float(row["ttft"]) / 1e3,
        "tbt_s": float(row["tpot"]) / 1e3,
        "capacity_rps": replicas * float(row["seq/s"]),
        "encode_s": float(row["encoder_latency"]) / 1e3,
    }


class Tables:
    """Step times of one instance, from its tables."""

    def __init__(self, job: dict[str, Any], tensor_parallel: int) -> None:
        core = "aiconfigurator_core.sdk."
        self.config, self.mixed_input = import_module(core + "config"), import_module(core + "step_estimate")
        self.backend = import_module(core + "backends.factory").get_backend(BACKEND)
        databases = import_module(core + "perf_database")
        self.database = databases.get_database_view(job["system"], BACKEND, "current", database_mode="SILICON")
        if self.database is None:
            raise SystemExit(f"AIConfigurator has no tables of {BACKEND} on {job['system']}")
        layout = self.config.ModelConfig(tp_size=tensor_parallel, enable_encoder_dp=False)
        self.model = import_module(core + "models").get_model(job["model"], layout, BACKEND)
        self.size = job["image_size"]

    def decode(self, count: int, context: int) -> float:
        """Seconds of a step of `count` decodes, each after `context` tokens."""
        its = self.backend._get_genonly_step_latency(self.model, self.database, self._text(1, 2), count, context, 2)
        return float(its[0]) / 1e3

    def prefill(self, tokens: int) -> float:
        """Seconds of a step with one whole prompt."""
        its = self.backend.run_static_latency_only(self.model, self.database, self._text(tokens, 2), "static_ctx")
        return float(its) / 1e3

    def mixed(self, tokens: int, count: int) -> float:
        """Seconds of a step with one whole prompt and `count` decodes, each after `tokens` tokens."""
        asked = self.mixed_input.MixedStepInput(tokens, count)
        return float(self.backend.run_mixed(self.model, self.database, self._text(tokens, 2), asked).latency_ms) / 1e3

    def encode(self, images: int) -> float:
        """Seconds of the encoder for so many images."""
        width, height = self.size
        its = self.config.RuntimeConfig(
            batch_size=1, isl=1, osl=2, image_width=width, image_height=height, num_images_per_request=1
        )
        return float(self.backend.run_encoder_static(self.model, self.database, its, images)[0]) / 1e3

    def _text(self, tokens: int, output: int) -> Any:
        return self.config.RuntimeConfig(batch_size=1, isl=tokens, osl=output, num_images_per_request=0)


def steps(job: dict[str, Any], tensor_parallel: int) -> list[dict[str, float]]:
    """Steps and their seconds, with the columns of `slackwise calibrate`."""
    its = Tables(job, tensor_parallel)
    rows = [_row(its.decode(count, context), count, count * context) for count in DECODES for context in CONTEXTS]
    rows += [_row(its.prefill(tokens), prompt_tokens=tokens) for tokens in PROMPTS]
    rows += [_row(its.mixed(chunk, n), n, n * chunk, chunk) for chunk in CHUNKS for n in DECODES]
    return rows + [_row(its.encode(images), images=images) for images in IMAGES]


def _row(
    seconds: float, decodes: int = 0, context_tokens: int = 0, prompt_tokens: int = 0, images: int = 0
) -> dict[str, float]:
    return {
        "decodes": decodes,
        "context_tokens": context_tokens,
        "prompt_tokens": prompt_tokens,
        "images": images,
        "tiles": images,  # of native resolution: an image is one tile
        "seconds": seconds,
    }


def kv_tokens(job: dict[str, Any], tensor_parallel: int) -> int:
    """Tokens of the KV cache of an instance, vLLM keeping its usual share of the memory."""
    memory = import_module("aiconfigurator_core.sdk.memory")
    share = import_module("aiconfigurator_core.sdk.backends.vllm_backend").VLLM_DEFAULT_GPU_MEMORY_UTILIZATION
    found = memory.estimate_kv_cache(
        job["model"],
        job["system"],
        BACKEND,
        "current",
        max_num_tokens=STEP_TOKENS,
        max_batch_size=SEQUENCES,
        memory_fraction_kind="of_total",
        memory_fraction_value=share,
        tp_size=tensor_parallel,
    )
    return int(found["total_kv_size_tokens"])


def main() -> None:
    """Answer the job."""
    logging.disable(logging.CRITICAL)  # what it says of tables that are not used here
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sizes = job["tensor_parallel"]
    tables = {str(size): {"kv_tokens": kv_tokens(job, size), "steps": steps(job, size)} for size in sizes}
    found, failed = plans(job)
    names = ("aiconfigurator", "aiconfigurator-core")
    answer = {"versions": {name: version(name) for name in names}, "plans": found, "failed": failed, "tables": tables}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
