"""slackwise trace: read, describe, cut, scale, fetch and synthesize traces."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from slackwise.cli.options import json_option, no_seed_option, print_json, seed_option
from slackwise.cli.progress import download_bar, working
from slackwise.errors import InputError, unknown
from slackwise.files import check_folder
from slackwise.traces import (
    Trace,
    describe,
    fold,
    read,
    scale_image_share,
    scale_rate,
    slice_time,
    split_days,
    synthesize,
    write,
)
from slackwise.traces.description import lines, table
from slackwise.traces.download import AZURE_LMM_2025, FILE_NAME, REAL_WEEK, Expected, fetch
from slackwise.traces.resample import DAY_S
from slackwise.traces.trace import IMAGE_COUNTS
from slackwise.traces.writer import ENDINGS, check_ending

Command = Callable[..., Any]
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S}
TABLE_COLUMNS = 120


class Actions(click.Group):
    """The subcommands; an unknown one names the closest known."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            raise unknown("trace command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def moment(text: str) -> str | float:
    """A time of a trace: seconds from its start (also 15min, 2h, 1d), or the text of an ISO 8601 time."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)(s|min|h|d)?", text)
    return float(found[1]) * UNITS_S[found[2] or "s"] if found else text


def duration_s(text: str) -> float:
    """A length of time: seconds, or 15min, 2h, 1d."""
    found = moment(text)
    if isinstance(found, str):
        raise InputError(f"'{text}' is not a length of time such as 90, 15min, 2h or 1d")
    return found


image_count_option = click.option(
    "--image-count",
    type=click.Choice(IMAGE_COUNTS),
    help="Reading of recorded image counts. [default: what a Parquet file says, else sqrt]",
)
skip_option = click.option("--skip-bad-rows", is_flag=True, help="Leave bad rows out and count them.")


def input_options(function: Command) -> Command:
    """TRACE and how to read it."""
    trace = click.argument("source", metavar="TRACE", type=click.Path(path_type=Path))
    return trace(image_count_option(skip_option(function)))


output_argument = click.argument("output", metavar="OUTPUT", type=click.Path(path_type=Path))


@click.group(name="trace", cls=Actions)
def command() -> None:
    """Read, describe, cut, scale, fetch and synthesize traces.

    TRACE is an Azure LMM 2025 csv or csv.gz, an Azure LLM 2023 csv, or slackwise's Parquet. OUTPUT is csv, csv.gz or
    Parquet by its ending; csv keeps the recorded image counts.
    """


@command.command("describe")
@input_options
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw it: a .png file, or a folder of them.")
@no_seed_option
@json_option
def describe_command(
    source: Path, image_count: str | None, skip_bad_rows: bool, picture: Path | None, as_json: bool
) -> None:
    """Print what a trace holds: sizes by class, rate, dispersion, image share."""
    trace = _read(source, image_count, skip_bad_rows)
    with working("describing"):
        found = describe(trace)
    if picture is not None:
        from slackwise.traces.plots import plot

        with working("drawing"):
            found["plots"] = [str(path) for path in plot(trace, picture)]
    if as_json:
        print_json(found)
        return
    console = Console()
    if not console.is_terminal:
        console.width = TABLE_COLUMNS
    console.print(table(found))
    for line in lines(found):
        click.echo(line)


@command.command("slice")
@input_options
@output_argument
@click.option("--from", "start", type=moment, default="0", show_default=True, help="Begin: 90, 15min, 2h, 1d or UTC.")
@click.option("--to", "end", type=moment, help="End, not included. [default: the end of the trace]")
@no_seed_option
@json_option
def slice_command(
    source: Path,
    image_count: str | None,
    skip_bad_rows: bool,
    output: Path,
    start: str | float,
    end: str | float | None,
    as_json: bool,
) -> None:
    """Write the requests of a window of time."""
    check_ending(output)
    _write(slice_time(_read(source, image_count, skip_bad_rows), start, end), output, as_json)


@command.command("scale")
@input_options
@output_argument
@click.option("--rate", type=float, help="Rate factor: thinned below 1, shifted days superposed above.")
@click.option("--fold", "parts", type=int, help="Lay this many equal segments of the trace upon each other.")
@click.option("--image-share", type=float, help="Share of image requests, by thinning the other class.")
@seed_option
@json_option
def scale_command(
    source: Path,
    image_count: str | None,
    skip_bad_rows: bool,
    output: Path,
    rate: float | None,
    parts: int | None,
    image_share: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write the trace at another rate or image share; gaps are never squeezed."""
    check_ending(output)
    if rate is None and parts is None and image_share is None:
        raise InputError("say what to scale: --rate, --fold or --image-share")
    trace = _read(source, image_count, skip_bad_rows)
    if image_share is not None:
        trace = scale_image_share(trace, image_share, seed)
    if parts is not None:
        trace = fold(trace, parts)
    if rate is not None:
        trace = scale_rate(trace, rate, seed)
    _write(trace, output, as_json)


@command.command("split")
@input_options
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--train", type=int, default=4, show_default=True, help="Days to search on.")
@click.option("--validation", type=int, default=1, show_default=True, help="Days to choose on.")
@click.option("--test", type=int, default=2, show_default=True, help="Days to report on.")
@click.option("--day", type=duration_s, default="1d", show_default=True, help="Length of a day, for short traces.")
@click.option("--format", "ending", type=click.Choice([e[1:] for e in ENDINGS]), default="csv.gz", show_default=True)
@no_seed_option
@json_option
def split_command(
    source: Path,
    image_count: str | None,
    skip_bad_rows: bool,
    folder: Path,
    train: int,
    validation: int,
    test: int,
    day: float,
    ending: str,
    as_json: bool,
) -> None:
    """Write train, validation and test: contiguous days, in this order, in an existing FOLDER."""
    check_folder(folder)
    parts = split_days(_read(source, image_count, skip_bad_rows), train, validation, test, day)
    written = {}
    for name, part in parts._asdict().items():
        written[name] = _written(part, folder / f"{name}.{ending}")
    if as_json:
        print_json(written)
        return
    for about in written.values():
        click.echo(_sentence(about))


@command.command("fetch")
@click.argument("output", metavar="[OUTPUT]", required=False, default=FILE_NAME, type=click.Path(path_type=Path))
@click.option("--url", default=AZURE_LMM_2025, show_default=True, help="Where to download from.")
@click.option("--rows", type=click.IntRange(min=1), help="Rows that another file than the real week must have.")
@no_seed_option
@json_option
def fetch_command(output: Path, url: str, rows: int | None, as_json: bool) -> None:
    """Download the real week (8.5 MB) and check it; run again to go on after an interruption.

    Azure LMM inference trace 2025, Microsoft Azure, CC-BY 4.0.
    """
    with download_bar(output.name) as progress:
        found = fetch(output, url, REAL_WEEK if rows is None else Expected(rows=rows), progress)
    document = asdict(found) | {"path": str(found.path), "notes": list(found.notes)}
    if as_json:
        print_json(document)
        return
    click.echo(f"{found.path}: {found.rows:,} rows, {found.bytes:,} bytes, sha256 of the csv {found.sha256}")
    for note in found.notes:
        click.echo(f"note: {note}", err=True)


@command.command("synthesize")
@output_argument
@click.option("--rows", type=int, help="Requests in the window. [default: as in the real week, 1,000,000 in all]")
@click.option("--start-h", type=float, default=0.0, show_default=True, help="First hour; 0 is Tuesday noon, UTC.")
@click.option("--duration-h", type=float, help="Hours. [default: 168, the week]")
@click.option("--minute-counts", type=click.Path(path_type=Path), help="File of exact requests per minute, replayed.")
@click.option("--image-count", type=click.Choice(IMAGE_COUNTS), default="sqrt", show_default=True)
@seed_option
@json_option
def synthesize_command(
    output: Path,
    rows: int | None,
    start_h: float,
    duration_h: float | None,
    minute_counts: Path | None,
    image_count: str,
    seed: int,
    as_json: bool,
) -> None:
    """Write a synthetic week, or hours of it, drawn from the shipped calibration."""
    check_ending(output)
    with working("drawing requests"):
        trace = synthesize(seed, rows, start_h, duration_h, minute_counts, image_count)
    _write(trace, output, as_json)


@command.command("convert")
@input_options
@output_argument
@no_seed_option
@json_option
def convert_command(source: Path, image_count: str | None, skip_bad_rows: bool, output: Path, as_json: bool) -> None:
    """Write a trace in another format."""
    check_ending(output)
    _write(_read(source, image_count, skip_bad_rows), output, as_json)


def _read(source: Path, image_count: str | None, skip_bad_rows: bool) -> Trace:
    with working(f"reading {source.name}"):
        return read(source, image_count, skip_bad_rows)


def _write(trace: Trace, output: Path, as_json: bool) -> None:
    about = _written(trace, output)
    if as_json:
        print_json(about)
    else:
        click.echo(_sentence(about))


def _written(trace: Trace, output: Path) -> dict[str, Any]:
    with working(f"writing {output.name}"):
        write(trace, output)
    return {
        "path": str(output),
        "requests": len(trace),
        "start": trace.start,
        "span_s": trace.span_s,
        "image_share": float((trace.recorded_images > 0).mean()),
        "image_count": trace.image_count,
        "source": trace.source,
        "notes": trace.notes,
    }


def _sentence(about: dict[str, Any]) -> str:
    notes = "".join(f"\n  {key}: {value}" for key, value in about["notes"].items())
    return (
        f"{about['path']}: {about['requests']:,} requests in {about['span_s']:,.1f} s from {about['start']}, "
        f"image share {about['image_share']:.1%}, image_count {about['image_count']} ({about['source']}){notes}"
    )
