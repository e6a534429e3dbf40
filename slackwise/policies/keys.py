"""JSON objects with the keys that they should have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slackwise.errors import InputError, unknown


def checked_keys(what: str, document: Any, known: Iterable[str], required: Iterable[str]) -> None:
    """Raise InputError unless `document` is an object with all `required` keys and no key outside `known`."""
    if not isinstance(document, dict):
        raise InputError(f"{what} must be a JSON object, not {type(document).__name__}")
    for key in document:
        if key not in known:
            raise unknown(f"key of {what}", str(key), known)
    missing = [key for key in required if key not in document]
    if missing:
        raise InputError(f"{what} lacks {', '.join(missing)}")
