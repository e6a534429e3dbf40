"""What the plug-in takes for granted of vLLM's scheduler, and whether the vLLM that is here has it.

    python -m slackwise.adapters.vllm.contract [MODEL_FOLDER]

prints what is missing, a line each; with a folder it writes a tiny model there and serves six requests in virtual time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

SCHED = "vllm.v1.core.sched"
PLACES = {
    f"{SCHED}.async_scheduler": ("AsyncScheduler",),
    f"{SCHED}.scheduler": ("Scheduler",),
    f"{SCHED}.output": ("SchedulerOutput", "CachedRequestData"),
    "vllm.v1.core.encoder_cache_manager": ("EncoderCacheManager",),
    "vllm.v1.request": ("Request", "RequestStatus"),
    "vllm.v1.outputs": ("ModelRunnerOutput",),
    "vllm.v1.metrics.loggers": ("StatLoggerBase",),
    "vllm.logger": ("init_logger",),
}
"""Module -> names."""

METHODS = ("add_request", "schedule", "update_from_output", "finish_requests", "shutdown", "has_unfinished_requests")
"""Of the scheduler."""

STATE = (
    "self.waiting = create_request_queue(",
    "self.running",
    "self.requests",
    "self.max_num_scheduled_tokens",
    "self.max_num_encoder_input_tokens",
    "self.max_num_running_reqs",
    "self.encoder_cache_manager",
    "self.kv_cache_manager",
)
"""Of its constructor's text."""

OUTPUT = (
    "scheduled_new_reqs",
    "scheduled_cached_reqs",
    "num_scheduled_tokens",
    "total_num_scheduled_tokens",
    "scheduled_encoder_inputs",
    "finished_req_ids",
    "preempted_req_ids",
)
"""Fields of a step's output."""

QUESTION = ("request", "input_id", "encoder_compute_budget", "num_embeds_to_schedule")
"""Arguments of EncoderCacheManager.can_allocate."""

REQUEST = ("num_computed_tokens", "num_prompt_tokens", "num_preemptions", "is_prefill_chunk", "mm_features")
"""Attributes of a request."""


def broken() -> list[str]:
    """What of the contract the installed vLLM does not keep; empty if all is well."""
    return list(_broken())


def _broken() -> Iterator[str]:
    found = {}
    for module, names in PLACES.items():
        try:
            loaded = import_module(module)
        except Exception as error:
            yield f"{module} cannot be imported: {error}"
            return
        for name in names:
            if not hasattr(loaded, name):
                yield f"{module} has no {name}"
                return
            found[name] = getattr(loaded, name)
    scheduler = found["Scheduler"]
    yield from (f"Scheduler has no {name}" for name in METHODS if not hasattr(scheduler, name))
    text = inspect.getsource(scheduler.__init__)
    yield from (f"Scheduler.__init__ does not set {line}" for line in STATE if line not in text)
    fields = found["SchedulerOutput"].__dataclass_fields__
    yield from (f"SchedulerOutput has no {name}" for name in OUTPUT if name not in fields)
    if "resumed_req_ids" not in found["CachedRequestData"].__dataclass_fields__:
        yield "CachedRequestData has no resumed_req_ids"
    asked = tuple(inspect.signature(found["EncoderCacheManager"].can_allocate).parameters)[1:]
    if asked[: len(QUESTION)] != QUESTION:
        yield f"EncoderCacheManager.can_allocate takes {', '.join(asked)}"
    text = inspect.getsource(found["Request"].__init__)
    yield from (f"a Request has no {name}" for name in REQUEST if f"self.{name}" not in text)


def drive(folder: Path) -> str:
    """Serve a few requests with the plug-in in virtual time; what came of it, in a line."""
    from slackwise.adapters.vllm.loop import Job, Limits, Loop, make_scheduler
    from slackwise.adapters.vllm.tiny import tiny_model
    from slackwise.latency.gpu import load_gpu
    from slackwise.latency.model import load_model
    from slackwise.latency.roofline import roofline
    from slackwise.policies.bundle import Policies, PolicyChoice
    from slackwise.policies.winner import Winner, write_winner

    choices = {"encode_routing": "least_requests", "encode_batching": "fcfs", "routing": "least_requests"}
    choices |= {"chunking": "k_images", "batching": "least_slack"}
    policies = Policies(**{role: PolicyChoice(name) for role, name in choices.items()})
    slo = {"text_ttft_s": 1.0, "image_ttft_s": 2.0}
    model = tiny_model(folder / "model", longest=65536)
    write_winner(folder / "winner.json", Winner(policies, "LLaVA-OneVision-7B", "A100-80GB", {}, slo, {}))
    settings = {"bundle": str(folder / "winner.json"), "force": True, "correct_estimates": False}
    scheduler = make_scheduler(
        model,
        Limits(sequences=1, step_tokens=512),
        "slackwise.adapters.vllm.SlackwiseScheduler",
        settings,
    )
    jobs = [Job(f"r{at}", 0.0, 300, 3, at % 3, 64, 1, 9.0 - at) for at in range(6)]
    loop = Loop(scheduler, roofline(load_model("LLaVA-OneVision-7B"), load_gpu("A100-80GB"), 1), jobs)
    loop.run()
    order = sorted(loop.first_s, key=lambda name: loop.first_s[name])
    return f"{' '.join(order)} fallbacks {scheduler.conductor.counters.fallbacks}"


def main(arguments: list[str]) -> int:
    """Print what is broken, or what driving gave; the number of things broken."""
    found = broken()
    print("\n".join(found) or "contract kept")
    if arguments and not found:
        print(drive(Path(arguments[0])))
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
