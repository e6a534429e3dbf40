"""`slackwise latency`: what a stage costs, and where every number is from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slackwise.cli.options import json_option, no_seed_option, print_json

if TYPE_CHECKING:
    from slackwise.latency.stages import Stage


@click.group()
def command() -> None:
    """Show what a stage costs, with the source of every number."""


@command.command()
@click.argument("model")
@click.option("--gpu", default="A100-80GB", show_default=True, help="A100-80GB, H100 or H200.")
@click.option("--tp", type=int, default=1, show_default=True, help="Tensor parallelism: 1, 2, 4 or 8.")
@click.option("--engine", default="vllm", show_default=True, help="Engine generation whose overheads apply.")
@click.option("--image", "image_size", type=(int, int), default=(896, 896), show_default=True, help="Width and height.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the curves into this file (png, svg, pdf).")
@no_seed_option
@json_option
def show(
    model: str, gpu: str, tp: int, engine: str, image_size: tuple[int, int], plot: Path | None, as_json: bool
) -> None:
    """Print the stage table of MODEL on a monolith of --tp GPUs."""
    from slackwise.latency.gpu import load_gpu
    from slackwise.latency.model import load_model
    from slackwise.latency.roofline import roofline
    from slackwise.latency.stages import stage_table

    known, place = load_model(model), load_gpu(gpu)
    stages = stage_table(known, place, tp, engine, image_size)
    costs = roofline(known, place, tp, engine, image_size)
    if plot is not None:
        from slackwise.latency.plots import plot_curves

        plot_curves(plot, known, costs)
    if as_json:
        head = {"model": known.name, "gpu": place.name, "tensor_parallel": tp, "engine": engine}
        capacity = {"kv_capacity_tokens": costs.kv_capacity_tokens, "source": costs.source}
        print_json({**head, "image_size": image_size, **capacity, "stages": [asdict(each) for each in stages]})
        return
    click.echo(f"{known.name} on {tp} x {place.name} under {engine}: KV cache {costs.kv_capacity_tokens:,} text tokens")
    _print_table(stages)


def _print_table(stages: list[Stage]) -> None:
    sources = list(dict.fromkeys(stage.source for stage in stages))
    width = max(len(stage.case) for stage in stages)
    for stage in stages:
        number = sources.index(stage.source) + 1
        click.echo(f"{stage.stage:<13}{stage.case:<{width + 2}}{1e3 * stage.seconds:>12,.2f} ms  [{number}]")
    for number, source in enumerate(sources, start=1):
        click.echo(f"[{number}] {source}")
