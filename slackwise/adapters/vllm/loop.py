"""vLLM's real scheduler object driven in virtual time: no engine, no weights; the latency model is the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.vllm.device import ModelledDevice
from slackwise.latency.costs import StepCosts

BLOCK_TOKENS = 16
"""Tokens of a KV block, vLLM's default on GPUs."""


@dataclass(frozen=True)
class Job:
    """A request as the scheduler is to see it: images first, then text."""

    name: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    images: int = 0
    tokens_per_image: int = 0
    tiles_per_image: int = 0
    objective_s: float | None = None  # sent as slo_ms
    abort_s: float | None = None  # the client goes away then


@dataclass(frozen=True)
class Limits:
    """Of the engine."""

    sequences: int = 256
    step_tokens: int = 2048
    encoder_tokens: int = 2048  # of a step, and of the cache
    kv_tokens: int = 1 << 20


@dataclass(frozen=True)
class Times:
    """When a request had its first token and its last, on the clock of the run; infinite for what never came."""

    first_s: float = float("inf")
    last_s: float = float("inf")


def make_scheduler(
    model: Path,
    limits: Limits,
    scheduler_cls: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Any:
    """The scheduler that an engine serving `model` makes; `settings` are those of slackwise, `more` engine options.

    None for `scheduler_cls` is vLLM's own. Every request of up to the model's longest context is taken.
    """
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    options: dict[str, Any] = {
        "load_format": "dummy",
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": limits.sequences,
        "max_num_batched_tokens": limits.step_tokens,
        "limit_mm_per_prompt": {"image": 4096},
        "enable_prefix_caching": False,
        "scheduler_cls": scheduler_cls,
        "additional_config": {"slackwise": dict(settings)} if settings is not None else {},
    }
    config = EngineArgs(model=str(model), block_size=32, **options | more).create_engine_config()
    config.cache_config.block_size = BLOCK_TOKENS
    blocks = config.cache_config.num_gpu_blocks = limits.kv_tokens // BLOCK_TOKENS + 1  # one block is never used
    layer = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=32, dtype=torch.float32)
    cache = KVCacheConfig(num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], layer)])
    scheduler = config.scheduler_config.get_scheduler_cls()(
        vllm_config=config,
        kv_cache_config=cache,
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK_TOKENS,
        hash_block_size=BLOCK_TOKENS,
        log_stats=False,
    )
    set_encoder_tokens(scheduler, limits.encoder_tokens)
    return scheduler


def set_encoder_tokens(scheduler: Any, tokens: int) -> None:
    """Give an unused scheduler the encoder budget and cache of another model than the one it was made for."""
    scheduler.max_num_encoder_input_tokens = tokens
    manager = scheduler.encoder_cache_manager
    manager.cache_size = manager.num_free_slots = manager.num_freeable_slots = tokens


def make_request(job: Job) -> Any:
    """The request as the engine core sees it: token ids and places of images, no pixels."""
    from vllm import SamplingParams
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
    from vllm.v1.request import Request

    each = job.tokens_per_image
    features = [
        MultiModalFeatureSpec(
            data=None,
            modality="image",
            identifier=f"{job.name}-{at}",
            mm_position=PlaceholderRange(offset=at * each, length=each),
        )
        for at in range(job.images)
    ]
    extra = None if job.objective_s is None else {"slo_ms": 1e3 * job.objective_s}
    sampling = SamplingParams(max_tokens=job.output_tokens, ignore_eos=True, temperature=0, extra_args=extra)
    return Request(
        request_id=job.name,
        prompt_token_ids=[5] * job.prompt_tokens,
        sampling_params=sampling,
        pooling_params=None,
        mm_features=features,
        arrival_time=job.arrival_s,
    )


class Loop:
    """Serves jobs with a scheduler in virtual time; `depth` steps may be under way at a time (2: asynchronous)."""

    def __init__(self, scheduler: Any, costs: StepCosts, jobs: Iterable[Job], depth: int = 1) -> None:
        self.scheduler, self.depth, self.now, self.steps = scheduler, depth, 0.0, 0
        self.jobs = {job.name: job for job in jobs}
        self.arriving = deque(sorted(self.jobs.values(), key=lambda job: job.arrival_s))
        self.aborting = deque(
            sorted((job for job in self.jobs.values() if job.abort_s is not None), key=lambda job: job.abort_s or 0.0)
        )
        self.device = ModelledDevice(costs, lambda name: self.jobs[name].tiles_per_image)
        self.first_s: dict[str, float] = {}
        self.last_s: dict[str, float] = {}
        self._under_way: deque[tuple[Any, list[str], list[list[int]], float]] = deque()
        self._device_free_s = 0.0
        if hasattr(scheduler, "simulate"):
            scheduler.simulate(lambda: self.now, costs)

    def run(self) -> dict[str, Times]:
        """Serve everything; times by request."""
        while self.arriving or self.aborting or self.scheduler.has_unfinished_requests() or self._under_way:
            self.turn()
        forever = float("inf")
        return {name: Times(self.first_s.get(name, forever), self.last_s.get(name, forever)) for name in self.jobs}

    def turn(self) -> None:
        """Compose a step, or end the oldest one under way, or go on to the next arrival."""
        self._take_in()
        if len(self._under_way) < self.depth and self.scheduler.has_requests():
            busy = self._compose()
            if busy and len(self._under_way) < self.depth:
                return
        if self._under_way:
            self._end_oldest()
        elif not self.scheduler.has_unfinished_requests():
            self._wait()

    def _take_in(self) -> None:
        while self.arriving and self.arriving[0].arrival_s <= self.now:
            self.scheduler.add_request(make_request(self.arriving.popleft()))
        while self.aborting and (self.aborting[0].abort_s or 0.0) <= self.now:
            self._abort(self.aborting.popleft().name)

    def _abort(self, name: str) -> None:
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)

    def _compose(self) -> bool:
        """Compose a step and send it to the device; whether it has any work."""
        output = self.scheduler.schedule()
        names, sampled, seconds = self.device.run(output)
        self.steps += 1
        self._device_free_s = max(self.now, self._device_free_s) + seconds
        self._under_way.append((output, names, sampled, self._device_free_s))
        return bool(output.total_num_scheduled_tokens)

    def _end_oldest(self) -> None:
        from vllm.v1.outputs import ModelRunnerOutput

        output, names, sampled, end_s = self._under_way.popleft()
        self.now = max(self.now, end_s)
        index = {name: at for at, name in enumerate(names)}
        result = ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=sampled)
        self.scheduler.update_from_output(output, result)
        for name, tokens in zip(names, sampled, strict=True):
            if tokens:
                self.first_s.setdefault(name, self.now)
                self.last_s[name] = self.now

    def _wait(self) -> None:
        """Nothing to do: go on to the next arrival or abort."""
        coming = [queue[0].arrival_s for queue in (self.arriving,) if queue]
        coming += [queue[0].abort_s or 0.0 for queue in (self.aborting,) if queue]
        if coming:
            self.now = max(self.now, min(coming))
