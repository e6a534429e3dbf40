"""All files of a deployment, made in memory, checked, then written: nothing is written if anything is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwise.adapters.ray.commands import script
from slackwise.adapters.ray.dashboard import dashboard
from slackwise.adapters.ray.fleet import FleetPool, fleet_of, placed
from slackwise.adapters.ray.keda import scaled_objects
from slackwise.adapters.ray.llm_d import InexpressibleError, endpoint_picker
from slackwise.adapters.ray.serve_config import check_schema, serve_config
from slackwise.adapters.ray.target import Target
from slackwise.errors import InputError
from slackwise.files import write_text
from slackwise.optional import require
from slackwise.policies.winner import Winner

BUNDLE, SERVE, COMMANDS, KEDA = "winner.json", "serve.yaml", "vllm-serve.txt", "keda.yaml"
DASHBOARD = "grafana.json"


@dataclass(frozen=True)
class Rendered:
    """Files by name, with what is to be known of them."""

    pools: tuple[FleetPool, ...]
    files: dict[str, str]
    notes: tuple[str, ...]


def render(winner: Winner, target: Target, folder: Path) -> Rendered:
    """The files for `folder`, not yet written.

    Raises InputError for a bundle or cluster that do not go together, and for what an exporter cannot express.
    """
    bundle = target.bundle or str(folder.absolute() / BUNDLE)
    pools = fleet_of(winner, target)
    document = serve_config(winner, pools, target, bundle)
    notes = [] if check_schema(document) else ["serve.yaml was not checked: pip install 'slackwise[serve]'"]
    files = {
        BUNDLE: json.dumps(winner.to_dict(), indent=2, allow_nan=False) + "\n",
        SERVE: _yaml([document]),
        DASHBOARD: json.dumps(dashboard(target.name), indent=2) + "\n",
        COMMANDS: script(placed(pools, target), target, bundle),
    }
    if target.router_weights is not False:
        found, refused = _llm_d(winner, pools)
        if refused and target.router_weights:
            raise InputError(refused[0])
        files, notes = files | found, [*notes, *refused]
    if winner.policies.resizes:
        files[KEDA] = _yaml(scaled_objects(pools, target))
    if target.host not in ("127.0.0.1", "localhost", "::1"):
        notes.append(f"the endpoint listens on {target.host}, where others reach it")
    return Rendered(pools, files, tuple(notes))


def write_files(rendered: Rendered, folder: Path) -> None:
    """Write all files into `folder`, which is made if it is not there. Raises InputError if that cannot be done."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    for name, text in rendered.files.items():
        write_text(folder / name, text)


def _llm_d(winner: Winner, pools: Sequence[FleetPool]) -> tuple[dict[str, str], list[str]]:
    """The llm-d files of the pools whose routing can be expressed, and why not of the others."""
    found, refused = {}, []
    for pool in pools:
        try:
            found[f"llm-d-{pool.name}.yaml"] = _yaml([endpoint_picker(winner.policies, pool)])
        except InexpressibleError as error:
            refused.append(str(error))
    return found, refused


def _yaml(documents: list[Any]) -> str:
    yaml = require("yaml", "serve")
    text: str = yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, width=120)
    return text
