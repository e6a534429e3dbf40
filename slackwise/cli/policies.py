"""`slackwise policies`: list the policies, show one with its knobs."""

from __future__ import annotations

import textwrap

import click

from slackwise.cli.options import json_option, no_seed_option, print_json

family_option = click.option(
    "--family", help="Only this family: routing, batching, chunking, admission or provisioning."
)


@click.group()
def command() -> None:
    """List the policies and show one with its knobs."""


@command.command("list")
@family_option
@no_seed_option
@json_option
def list_policies(family: str | None, as_json: bool) -> None:
    """List every policy, built in or installed as a plug-in."""
    from slackwise.policies import policies

    found = policies(family)
    if as_json:
        print_json([policy.describe() for policy in found])
        return
    width = max((len(policy.name) for policy in found), default=0)
    for policy in found:
        click.echo(f"{policy.family:<13}{policy.name:<{width + 2}}{policy.summary}")


@command.command()
@click.argument("name")
@family_option
@no_seed_option
@json_option
def show(name: str, family: str | None, as_json: bool) -> None:
    """Show the policy NAME (or module:function): formula with units, knobs, source, trade-offs."""
    from slackwise.policies import find
    from slackwise.policies.knobs import knob_words
    from slackwise.policies.symbols import symbols_in

    policy = find(family, name)
    if as_json:
        print_json(policy.describe())
        return
    symbols = [f"{symbol}: {meaning}" for symbol, meaning in symbols_in(policy.formula).items()]
    click.echo(f"{policy.name} ({policy.family}): {policy.summary}")
    _paragraphs("Formula", [policy.formula, *symbols])
    _paragraphs("Inputs", [", ".join(policy.inputs) or "the pools"])
    _paragraphs("Knobs", [f"{knob}: {knob_words(each)}" for knob, each in policy.knobs.items()] or ["none"])
    _paragraphs("Trade-offs", [policy.trade_offs])
    _paragraphs("Source", [policy.source])


def _paragraphs(label: str, texts: list[str]) -> None:
    for position, text in enumerate(texts):
        first = "" if position else label
        click.echo(textwrap.fill(text, 100, initial_indent=f"{first:<12}", subsequent_indent=" " * 12))
