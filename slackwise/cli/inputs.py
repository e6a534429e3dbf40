"""What simulate, compare and capacity share: the trace and its window, the configurations, the objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from slackwise.cli.options import seed_option
from slackwise.cli.progress import working
from slackwise.cli.trace import image_count_option, moment, skip_option
from slackwise.errors import EmptyError, InputError, unknown
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.simulator import PRESETS, Configuration, Objectives, disaggregated, isolated, preset
from slackwise.simulator.configuration_file import read_configuration, read_faults, read_tuned
from slackwise.simulator.objectives import SCALES
from slackwise.simulator.provisioning import setting_of, settings_from
from slackwise.simulator.workload import IMAGE_CONTEXTS
from slackwise.traces import Trace, read, scale_rate, slice_time, synthesize
from slackwise.traces.resample import seconds_from_start

Command = Callable[..., Any]
SYNTHETIC = "synthetic"
MODEL, GPU = "Llama-3.2-11B-Vision", "A100-80GB"
HOUR_S, WEEK_S = 3600.0, 168 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The common options of a run, as given; those with a default are left out by some commands."""

    source: str
    image_count: str | None
    skip_bad_rows: bool
    start: str | float
    end: str | float | None
    hours: float | None
    rate: float
    model: str | None
    gpu: str | None
    gpus: int = 16
    text_instances: int | None = None
    slo_factor: float
    slo_scale: str
    image_context: str = "subtract"
    force_bundle: bool = False
    faults: str | None = None
    seed: int

    def trace(self) -> Trace:
        """The window of the trace at the rate asked for. Raises InputError if no request is left in it."""
        self.check()
        with working("drawing requests" if self.source == SYNTHETIC else f"reading {Path(self.source).name}"):
            window = self._synthetic() if self.source == SYNTHETIC else self._recorded()
            return window if self.rate == 1.0 else scale_rate(window, self.rate, self.seed)

    def configuration(self, text: str) -> Configuration:
        """A preset, a .toml file or a winner.json, then changes to its policies: `+role=name`, `+role.knob=value`.

        Raises InputError for an unknown name, a bad file, or a fleet that does not fit.
        """
        name, *changes = text.split("+")
        if name.endswith(".toml"):
            found = read_configuration(name, self.model or MODEL, self.gpu or GPU, self.gpus)
        elif name.endswith(".json"):
            model, gpu = self.model and NAMES["model"](self.model), self.gpu and NAMES["gpu"](self.gpu)
            found = read_tuned(name, model, gpu, self.force_bundle)
        elif name in PRESETS:
            found = preset(name, NAMES["model"](self.model or MODEL), NAMES["gpu"](self.gpu or GPU), self.gpus)
        else:
            raise InputError(f"{unknown('configuration', name, PRESETS)}, or a .toml file, or a winner.json")
        self._check_cluster(found)
        if self.faults is not None:
            found = replace(found, faults=read_faults(self.faults))
        return changed(self._resized(found), changes, text if changes else found.name)

    def check(self) -> None:
        """Raise InputError for options that exclude each other."""
        if self.hours is not None and self.end is not None:
            raise InputError("give --to or --hours, not both")
        if self.skip_bad_rows and self.source == SYNTHETIC:
            raise InputError("--skip-bad-rows has no effect on the synthetic week, which has none")

    def configurations(self, texts: str) -> list[Configuration]:
        """The configurations of a comma-separated list. Raises InputError for none, or two of one name."""
        found = [self.configuration(each.strip()) for each in texts.split(",") if each.strip()]
        if not found:
            raise InputError("--configs names no configuration")
        names = [each.name for each in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"two configurations are called '{twice}': give each its own name")
        check_text_instances(self, found)
        return found

    def objectives(self, configuration: Configuration) -> Objectives:
        """The objectives for a configuration's model and GPU."""
        return isolated(configuration.cluster, factor=self.slo_factor, scale=self.slo_scale)

    def _synthetic(self) -> Trace:
        start_s = _seconds("--from", self.start)
        end_s = WEEK_S if self.end is None else _seconds("--to", self.end)
        hours = self.hours or (end_s - start_s) / HOUR_S
        if hours <= 0:
            raise EmptyError(f"the window from {start_s:g} s to {end_s:g} s of the synthetic week is empty")
        return synthesize(self.seed, None, start_s / HOUR_S, hours, image_count=self.image_count or "sqrt")

    def _recorded(self) -> Trace:
        trace = read(self.source, self.image_count, self.skip_bad_rows)
        start_s = seconds_from_start(trace, self.start)
        end = self.end if self.hours is None else start_s + self.hours * HOUR_S
        return trace if start_s == 0.0 and end is None else slice_time(trace, self.start, end)

    def _check_cluster(self, found: Configuration) -> None:
        asked = (("model", self.model, found.cluster.model), ("gpu", self.gpu, found.cluster.gpu))
        for what, wanted, has in asked:
            if wanted is not None and NAMES[what](wanted) != has:
                raise InputError(f"configuration {found.name} is for {has}, not for --{what} {wanted}")

    def _resized(self, found: Configuration) -> Configuration:
        """An E+PD configuration with --text-instances on its GPUs; any other as it is."""
        cluster = found.cluster
        if self.text_instances is None or cluster.topology != "E+PD":
            return found
        if len(cluster.pools) != 2 or not cluster.one_gpu:
            raise InputError(
                f"--text-instances needs one pool of a kind and one kind of GPU: change {found.name} itself"
            )
        encoder, text = (pool.engine for pool in cluster.pools)
        resized = disaggregated(cluster.model, cluster.gpu, cluster.gpus, self.text_instances, text, encoder)
        return replace(found, cluster=replace(cluster, pools=resized.pools))


def changed(configuration: Configuration, settings: Sequence[str], name: str) -> Configuration:
    """The configuration under `name` with these applied: `role=name`, `role.knob=value` or `provisioning.key=value`."""
    fleet = dict(found for each in settings if (found := setting_of(each)) is not None)
    policies = configuration.policies.changed(each for each in settings if setting_of(each) is None)
    provisioning = settings_from(fleet, configuration.provisioning)
    return replace(configuration, name=name, policies=policies, provisioning=provisioning)


def check_text_instances(inputs: Inputs, configurations: Sequence[Configuration]) -> None:
    """Raise InputError if --text-instances is given and no configuration has separate encoders."""
    if inputs.text_instances is not None and all(each.cluster.topology != "E+PD" for each in configurations):
        raise InputError("--text-instances needs a configuration with separate encoders, such as modserve")


def check_used(inputs: Inputs, text: str, found: Configuration) -> None:
    """Raise InputError for an option given that has no effect on the configuration `found`, read from `text`."""
    check_text_instances(inputs, [found])
    tuned = text.split("+")[0].endswith(".json")
    if inputs.force_bundle and not tuned:
        raise InputError("--force-bundle has no effect without a winner.json")
    context = click.get_current_context(silent=True)
    if tuned and context and context.get_parameter_source("gpus") == ParameterSource.COMMANDLINE:
        raise InputError("--gpus has no effect on a winner.json, which has its own fleet")


def input_options(function: Command) -> Command:
    """TRACE and the options of `Inputs`, handed to the command as `inputs`."""
    return input_options_without()(function)


def input_options_without(*unused: str) -> Callable[[Command], Command]:
    """`input_options` but for some that the command has no use for, so that none is taken and ignored."""
    names = [each.name for each in fields(Inputs) if each.name not in unused]

    def given(function: Command) -> Command:
        @wraps(function)
        def command(**options: Any) -> Any:
            return function(Inputs(**{name: options.pop(name) for name in names}), **options)

        for option in reversed(OPTIONS):
            command = option(command)
        params: list[click.Parameter] = command.__click_params__  # type: ignore[attr-defined]
        params[:] = [each for each in params if each.name not in unused]
        return command

    return given


def _seconds(option: str, when: str | float) -> float:
    if isinstance(when, str):
        raise InputError(f"{option} {when}: the synthetic week has hours, not dates: give 90, 15min, 2h or 1d")
    return when


NAMES: dict[str, Callable[[str], str]] = {
    "model": lambda name: load_model(name).name,
    "gpu": lambda name: load_gpu(name).name,
}

OPTIONS = (
    click.argument("source", metavar="TRACE"),
    image_count_option,
    skip_option,
    click.option("--from", "start", type=moment, default="0", help="Begin of the window: 90, 15min, 2h, 1d or UTC."),
    click.option("--to", "end", type=moment, help="Its end. [default: the end of the trace]"),
    click.option("--hours", type=click.FloatRange(0, min_open=True), help="Its length, instead of --to."),
    click.option(
        "--rate",
        type=click.FloatRange(0, min_open=True),
        default=1.0,
        show_default=True,
        help="Rate factor: thinned below 1, superposed above.",
    ),
    click.option("--model", help=f"Model. [default: {MODEL}]"),
    click.option("--gpu", help=f"GPU. [default: {GPU}]"),
    click.option("--gpus", type=click.IntRange(min=1), default=16, show_default=True, help="GPUs of a preset."),
    click.option("--text-instances", type=click.IntRange(min=1), help="TP-4 text instances; the rest encode."),
    click.option(
        "--slo-factor",
        type=click.FloatRange(0, min_open=True),
        default=5.0,
        show_default=True,
        help="Objectives, in times of a request that runs alone.",
    ),
    click.option(
        "--slo-scale",
        type=click.Choice(list(SCALES)),
        default="work",
        show_default=True,
        help="work: larger requests get more time; class: all image requests the same.",
    ),
    click.option(
        "--image-context",
        type=click.Choice(list(IMAGE_CONTEXTS)),
        default="subtract",
        show_default=True,
        help="Whether the recorded context holds image tokens to subtract.",
    ),
    click.option(
        "--force-bundle", is_flag=True, help="Serve a winner.json on a --model or --gpu it was not tuned for."
    ),
    click.option(
        "--faults",
        metavar="KEY=VALUE,...|FILE",
        help="What goes wrong, such as mtbf_s=3600,loss=0.001, or the [faults] of a .toml file.",
    ),
    seed_option,
)
