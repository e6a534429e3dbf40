"""An executor that computes nothing: a step is a sleep of the length that the latency model gives it.

    vllm serve MODEL --load-format dummy --distributed-executor-backend slackwise.adapters.vllm.EmulatedExecutor \
        --additional-config '{"emulated": {"model": "InternVL2.5-26B", "gpu": "A100-80GB", "tensor_parallel": 4}}'

The API server, the engine core and the scheduler are the real ones; only the device is modelled. MODEL gives tokenizer,
image processor and tokens an image, `emulated` what a step costs: a model and GPUs of the catalogues, or a `latency`
profile. Not for speculative decoding, pipeline parallelism or KV and encoder connectors.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import ModelRunnerOutput

from slackwise.adapters.vllm.device import ModelledDevice
from slackwise.errors import InputError, unknown
from slackwise.latency.costs import StepCosts
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.profile import load_profile
from slackwise.latency.roofline import roofline

HEAD = 32
"""Of the emulated KV cache: one layer, one head, half precision, so that 128 bytes hold a token."""

TOKEN_BYTES = 2 * HEAD * 2


@dataclass(frozen=True)
class Emulated:
    """What `additional_config["emulated"]` may say. Raises InputError for a value that is not allowed."""

    model: str = "InternVL2.5-26B"
    gpu: str = "A100-80GB"
    tensor_parallel: int = 1
    latency: str | None = None
    tiles_per_image: int = 1
    kv_tokens: int = 0  # 0: what the latency model says

    def costs(self) -> StepCosts:
        """Of a step."""
        if self.latency is not None:
            return load_profile(Path(self.latency))
        return roofline(load_model(self.model), load_gpu(self.gpu), self.tensor_parallel)


def read_emulated(additional_config: Any) -> Emulated:
    """The settings of the emulator. Raises InputError for an unknown key or a value of another kind."""
    document = (additional_config or {}).get("emulated", {})
    if not isinstance(document, Mapping):
        raise InputError(f"emulated must be an object, not {document!r}")
    known = [each.name for each in fields(Emulated)]
    for key, value in document.items():
        if key not in known:
            raise unknown("setting of emulated", str(key), known)
        kind = str if key in ("model", "gpu", "latency") else int
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"emulated.{key} = {value!r} must be a {'text' if kind is str else 'whole number'}")
    return Emulated(**document)


class EmulatedExecutor(Executor):
    """One device on which steps run back to back, in the order they are given."""

    supports_pp = False

    def _init_executor(self) -> None:
        self.emulated = read_emulated(self.vllm_config.additional_config)
        self.device = ModelledDevice(self.emulated.costs(), lambda name: self.emulated.tiles_per_image)
        self._steps: queue.Queue[tuple[Future[Any], Any, float]] = queue.Queue()
        threading.Thread(target=self._compute, daemon=True).start()

    def _compute(self) -> None:
        free_s = 0.0
        while True:
            future, output, seconds = self._steps.get()
            free_s = max(free_s, time.monotonic()) + seconds  # a late wake-up does not add up
            time.sleep(max(0.0, free_s - time.monotonic()))
            future.set_result(output)

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        """Sleep through a step; its tokens."""
        names, sampled, seconds = self.device.run(scheduler_output)
        index = {name: at for at, name in enumerate(names)}
        output = ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=sampled)
        future: Future[Any] = Future()
        self._steps.put((future, output, seconds))
        return future if non_block else future.result()

    def collective_rpc(
        self,
        method: Any,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
        **more: Any,
    ) -> Any:
        """What the core asks of its one worker at start."""
        answer = [self._answer(method)]
        if not non_block:
            return answer
        future: Future[Any] = Future()
        future.set_result(answer)
        return future

    def _answer(self, method: Any) -> Any:
        if method == "get_kv_cache_spec":
            size = self.cache_config.block_size or 16
            return {"layer": FullAttentionSpec(block_size=size, num_kv_heads=1, head_size=HEAD, dtype=torch.float16)}
        if method == "determine_available_memory":
            return (self.emulated.kv_tokens or self.device.costs.kv_capacity_tokens) * TOKEN_BYTES
        if method == "get_supported_kv_cache_layouts":
            from vllm.v1.kv_cache_interface import KVCacheLayout

            return [layout.name for layout in KVCacheLayout]
        if method == "compile_or_warm_up_model":
            from vllm.v1.worker.worker_base import CompilationTimes

            return CompilationTimes(0.0, 0.0)
        return {"get_supported_tasks": ("generate",), "supports_draft_weight_updates": False}.get(method)

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        """Tokens came with the step."""
        return None

    def check_health(self) -> None:
        """A sleeping device is well."""

    def shutdown(self) -> None:
        """Nothing to release."""

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return True
