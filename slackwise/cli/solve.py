"""`slackwise solve`: what to buy, and how good a schedule could be."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import click

COMMANDS = {
    "provision": ("slackwise.cli.solve_provision", "The cheapest fleet for a forecast of traffic, hour by hour."),
    "schedule": ("slackwise.cli.solve_schedule", "How far policies are from the best possible schedule."),
}
"""Name -> (module with a click command called `command`, one-line help)."""


class SolveGroup(click.Group):
    """A group whose subcommands are imported at use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=SolveGroup)
def command() -> None:
    """What to buy, and how good a schedule could be: by OR-Tools, with bounds that hold.

    Exit codes: 3 proved infeasible, 4 limit without a solution, 6 unbounded, 7 empty window, 8 zero demand, 9 a
    capacity table with gaps.
    """


Option = Callable[[Callable[..., object]], Callable[..., object]]

gap_option: Option = click.option(
    "--gap", type=click.FloatRange(0, 1, max_open=True), default=0.01, show_default=True, help="Relative gap to prove."
)
seconds_option: Option = click.option("--seconds", type=click.FloatRange(min=0), help="Wall clock; not reproducible.")
workers_option: Option = click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes of the search."
)
backend_option: Option = click.option(
    "--backend", type=click.Choice(["highs", "cp-sat"]), default="highs", show_default=True, help="Solver of the MIPs."
)
