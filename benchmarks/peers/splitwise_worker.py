"""splitwise-sim's part: PYTHON splitwise_worker.py JOB OUT CHECKOUT. One server, prompts first, no chunks.

It jumps over runs of equal steps, as slackwise leaps, but at the time of the first of them. Its own measurements are
replaced by the step's time. A prompt is computed whole: it does not chunk.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from worker import Clock, leave, step_seconds


def time_of(job: Any) -> Any:
    """A performance model that answers with the step's time of `job`."""
    base: Any = import_module("performance_model").PerformanceModel
    prompt_task = import_module("task").PromptTask

    class StepTime(base):  # type: ignore[misc]
        def get_duration(self, task: Any, batch: Any, instance: Any, *_: Any, **__: Any) -> float:
            raise NotImplementedError

        def get_iteration_duration(self, batch: Any, instance: Any, *_: Any, **__: Any) -> float:
            tokens, kv_tokens, pairs = 0, 0.0, 0.0
            for task in batch:
                if isinstance(task, prompt_task):
                    size = task.request.prompt_size
                    tokens, pairs = tokens + size, pairs + size * size / 2
                else:
                    tokens, kv_tokens = tokens + 1, kv_tokens + task.request.processed_tokens
            return step_seconds(job, int(tokens), kv_tokens, pairs)

    return StepTime()


def main() -> None:
    """Serve the job and leave the seconds of its requests."""
    out, checkout = str(Path(sys.argv[2]).absolute()), Path(sys.argv[3]).absolute()
    job = dict(np.load(sys.argv[1]))
    sys.path.insert(0, str(checkout))
    clock = Clock()

    hydra: Any = import_module("hydra")
    initialize: Any = import_module("initialize")
    initialize.get_original_cwd = lambda: str(checkout)
    import_module("omegaconf").OmegaConf.register_new_resolver("eval", eval)
    wanted = ["cluster=solo_a100", "start_state=baseline", "~hydra/launcher"]
    wanted += [f"start_state.instance.max_batch_size={int(job['max_sequences'])}"]
    wanted += [f"start_state.instance.max_batch_tokens={int(job['step_tokens'])}"]
    wanted += ["applications.0.scheduler=token_jsq", "applications.0.model_architecture=llama2-70b"]
    wanted += ["applications.0.model_size=llama2-70b-fp16", "end_time=1000000000"]
    with hydra.initialize_config_dir(str(checkout / "configs"), version_base=None):
        settings = hydra.compose("config", overrides=wanted)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        initialize.init_hardware_repo(settings)
        initialize.init_model_repo(settings)
        initialize.init_orchestrator_repo(settings)
        initialize.init_power_model(settings)
        time_of(job)
        cluster = initialize.init_cluster(settings)
        router, arbiter = initialize.init_router(settings, cluster), initialize.init_arbiter(settings, cluster)
        applications = initialize.init_applications(settings, cluster, router, arbiter)
        columns = {name: job[column] for name, column in COLUMNS.items()}
        columns["arrival_timestamp"] = columns["arrival_timestamp"] + FIRST_S
        frame = pd.DataFrame({"request_id": np.arange(len(job["arrival_s"])), **columns})
        trace = import_module("trace").Trace(frame.assign(application_id=0, request_type=2, batch_size=1))
        for application in applications.values():
            router.add_application(application)
            arbiter.add_application(application)
        simulation = import_module("simulator").TraceSimulator(
            trace, cluster, applications, router, arbiter, settings.end_time
        )
        initialize.init_start_state(
            settings, cluster=cluster, applications=applications, router=router, arbiter=arbiter
        )
        simulation.save_results = lambda *_: None  # its tables are not counted
        set_up = clock.lap()
        simulation.run()
        seconds = clock.lap()
        served = sorted(trace.requests, key=lambda each: int(each.request_id))
        leave(
            out,
            [each.metrics.TTFT for each in served],
            [each.metrics.router_response_time for each in served],
            cpu_s=seconds,
            set_up_s=set_up,
        )
        os.chdir("/")


FIRST_S = 1.0
"""Of the first request: what is due at 0 happens before there are instances."""

COLUMNS = {"arrival_timestamp": "arrival_s", "prompt_size": "prompt_tokens", "token_size": "output_tokens"}

if __name__ == "__main__":
    main()
