"""`slackwise measure`: step times of a vLLM engine on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from slackwise.cli.options import json_option, no_seed_option, print_json


@click.command()
@click.argument("model")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The csv; goes on with one that is there."
)
@click.option("--gpu", required=True, help="Name of the GPU, as in the catalogue if it is there.")
@click.option("--name", help="Name of the model in the csv. [default: MODEL]")
@click.option("--decodes", default="1,2,4,8,16,32", show_default=True, help="Sequences of the decode batches.")
@click.option("--contexts", default="128,1024,4096", show_default=True, help="Context of each.")
@click.option(
    "--prompts", default="16,128,512,1024,2048", show_default=True, help="Prompt tokens of the prefill batches."
)
@click.option("--images", default="1,2,4", show_default=True, help="Images of the image batches.")
@click.option("--image-side", type=click.IntRange(1), default=896, show_default=True, help="Pixels.")
@click.option("--tiles", type=click.IntRange(1), default=1, show_default=True, help="Tiles of such an image.")
@click.option("--steps", type=click.IntRange(1), default=12, show_default=True, help="Timed decode steps of a batch.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Of each batch.")
@click.option("--tensor-parallel", type=click.IntRange(1), default=1, show_default=True)
@click.option("--engine-args", default="{}", show_default=True, help="JSON: further arguments of vllm.LLM.")
@no_seed_option
@json_option
def command(
    model: str,
    output: Path,
    gpu: str,
    name: str | None,
    decodes: str,
    contexts: str,
    prompts: str,
    images: str,
    image_side: int,
    tiles: int,
    steps: int,
    repeats: int,
    tensor_parallel: int,
    engine_args: str,
    as_json: bool,
) -> None:
    """Time the steps of an offline vLLM engine that serves MODEL; write the csv that `slackwise calibrate` reads."""
    from slackwise.optional import require

    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the scheduler is in reach
    vllm = require("vllm", "vllm")
    from slackwise.adapters.vllm.in_process import make_room
    from slackwise.adapters.vllm.measure import Design, measure
    from slackwise.adapters.vllm.support import installed

    design = Design(
        decodes=numbers("--decodes", decodes),
        contexts=numbers("--contexts", contexts),
        prompts=numbers("--prompts", prompts),
        images=numbers("--images", images),
        steps=steps,
        repeats=repeats,
    )
    make_room()
    given = {"model": model, "tensor_parallel_size": tensor_parallel, "enable_prefix_caching": False}
    llm = vllm.LLM(**given | {"limit_mm_per_prompt": {"image": max(design.images)}} | arguments(engine_args))
    instance = {"gpu": gpu, "model": name or model, "engine": f"vllm-{installed()}"}
    instance["tensor_parallel"] = str(tensor_parallel)
    measured = measure(llm, output, design, instance, image_side, tiles, lambda line: click.echo(line, err=True))
    if as_json:
        print_json({"output": str(output), "points_measured": measured})
    else:
        click.echo(f"{measured} batches measured; next: slackwise calibrate {output} --output profile.json")


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers above 0, separated by commas. Raises a usage error that names the option."""
    try:
        found = tuple(int(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.UsageError(f"{option} = {text!r}: whole numbers above 0, separated by commas")
    return found


def arguments(text: str) -> dict[str, Any]:
    """Arguments of vllm.LLM in JSON. Raises a usage error if that is no object."""
    import json

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(f"--engine-args = {text!r}: a JSON object")
    return found
