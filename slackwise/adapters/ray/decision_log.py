"""Every decision of a router with all that it knew, one JSON object a line, so that it can be made again.

    {"role": "encode_routing", "policy": name, "knobs": {...}, "now_s": ..., "request": {...}, "replicas": [names],
     "instances": [{...}, ...], "chosen": index}

`request` and `instances` hold the features by name (policies/features.py), before the call was counted.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.adapters.ray.routing import Choice
from slackwise.policies.bundle import Policies


class DecisionLog:
    """Writes a file of its own in `folder`. A disk that fails ends the writing, never the routing."""

    def __init__(self, folder: str, pool: str) -> None:
        self.path = Path(folder) / f"routing-{pool}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        self.broken = ""
        self._guarded(lambda: self.path.parent.mkdir(parents=True, exist_ok=True))

    def write(self, policies: Policies, role: str, choice: Choice) -> None:
        """Add a decision."""
        document = policies.to_dict()[role]
        line = {
            "role": role,
            "policy": document["name"],
            "knobs": document["knobs"],
            "now_s": choice.now_s,
            "request": row_document(choice.request[0]),
            "replicas": choice.names,
            "instances": [row_document(each) for each in choice.instances],
            "chosen": choice.names.index(choice.replica),
        }
        self._guarded(lambda: self._append(json.dumps(line) + "\n"))

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def _guarded(self, function: Any) -> None:
        if not self.broken:
            try:
                function()
            except OSError as error:
                self.broken = str(error)


def row_document(row: Any) -> dict[str, Any]:
    """A record of features by name."""
    return {name: row[name].item() for name in row.dtype.names}


def row_of(document: Mapping[str, Any], kind: np.dtype[Any]) -> Any:
    """The record, shape (1,), of such a document."""
    made = np.zeros(1, kind)
    for name, value in document.items():
        made[name] = value
    return made
