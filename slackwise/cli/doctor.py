"""`slackwise doctor`: what is installed, and what works."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from slackwise.cli.options import json_option, no_seed_option, print_json
from slackwise.errors import SlackwiseError

EXTRAS = {
    "trace": ("pyarrow",),
    "env": ("gymnasium",),
    "tune": ("optuna", "scipy"),
    "report": ("matplotlib", "jinja2"),
    "solver": ("ortools", "statsmodels"),
    "rl": ("stable_baselines3", "sb3_contrib"),
    "ray": ("ray",),
}
"""Extra -> the modules that it is for."""


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Check this winner.json too.")
@no_seed_option
@json_option
def command(bundle: Path | None, as_json: bool) -> int:
    """Say what is installed and what of slackwise works here; exit code 5 if the plug-in fails in the vLLM found."""
    from slackwise.policies.winner import versions

    found: dict[str, Any] = {"versions": versions()}
    found["extras"] = {name: all(find_spec(each) for each in modules) for name, modules in EXTRAS.items()}
    found["vllm"] = vllm_state()
    if bundle is not None:
        found["bundle"] = bundle_state(bundle)
    failed = found["vllm"]["installed"] is not None and not found["vllm"]["works"]
    if as_json:
        print_json(found)
    else:
        _tell(found)
    return 5 if failed else 0


def vllm_state() -> dict[str, Any]:
    """vLLM's version, whether it is supported, what of the plug-in's contract it breaks, the plug-in's registration."""
    from slackwise.adapters.vllm.support import SUPPORTED, installed, minor

    release = installed()
    if release is None:
        return {"installed": None, "supported": list(SUPPORTED), "works": False, "broken": []}
    from slackwise.adapters.vllm.contract import broken

    problems = broken()
    return {
        "installed": release,
        "tested": minor(release) in SUPPORTED,
        "supported": list(SUPPORTED),
        "works": not problems,
        "broken": problems,
        "metrics": _registered(),
    }


def bundle_state(path: Path) -> dict[str, Any]:
    """What a bundle is for, and what of it a scheduler inside one engine does not apply; or why it cannot be read."""
    from slackwise.adapters.vllm.setup import unapplied
    from slackwise.policies.winner import read_winner

    try:
        winner = read_winner(path)
    except SlackwiseError as error:
        return {"error": str(error)}
    policies = winner.policies.to_dict()
    applied = {role: policies[role] for role in ("batching", "chunking")}
    return {"model": winner.model, "gpu": winner.gpu, "applied": applied, "notes": unapplied(winner)}


def _registered() -> bool:
    """Whether vLLM will find the metrics: slackwise is installed, not only on the path."""
    from importlib.metadata import entry_points

    try:
        version("slackwise")
    except PackageNotFoundError:
        return False
    return any(each.name == "slackwise" for each in entry_points(group="vllm.stat_logger_plugins"))


def _tell(found: dict[str, Any]) -> None:
    told = ", ".join(f"{name} {each}" for name, each in found["versions"].items())
    click.echo(f"versions  {told}")
    for name, here in found["extras"].items():
        missing = f"missing: pip install 'slackwise[{name}]'"
        click.echo(f"{name:<8}  {'works' if here else missing}")
    vllm = found["vllm"]
    if vllm["installed"] is None:
        click.echo(f"vllm      not installed; the plug-in runs in {', '.join(vllm['supported'])}")
        return
    tested = "tested" if vllm["tested"] else f"not tested, only {', '.join(vllm['supported'])} are"
    click.echo(f"vllm      {vllm['installed']}, {tested}; the plug-in {'works' if vllm['works'] else 'does not work'}")
    for line in vllm["broken"]:
        click.echo(f"          {line}")
    click.echo(f"          metrics {'are registered' if vllm['metrics'] else 'need slackwise to be pip-installed'}")
    if "bundle" in found:
        for name, value in found["bundle"].items():
            click.echo(f"bundle    {name}: {value}")
