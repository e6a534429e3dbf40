"""Times PyTorch work on a GPU or a CPU, and says what it ran on."""

from __future__ import annotations

import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from math import ceil
from typing import Any

from slackwise.errors import InputError
from slackwise.optional import require

WARM_RUNS = 3
WARM_S = 0.1
"""Before timing: at least so many runs, and for at least so long, so that clocks have risen."""

REPLAY_S = 2e-3
"""A graph holds as many runs as fill about so long: what its launch costs, some microseconds, then vanishes."""

MOST_RUNS = 64
"""Of one graph."""

BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
"""PyTorch's attention kernels, of which the fastest counts: an engine would take it, PyTorch's default may not."""


class Timer:
    """Times functions on one device: the median of several runs after warming up."""

    def __init__(self, torch: Any, device: str, repeats: int) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("no CUDA device is found; --device cpu --small proves the shapes without one")
        self.torch, self.device, self.repeats = torch, device, repeats

    def seconds(self, work: Callable[[], Any]) -> float:
        """Seconds of `work`; on a GPU as a replayed CUDA graph, so that launches do not count."""
        once_s = self._warm(work)
        if self.device == "cpu":
            return statistics.median(self._once(work) for _ in range(self.repeats))
        runs = min(MOST_RUNS, ceil(REPLAY_S / once_s))
        replay = self._captured(work, runs)
        seconds = statistics.median(self._once(replay) for _ in range(self.repeats)) / runs
        del replay
        self.torch.cuda.empty_cache()  # the graph's own memory
        return seconds

    def fastest(self, work: Callable[[], Any]) -> tuple[float, str]:
        """Seconds of `work` with the fastest of BACKENDS that can run it, and its name; PyTorch's choice on a CPU."""
        if self.device == "cpu":
            return self.seconds(work), "default"
        attention = require("torch.nn.attention", "gpu")
        found, refused = [], ""
        for name in BACKENDS:
            with attention.sdpa_kernel(getattr(attention.SDPBackend, name)):
                try:
                    found.append((self.seconds(work), name.lower()))
                except self.torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:  # not for these shapes
                    refused = f"{name}: {' '.join(str(error).split())}"
        if not found:
            raise InputError(f"no attention kernel runs a layer on this GPU; {refused}")
        return min(found)

    def _warm(self, work: Callable[[], Any]) -> float:
        """Run `work` for a while; seconds of the last run."""
        start, runs = time.perf_counter(), 0
        while runs < WARM_RUNS or time.perf_counter() - start < WARM_S:
            seconds = self._once(work)
            runs += 1
        return seconds

    def _captured(self, work: Callable[[], Any], runs: int) -> Callable[[], Any]:
        """`runs` runs of `work` as one graph."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            for _ in range(runs):
                work()
        replay: Callable[[], Any] = graph.replay
        replay()  # the first replay uploads the graph
        return replay

    def _once(self, run: Callable[[], Any]) -> float:
        return self._once_cuda(run) if self.device == "cuda" else _once_cpu(run)

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


def ceilings(timer: Timer, small: bool) -> dict[str, str]:
    """What the device reaches at best: copying (bytes read and written a second) and one large matrix product."""
    torch, side, values = timer.torch, 256 if small else 8192, 2**20 if small else 2**31
    kept = {"device": timer.device, "dtype": torch.bfloat16}
    left, right = (torch.randn(side, side, **kept) for _ in range(2))
    matmul_s = timer.seconds(lambda: left @ right)
    source, target = torch.randn(values, **kept), torch.empty(values, **kept)
    copy_s = timer.seconds(lambda: target.copy_(source))
    return {"copy_bytes_s": f"{4 * values / copy_s:.4g}", "matmul_flops_s": f"{2 * side**3 / matmul_s:.4g}"}


def place(timer: Timer) -> dict[str, str]:
    """What a measurement ran on: GPU, its clock when busy and driver (blank where nvidia-smi cannot tell), versions."""
    torch = timer.torch
    busy = timer.device == "cuda"
    clock, driver = _clock_and_driver(torch) if busy else ("", "")
    gpu = torch.cuda.get_device_name() if busy else f"CPU {platform.machine()}"
    versions = {"driver": driver, "cuda": str(torch.version.cuda or ""), "torch": torch.__version__}
    return {"gpu": gpu, "clock_mhz": clock, **versions}


def _clock_and_driver(torch: Any) -> tuple[str, str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", ""
    identity = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    query = [program, "-i", identity, "--query-gpu=clocks.sm,driver_version", "--format=csv,noheader,nounits"]
    _keep_busy(torch)
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
        clock, driver = (each.strip() for each in told.strip().split(","))
    except (OSError, ValueError, subprocess.SubprocessError):
        return "", ""
    finally:
        torch.cuda.synchronize()
    return clock, driver


def _keep_busy(torch: Any, products: int = 1000) -> None:
    """Queue about a second of work and return at once: an idle GPU lowers its clock before it can be read."""
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(products):
        square @ square
