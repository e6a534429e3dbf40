"""Vidur's part: PYTHON vidur_worker.py JOB OUT CHECKOUT. Its Sarathi scheduler on one replica, metrics off.

Its predictors are trained on profiles of kernels; here a predictor of ours answers with the step's time instead, so
that it neither trains nor looks anything up. Its own take longer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from worker import BLOCK_TOKENS, Clock, leave, step_seconds

PLANNED_TOKENS = 1024
"""Of a request, for its planner of memory: few, so that the sequence limit is the engine's and not the planner's."""


def predictor(job: Any) -> Any:
    """A class of execution time predictors that answers with the step's time of `job`."""
    execution_time = import_module("vidur.entities").ExecutionTime
    predictors = import_module("vidur.execution_time_predictor.base_execution_time_predictor")
    base: Any = predictors.BaseExecutionTimePredictor

    class StepTime(base):  # type: ignore[misc]
        def get_execution_time(self, batch: Any, pipeline_stage: int) -> Any:
            kv_tokens, pairs = 0.0, 0.0
            for request, new in zip(batch.requests, batch.num_tokens, strict=True):
                done = request.num_processed_tokens
                if request.is_prefill_complete:
                    kv_tokens += done
                else:
                    pairs += new * (done + new / 2)
            seconds = step_seconds(job, batch.total_num_tokens, kv_tokens, pairs)
            return execution_time(self._num_layers_per_pipeline_stage, *[0.0] * 14, 1e3 * seconds, *[0.0] * 4)

    for name in base.__abstractmethods__:
        setattr(StepTime, name, lambda *_: 0.0)
    StepTime.__abstractmethods__ = frozenset()
    return StepTime


def main() -> None:
    """Serve the job and leave the seconds of its requests."""
    out = str(Path(sys.argv[2]).absolute())
    job = dict(np.load(sys.argv[1]))
    sys.path.insert(0, str(Path(sys.argv[3]).absolute()))
    os.environ["WANDB_MODE"] = "disabled"
    clock = Clock()
    config, types = import_module("vidur.config"), import_module("vidur.types")
    predictors = import_module("vidur.execution_time_predictor.execution_time_predictor_registry")
    sources = import_module("vidur.request_generator").RequestGeneratorRegistry
    request_of = import_module("vidur.entities").Request
    simulator_of = import_module("vidur.simulator").Simulator
    requests: list[Any] = []

    class Requests:
        def __init__(self, *_: Any) -> None:
            pass

        def generate(self) -> list[Any]:
            columns = (job["arrival_s"], job["prompt_tokens"], job["output_tokens"])
            requests.extend(request_of(float(at), int(new), int(more)) for at, new, more in zip(*columns, strict=True))
            return requests

    kind, registry = types.ExecutionTimePredictorType.RANDOM_FORREST, predictors.ExecutionTimePredictorRegistry
    registry.unregister(kind)
    registry.register(kind, predictor(job))
    sources.unregister(types.RequestGeneratorType.TRACE_REPLAY)
    sources.register(types.RequestGeneratorType.TRACE_REPLAY, Requests)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        scheduler = config.SarathiSchedulerConfig(
            chunk_size=int(job["step_tokens"]),
            batch_size_cap=int(job["max_sequences"]),
            block_size=BLOCK_TOKENS,
            num_blocks=int(job["kv_tokens"]) // BLOCK_TOKENS,
        )
        metrics = config.MetricsConfig(
            write_metrics=False,
            store_plots=False,
            store_operation_metrics=False,
            store_token_completion_metrics=False,
            store_request_metrics=False,
            store_batch_metrics=False,
            store_utilization_metrics=False,
            output_dir=folder,
            cache_dir=folder,
        )
        replica = config.ReplicaConfig(model_name="meta-llama/Meta-Llama-3-8B", device="a100")
        cluster = config.ClusterConfig(1, replica, replica_scheduler_config=scheduler)
        simulator = simulator_of(
            config.SimulationConfig(
                log_level="error",
                cluster_config=cluster,
                request_generator_config=config.TraceRequestGeneratorConfig(max_tokens=PLANNED_TOKENS),
                metrics_config=metrics,
            )
        )
        set_up = clock.lap()
        simulator.run()
        seconds = clock.lap()
        served = sorted(requests, key=lambda each: each.arrived_at)
        ttft = [each.prefill_completed_at - each.arrived_at for each in served]
        leave(out, ttft, [each.completed_at - each.arrived_at for each in served], cpu_s=seconds, set_up_s=set_up)
        sys.stdout.flush()
        os._exit(0)  # what it writes at exit would be counted by nobody, and needs a display


if __name__ == "__main__":
    main()
