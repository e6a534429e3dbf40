"""The `slackwise` command: finds the subcommand, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from slackwise import __version__
from slackwise.errors import SlackwiseError, unknown

COMMANDS = {
    "demo": ("slackwise.cli.demo", "Show which scheduling wins on hours of the synthetic week, and why."),
    "trace": ("slackwise.cli.trace", "Read, describe, cut, scale, fetch and synthesize traces."),
    "simulate": ("slackwise.cli.simulate", "Serve a trace with one configuration."),
    "compare": ("slackwise.cli.compare", "Compare configurations on the same arrivals, with intervals."),
    "tune": (
        "slackwise.cli.tune",
        "Search layout, policies and knobs; judge what is found on the rest; leave a winner.",
    ),
    "capacity": ("slackwise.cli.capacity", "Find the highest rate within the objectives."),
    "train": ("slackwise.cli.train", "Learn a policy in an environment."),
    "solve": ("slackwise.cli.solve", "What to buy, and how good a schedule could be."),
    "report": ("slackwise.cli.report", "Plan a fleet, prove it, test it on held-out traffic: one HTML file."),
    "reproduce": ("slackwise.cli.reproduce", "Run the experiments of ModServe's paper, beside its numbers."),
    "policies": ("slackwise.cli.policies", "List the policies and show one with its knobs."),
    "bench": ("slackwise.cli.bench", "Measure the speed of simulator and solver here."),
    "deploy": ("slackwise.cli.deploy", "Write what a cluster needs to run a winner."),
    "watch": ("slackwise.cli.watch", "Show pools, queues and attainment of a running application, live."),
    "explain": ("slackwise.cli.explain", "Say why a request waited in vLLM, from a file of decisions."),
    "doctor": ("slackwise.cli.doctor", "Say what is installed and what of slackwise works here."),
    "measure": ("slackwise.cli.measure", "Time the steps of a vLLM engine, for calibrate."),
    "latency": ("slackwise.cli.latency", "Show what a stage costs, with the source of every number."),
    "calibrate": ("slackwise.cli.calibrate", "Fit a latency model to step measurements of an engine."),
}
"""Name -> (module with a click command called `command`, one-line help). Modules load only when asked for."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported at use: `slackwise --help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise unknown("command", cmd_name, COMMANDS)
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        command.name = cmd_name  # what the reference calls it
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slackwise")
def slackwise() -> None:
    """Tune how multimodal LLM services are scheduled.

    Data goes to stdout (--json everywhere), messages to stderr. Exit codes: 0 done, 1 crash, 2 usage or bad
    input, 3 proved infeasible, 4 limit reached without a solution, 5 a check failed, 6 unbounded, 7 empty window,
    8 zero demand, 9 a capacity table with gaps, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code. Errors made on purpose print one line on stderr."""
    try:
        result = slackwise.main(args=arguments, prog_name="slackwise", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except SlackwiseError as error:
        return _complain(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(message: str, code: int) -> int:
    print(f"slackwise: {' '.join(message.split())}", file=sys.stderr)
    return code
