"""Times PyTorch work on a GPU or a CPU, and says what it ran on."""

from __future__ import annotations

import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from slackwise.errors import InputError

WARM_RUNS = 3
WARM_S = 0.1
"""Before timing: at least so many runs, and for at least so long, so that clocks have risen."""


class Timer:
    """Times functions on one device: the median of several runs after warming up."""

    def __init__(self, torch: Any, device: str, repeats: int) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("no CUDA device is found; --device cpu --small proves the shapes without one")
        self.torch, self.device, self.repeats = torch, device, repeats

    def seconds(self, work: Callable[[], Any], graph: bool = False) -> float:
        """Seconds of `work`; as a replayed CUDA graph if `graph` and there is a GPU."""
        self._warm(work)
        run = self._captured(work) if graph and self.device == "cuda" else work
        once = self._once_cuda if self.device == "cuda" else _once_cpu
        return statistics.median(once(run) for _ in range(self.repeats))

    def _warm(self, work: Callable[[], Any]) -> None:
        start, runs = time.perf_counter(), 0
        while runs < WARM_RUNS or time.perf_counter() - start < WARM_S:
            work()
            runs += 1
            if self.device == "cuda":
                self.torch.cuda.synchronize()

    def _captured(self, work: Callable[[], Any]) -> Callable[[], Any]:
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            work()
        replay: Callable[[], Any] = graph.replay
        replay()  # the first replay uploads the graph
        return replay

    def _once_cuda(self, run: Callable[[], Any]) -> float:
        """Between two events on the GPU's own clock."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


def _once_cpu(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def place(torch: Any, device: str) -> dict[str, str]:
    """What a measurement ran on: GPU, its clock and driver as nvidia-smi tells them (blank where it cannot), versions.

    Ask right after a measurement, while the clock is that of a busy GPU.
    """
    clock, driver = _clock_and_driver(torch) if device == "cuda" else ("", "")
    gpu = torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}"
    versions = {"driver": driver, "cuda": str(torch.version.cuda or ""), "torch": torch.__version__}
    return {"gpu": gpu, "clock_mhz": clock, **versions}


def _clock_and_driver(torch: Any) -> tuple[str, str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", ""
    identity = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    query = [program, "-i", identity, "--query-gpu=clocks.sm,driver_version", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
        clock, driver = (each.strip() for each in told.strip().split(","))
    except (OSError, ValueError, subprocess.SubprocessError):
        return "", ""
    return clock, driver
