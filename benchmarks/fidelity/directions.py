"""What ModServe (2025) found about directions, beside what the roofline and the simulator say.

    python benchmarks/fidelity/directions.py [--publish]

--publish writes the tables into docs/latency.md. Nothing here was fitted to the paper.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from report import tell

from slackwise.latency.costs import StepCosts
from slackwise.latency.engine import load_engine
from slackwise.latency.gpu import load_gpu
from slackwise.latency.images import image_tiles, image_tokens
from slackwise.latency.model import Model, load_model
from slackwise.latency.preprocess import tile_values
from slackwise.latency.roofline import model_vision_work, roofline
from slackwise.latency.stages import prefill_seconds, seconds_of
from slackwise.simulator.objectives import isolated
from slackwise.simulator.presets import modserve
from slackwise.simulator.result import result_of
from slackwise.simulator.simulation import Simulation
from slackwise.traces import synthesize

GPU = load_gpu("A100-80GB")
LLAMA, SIGLIP, INTERNVIT = (load_model(each) for each in ("Llama-3.2-11B", "LLaVA-OneVision-7B", "InternVL2.5-26B"))
NVLM = load_model("NVLM-D-72B")
DEGREES = (1, 2, 4, 8)
SIZE = (896, 896)
SIDES = (384, 500, 672, 896, 1000, 1344)
"""Pixels of square images: the paper's pictures have a median of about 500, a P95 above 1000."""
FLEET_GPUS = 128
MINUTES = 15
RATES = {LLAMA: (50, 150, 250, 300), INTERNVIT: (20, 60, 80, 100)}
"""Requests a second on the fleet, up to a little beyond what it sustains."""


def tensor_parallelism() -> str:
    """Llama 3.2 11B against tensor parallelism, in milliseconds."""
    lines = ["| engine | step | TP-1 | TP-2 | TP-4 | TP-8 | the paper: best at |", "| --- | --- |" + " ---: |" * 5]
    for engine in ("vllm", "vllm-0.7-host", "vllm-2023"):
        costs = [roofline(LLAMA, GPU, degree, engine) for degree in DEGREES]
        for step, best in (("encode of an image", 4), ("prefill of 1000 tokens", 8), ("decode of 32", 1)):
            cells = " | ".join(f"{1e3 * _seconds(step, each):.1f}" for each in costs)
            lines.append(f"| {engine} | {step} | {cells} | TP-{best} |")
    return "\n".join(lines)


def _seconds(step: str, costs: StepCosts) -> float:
    if step.startswith("encode"):
        return seconds_of(costs, tiles=image_tiles(LLAMA, *SIZE))
    if step.startswith("prefill"):
        return prefill_seconds(LLAMA, costs, 1000, image_tokens(LLAMA, *SIZE))
    return seconds_of(costs, 32, 32 * 1024)


def hand_over() -> str:
    """The rates of handing pixels over between which Llama 3.2's encode is best at TP-4, the other one as it is."""
    one, two, four, eight = (_seconds("encode", roofline(LLAMA, GPU, each)) for each in DEGREES)
    engine = load_engine("vllm-0.7-host")
    size = engine.pixel_bytes * tile_values(LLAMA, *SIZE) * image_tiles(LLAMA, *SIZE)
    least, most = 2 * size / (two - four), 4 * size / (four - eight)
    first = size / (one - four - 2 * size / engine.peer_pixels_bytes_s)
    return (
        f"Under `vllm-0.7-host` TP-4 is best while each further GPU gets {least / 1e9:.1f} to {most / 1e9:.1f} GB/s; "
        f"TP-1 would be better if the second got less than {first / 1e9:.2f} GB/s."
    )


def encoders() -> str:
    """An image's encode by InternViT against SigLIP, by its size: tiles of each, milliseconds, and FLOPs."""
    lines = [
        "| image | tiles of SigLIP | of InternViT | SigLIP ms | InternViT ms | times as long | as many FLOPs |",
        "| --- |" + " ---: |" * 6,
    ]
    for side in SIDES:
        (tiles, small_s, small_flops), (large_tiles, large_s, large_flops) = (
            _encode(each, (side, side)) for each in (SIGLIP, INTERNVIT)
        )
        cells = f"{side} x {side} | {tiles} | {large_tiles} | {1e3 * small_s:.0f} | {1e3 * large_s:.0f}"
        lines.append(f"| {cells} | {large_s / small_s:.1f} | {large_flops / small_flops:.1f} |")
    return "\n".join(lines)


def _encode(model: Model, size: tuple[int, int]) -> tuple[int, float, float]:
    """Tiles of an image of `size`, and seconds and FLOPs of its encode on one GPU."""
    work, tiles = model_vision_work(model, size, 1), image_tiles(model, *size)
    seconds = seconds_of(roofline(model, GPU, 1, image_size=size), tiles=tiles)
    return tiles, seconds, tiles * float(work.linear_flops + work.attention_flops)


def wider() -> str:
    """NVLM-D's encode of an image on 4 GPUs over that on 8, which the paper found to be 1.3."""
    tiles = image_tiles(NVLM, *SIZE)
    said = []
    for engine in ("vllm", "vllm-0.7-host"):
        half, whole = (seconds_of(roofline(NVLM, GPU, each, engine, llm=False), tiles=tiles) for each in (4, 8))
        said.append(f"{half / whole:.2f} times under `{engine}`")
    return f"Encode of an image by NVLM-D on 4 GPUs against 8: {', '.join(said)}."


def transfers() -> str:
    """The share of embedding transfer in the TTFT of image requests, on ModServe's static fleet at several loads."""
    lines = [
        "| model | requests/s | text instances busy | TTFT mean | P99 | transfer P50 | P99 | share of TTFT |",
        "| --- |" + " ---: |" * 7,
    ]
    return "\n".join(lines + [_loaded(model, rate) for model, rates in RATES.items() for rate in rates])


def _loaded(model: Model, rate: int) -> str:
    """One line: the share is the transfers' sum over the sum of all times to first token."""
    configuration = modserve(model.name, GPU.name, FLEET_GPUS)
    trace = synthesize(0, rows=rate * MINUTES * 60, start_h=44.0, duration_h=MINUTES / 60)
    simulation = Simulation(trace, configuration, isolated(configuration.cluster))
    simulation.run_until()
    result, kept = result_of(simulation), ~simulation.rejected
    images = simulation.images[kept] > 0
    transfer, ttft = simulation.workload.progress.transfer_s[images], result.ttft_s[kept][images]
    cells = [f"{rate}", f"{result.busy['PD']:.0%}", f"{ttft.mean():.2f} s", f"{np.quantile(ttft, 0.99):.2f} s"]
    cells += [f"{1e3 * np.quantile(transfer, each):.1f} ms" for each in (0.5, 0.99)]
    return f"| {model.name} | {' | '.join(cells)} | {transfer.sum() / ttft.sum():.2%} |"


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/latency.md")
    options = parser.parse_args(given)
    body = "\n\n".join((tensor_parallelism(), hand_over(), encoders(), wider(), transfers()))
    tell("directions", body, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
