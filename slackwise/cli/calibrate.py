"""`slackwise calibrate`: from step measurements of an engine to a latency profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slackwise.cli.options import json_option, print_json, seed_option


@click.command()
@click.argument("csv", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Write the profile (JSON) here.")
@click.option(
    "--kv-capacity-tokens",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="KV cache of the instance, as the engine reports at start.",
)
@click.option(
    "--load-s", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Seconds to start an instance."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the residuals into this file (png, svg, pdf).")
@seed_option
@json_option
def command(
    csv: Path, output: Path | None, kv_capacity_tokens: int, load_s: float, plot: Path | None, seed: int, as_json: bool
) -> None:
    """Fit a latency model to the step measurements in CSV.

    Columns: decodes, context_tokens (summed over the decodes), prompt_tokens, images, tiles, seconds; optional prompts,
    prompt_done_tokens, gpu, model, engine, tensor_parallel.
    """
    from slackwise.latency.fit import check_instance, fit_steps
    from slackwise.latency.measured import read_steps
    from slackwise.latency.profile import profile, write_profile

    check_instance(kv_capacity_tokens, load_s)
    steps = read_steps(csv)
    fit = fit_steps(steps, seed)
    document = profile(fit, kv_capacity_tokens, load_s)
    if plot is not None:
        from slackwise.latency.plots import plot_residuals

        plot_residuals(plot, steps, fit)
    if output is not None:
        write_profile(output, document)
    if as_json:
        print_json(document)
    else:
        _print_fit(document)


def _print_fit(document: dict[str, Any]) -> None:
    click.echo(document["source"])
    for name, seconds in document["constants"].items():
        click.echo(f"{name:<13}{1e6 * seconds:>16,.4f} us")
    click.echo(f"in sample:       mean error {document['mape']:.1%}, P90 {document['p90']:.1%}")
    click.echo(
        f"cross-validated: mean error {document['cross_validated_mape']:.1%}, P90 {document['cross_validated_p90']:.1%}"
    )
