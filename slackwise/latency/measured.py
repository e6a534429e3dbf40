"""Reads step measurements of an engine: one row a step, what was in it and how long it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slackwise.errors import InputError

REQUIRED = ("decodes", "context_tokens", "prompt_tokens", "images", "tiles", "seconds")
OPTIONAL = {"prompts": 1.0, "prompt_done_tokens": 0.0}
SAME = ("gpu", "model", "engine", "tensor_parallel")
"""Columns that, where present, must hold a single value: a fit describes one instance."""

FEWEST_ROWS = 12
MOST = 1e15
"""More than any engine counts, and little enough for products of two to be numbers."""


@dataclass(frozen=True)
class Steps:
    """Measured steps as parallel arrays, shape (n,)."""

    decodes: NDArray[np.float64]  # sequences that decode one token
    context_tokens: NDArray[np.float64]  # KV tokens that they read, summed
    prompt_tokens: NDArray[np.float64]  # prompt tokens computed
    pairs: NDArray[np.float64]  # prefill attention: prompt tokens * (tokens done before + half of its chunk)
    tiles: NDArray[np.float64]  # tiles encoded, padding included
    seconds: NDArray[np.float64]
    source: str
    instance: Mapping[str, str] = field(default_factory=dict)  # what the columns of SAME say was measured

    @property
    def tokens(self) -> NDArray[np.float64]:
        """Tokens that the linear layers see."""
        return self.decodes + self.prompt_tokens

    def at(self, rows: NDArray[np.intp]) -> Steps:
        """The steps at the positions `rows`."""
        names = ("decodes", "context_tokens", "prompt_tokens", "pairs", "tiles", "seconds")
        return Steps(**{name: getattr(self, name)[rows] for name in names}, source=self.source, instance=self.instance)


def read_steps(path: Path) -> Steps:
    """Read a csv with the columns REQUIRED and any of OPTIONAL; other columns are kept out, those of SAME checked.

    `context_tokens` is summed over the decodes of the step. `prompts` prompts share `prompt_tokens` equally, each after
    `prompt_done_tokens` computed before. Raises InputError with the line and the reason: an unreadable file, missing
    columns, a value that is no number, negative or above MOST, seconds that are not positive, images without tiles or
    tiles without images, empty steps, mixed GPUs (models, engines), fewer than FEWEST_ROWS rows.
    """
    table = _read(path)
    columns = {name: _numbers(path, table, name) for name in REQUIRED}
    extra = {name: _numbers(path, table, name) if name in table else OPTIONAL[name] for name in OPTIONAL}
    _check_rows(path, columns)
    instance = _single_values(path, table)
    if len(table) < FEWEST_ROWS:
        raise InputError(f"{path}: {len(table)} rows are too few for a fit; at least {FEWEST_ROWS} are needed")
    prompt_tokens = columns["prompt_tokens"]
    chunk = prompt_tokens / np.maximum(extra["prompts"], 1.0)
    return Steps(
        decodes=columns["decodes"],
        context_tokens=columns["context_tokens"],
        prompt_tokens=prompt_tokens,
        pairs=prompt_tokens * (extra["prompt_done_tokens"] + chunk / 2),
        tiles=columns["tiles"],
        seconds=columns["seconds"],
        source=f"fitted to {len(table)} measured steps of {path.name}{_told(instance)}",
        instance=instance,
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; needed are {', '.join(REQUIRED)}")
    return table


def _numbers(path: Path, table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    _refuse(path, table[name].isna().to_numpy(), lambda row: f"{name} is missing")
    _refuse(path, ~np.isfinite(values), lambda row: f"{name} is not a number: {table[name].iloc[row]!r}")
    _refuse(path, values > MOST, lambda row: f"{name} is at most {MOST:g}, not {values[row]:g}")
    if name == "seconds":
        _refuse(path, values <= 0, lambda row: f"seconds must be positive, not {values[row]:g}")
    else:
        _refuse(path, values < 0, lambda row: f"{name} must not be negative, not {values[row]:g}")
    return values


def _check_rows(path: Path, columns: dict[str, NDArray[np.float64]]) -> None:
    images, tiles = columns["images"], columns["tiles"]
    _refuse(path, (images > 0) != (tiles > 0), lambda row: f"{images[row]:g} images with {tiles[row]:g} tiles")
    unread = (columns["context_tokens"] > 0) & (columns["decodes"] == 0)
    _refuse(path, unread, lambda row: "context tokens without a decode that reads them")
    work = columns["decodes"] + columns["prompt_tokens"] + tiles
    _refuse(path, work == 0, lambda row: "an empty step: no decodes, prompt tokens or tiles")


def _single_values(path: Path, table: pd.DataFrame) -> dict[str, str]:
    """What the columns of SAME say of the instance measured; refuses a column with more than one value."""
    found = {}
    for name in (each for each in SAME if each in table and len(table)):
        values = [str(value).strip() for value in table[name].fillna("")]
        other = np.array([value != values[0] for value in values])
        _refuse(path, other, _mixed(name, values))
        if values[0]:
            found[name] = values[0]
    return found


def _told(instance: Mapping[str, str]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in instance.items())})" if instance else ""


def _mixed(name: str, values: list[str]) -> Callable[[int], str]:
    return lambda row: f"mixed {name}: {values[row]!r} after {values[0]!r}"


def _refuse(path: Path, bad: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
    """Raise InputError for the first row where `bad` holds; line 1 is the header."""
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{path} line {row + 2}: {reason(row)}")
