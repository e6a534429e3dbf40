"""Reads the package's TOML catalogues into frozen dataclasses and finds entries by name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from slackwise.errors import InputError, unknown

Record = TypeVar("Record")


@cache
def catalogue(file: str) -> dict[str, Any]:
    """The parsed TOML file `file` of this package."""
    return tomllib.loads(files(__package__).joinpath(file).read_text(encoding="utf-8"))


def record(kind: type[Record], table: Mapping[str, Any], where: str) -> Record:
    """Build the dataclass `kind` from a TOML table; lists become tuples.

    Raises InputError for a key that the dataclass lacks (naming the closest) and for a missing one.
    """
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise unknown(f"key of {where}", key, known)
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None


def resolve(kind: str, name: str, known: Iterable[str]) -> str:
    """The catalogue's spelling of `name`: case and punctuation aside, the whole name or its unambiguous first words.

    >>> resolve("GPU", "a100", ["A100-80GB", "H100"])
    'A100-80GB'

    Raises InputError, naming the closest, when none or several match.
    """
    names = list(known)
    by_letters = {folded(each): each for each in names}
    wanted = folded(name)
    if wanted in by_letters:
        return by_letters[wanted]
    matches = [each for each in names if wanted in beginnings(each)]
    if len(matches) != 1:
        raise unknown(kind, name, names)
    return matches[0]


def beginnings(name: str) -> list[str]:
    """The first words of `name`, 1, 2, ... of them, folded: "A10" begins no word of "A100-80GB"."""
    words = [folded(word) for word in re.split(r"[^0-9A-Za-z]+", name)]
    return ["".join(words[: count + 1]) for count in range(len(words))]


def folded(name: str) -> str:
    """`name` in lower case, letters and digits alone."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
