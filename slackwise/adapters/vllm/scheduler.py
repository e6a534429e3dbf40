"""The scheduler plug-in: vLLM's own `schedule()` does all the work, in the order and with the images that we say.

    vllm serve MODEL --scheduler-cls slackwise.adapters.vllm.SlackwiseScheduler \
        --additional-config '{"slackwise": {"bundle": "winner.json"}}'

Touched are the queue of waiting requests, the order of the running ones, and the question whether an image still fits
(`encoder_cache_manager.can_allocate`). Whatever fails here is counted, and the engine goes on in order of arrival.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from slackwise.adapters.vllm.conductor import Conductor
from slackwise.adapters.vllm.counters import Counters, counters_path
from slackwise.adapters.vllm.decisions import Decisions
from slackwise.adapters.vllm.queue import RankedQueue
from slackwise.adapters.vllm.settings import read_settings
from slackwise.adapters.vllm.setup import Engine, set_up
from slackwise.adapters.vllm.support import check_supported, installed
from slackwise.errors import SlackwiseError
from slackwise.latency.costs import StepCosts

logger = init_logger("vllm.slackwise")

if TYPE_CHECKING:
    Base: Any
else:
    Base = object


class SlackwiseMixin(Base):
    """Put it before a subclass of vLLM's Scheduler: `class Mine(SlackwiseMixin, TheirScheduler)`."""

    clock: Callable[[], float] = staticmethod(time.time)  # that of Request.arrival_time; a simulation sets its own

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self._set_up()
        except SlackwiseError as error:
            logger.error("slackwise: %s", error)
            raise

    def add_request(self, request: Any) -> None:
        if request.request_id not in self.requests:
            self._guarded(self.conductor.enter, request, self.clock())
        super().add_request(request)

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        conductor = self.conductor
        began = time.perf_counter()
        conductor.asked_s = 0.0
        if not self._guarded(conductor.order, self.clock()):
            conductor.recover()
        ordered = time.perf_counter()
        output = super().schedule(*args, **kwargs)
        composed = time.perf_counter()
        self._guarded(conductor.note, output, self.clock())
        own_s = ordered - began + conductor.asked_s + time.perf_counter() - composed
        conductor.counters.policy_time(own_s)
        return output

    def update_from_output(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = super().update_from_output(scheduler_output, *args, **kwargs)
        self._guarded(self.conductor.finished, scheduler_output, self.clock())
        return outputs

    def shutdown(self) -> None:
        self.conductor.close()
        super().shutdown()

    def simulate(self, clock: Callable[[], float], costs: StepCosts) -> None:
        """Live on another clock, whose 0 is the start, on an instance of these costs: for runs in virtual time."""
        self.clock = clock
        self.conductor.origin_s = 0.0
        self.conductor.price(costs)

    def _set_up(self) -> None:
        config = self.vllm_config
        settings = read_settings(config.additional_config)
        check_supported(installed() or "?", settings.force)
        engine = Engine(config.model_config.model, _device(), config.parallel_config.tensor_parallel_size)
        setup = set_up(settings, engine)
        rank = config.parallel_config.data_parallel_rank
        counters = Counters(counters_path(settings.counters, config.instance_id, rank))
        decisions = Decisions(_with_rank(settings.decisions, rank)) if settings.decisions else None
        self.waiting: Any = RankedQueue(self.waiting)
        self.conductor = Conductor(self, settings, setup, counters, decisions, self.clock())
        atexit.register(self.conductor.close)
        manager = self.encoder_cache_manager
        self._stock_can_allocate = manager.can_allocate
        manager.can_allocate = self._can_allocate
        for line in setup.notes:
            logger.warning("slackwise: %s", line)
        logger.info("slackwise: %s", self.conductor.describe())

    def _can_allocate(self, request: Any, input_id: int, budget: int, taken: int, *args: Any, **kwargs: Any) -> bool:
        """vLLM asks whether the next image of a request fits this step: not if the chunking policy has enough."""
        conductor = self.conductor
        if not conductor.allows_image(request, input_id, budget, taken, self._complain):
            return False
        fits = bool(self._stock_can_allocate(request, input_id, budget, taken, *args, **kwargs))
        if not fits:
            conductor.refused = (request.request_id, "encoder")
        return fits

    def _guarded(self, function: Callable[..., None], *args: Any) -> bool:
        """Call a part of ours; False if it failed, which is counted and logged once."""
        try:
            function(*args)
        except Exception as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: Exception) -> None:
        counters = self.conductor.counters
        counters.fallbacks += 1
        if counters.fallbacks == 1:
            what = f"{type(error).__name__}: {error}"
            logger.error("slackwise: the policy failed, going on in order of arrival (logged once): %s", what)


def _device() -> str:
    """The device as its driver calls it."""
    from vllm.platforms import current_platform

    try:
        return str(current_platform.get_device_name() or "")
    except Exception:  # platforms without a name raise what they like
        return str(getattr(current_platform, "device_type", ""))


def _with_rank(path: str, rank: int) -> Path:
    return Path(f"{path}.{rank}" if rank else path)


class SlackwiseScheduler(SlackwiseMixin, AsyncScheduler):
    """For every engine: asynchronous scheduling where the engine has it (GPUs), and without it."""


class SlackwiseSyncScheduler(SlackwiseMixin, Scheduler):
    """For engines that must not schedule asynchronously."""
