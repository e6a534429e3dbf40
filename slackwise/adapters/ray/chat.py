"""Answers to a chat request as OpenAI's API writes them: one completion, or the events of a stream."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

DONE = b"data: [DONE]\n\n"

NOT_ADDED = ("role", "type", "id", "name", "index")
"""Of a delta: what says the same each time it is there."""


class Chat:
    """One answer in the making: takes pieces (see path.py), gives chunks as they come, or the whole at the end."""

    def __init__(self, model: str, arrival_s: float) -> None:
        self.model, self.created = model, int(arrival_s)
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.served: dict[str, Any] = {}
        self.tokens = self.prompt_tokens = 0
        self.usage: dict[str, Any] | None = None
        self.choices: dict[int, dict[str, Any]] = {}
        self.finished = False

    def take(self, piece: Mapping[str, Any]) -> dict[str, Any] | None:
        """The chunk of a piece, None for a piece that holds nothing for the client."""
        first = not self.served
        self.served |= piece.get("served", {})
        self.tokens += int(piece.get("tokens", 0))
        self.prompt_tokens += int(piece.get("prompt_tokens", 0))
        self.usage = piece.get("usage", self.usage)
        choices = piece["choices"] if "choices" in piece else [_choice(piece, first)]
        for choice in choices:
            self._add(choice)
        if not choices:
            return None
        chunk = self._document("chat.completion.chunk", choices)
        return chunk | {"slackwise": dict(self.served)} if "served" in piece else chunk

    def completion(self) -> dict[str, Any]:
        """The whole answer, with the replicas that served it under `slackwise`."""
        choices = [self.choices[at] for at in sorted(self.choices)]
        served = {**self.served, "tokens": self.tokens}
        return self._document("chat.completion", choices) | {"usage": self.used(), "slackwise": served}

    def last(self) -> dict[str, Any]:
        """The chunk that follows the others where a client asks for the usage."""
        return self._document("chat.completion.chunk", []) | {"usage": self.used()}

    def used(self) -> dict[str, Any]:
        """Tokens of prompt and answer: the engine's own count where there is one."""
        if self.usage is not None:
            return self.usage
        prompt, made = self.prompt_tokens, self.tokens
        return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}

    def _document(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def _add(self, choice: Mapping[str, Any]) -> None:
        at = int(choice.get("index", 0))
        empty = {"index": at, "message": {"role": "assistant", "content": ""}, "finish_reason": None}
        whole = self.choices.setdefault(at, empty)
        add(whole["message"], choice.get("delta") or {})
        if choice.get("logprobs"):
            add(whole.setdefault("logprobs", {}), choice["logprobs"])
        if choice.get("finish_reason") is not None:
            whole["finish_reason"] = choice["finish_reason"]
            self.finished = True


def _choice(piece: Mapping[str, Any], first: bool) -> dict[str, Any]:
    role = {"role": "assistant"} if first else {}
    return {"index": 0, "delta": {**role, "content": piece["text"]}, "finish_reason": piece.get("finish_reason")}


def add(whole: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a delta: texts are put together, lists by the `index` of what they hold, or one after the other."""
    for name, value in delta.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif before is None or name in NOT_ADDED:
            whole[name] = json.loads(json.dumps(value))
        elif isinstance(value, str) and isinstance(before, str):
            whole[name] = before + value
        elif isinstance(value, Mapping) and isinstance(before, dict):
            add(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            for item in value:
                _add_item(before, item)
        else:
            whole[name] = value


def _add_item(items: list[Any], item: Any) -> None:
    at = item.get("index") if isinstance(item, Mapping) else None
    same = next((each for each in items if at is not None and isinstance(each, dict) and each.get("index") == at), None)
    if same is None:
        items.append(item)
    else:
        add(same, item)


def event(document: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(document, allow_nan=False).encode() + b"\n\n"


def failure(status: int, message: str) -> dict[str, Any]:
    """An error as OpenAI's API writes it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "code": status}}
