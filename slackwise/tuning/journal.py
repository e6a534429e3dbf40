"""A study on disk: Optuna's journal of its finished trials, with the settings they were made under.

Every trial is one record, written when it is done. A search that is ended at any moment, in any way, leaves a study
that Optuna itself can open and that `--resume` goes on with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.tuning.samplers import quiet

NAME = "slackwise"
"""Name of the study in its journal."""

SETTINGS = "settings"


class Journal:
    """The journal at `path`. Raises InputError if it is to be made anew and exists, or cannot be read."""

    def __init__(self, path: Path, settings: Mapping[str, Any], directions: Sequence[str], resume: bool) -> None:
        if path.exists() and not resume:
            raise InputError(f"{path} holds a study already: --resume goes on with it, or choose another --out")
        if resume and not path.exists():
            raise InputError(f"there is no study to resume: {path} does not exist")
        self.path = path
        with quiet() as optuna:
            try:
                storages = optuna.storages
                storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(path)))
                known = NAME in optuna.get_all_study_names(storage)
                load = optuna.load_study if known else optuna.create_study
                given = {} if known else {"directions": list(directions)}
                self.study = load(study_name=NAME, storage=storage, **given)
            except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
                raise InputError(f"{path} cannot be read as a study: {error or type(error).__name__}") from None
        if known:
            check_settings(path, self.study.user_attrs.get(SETTINGS), settings)
        else:
            self.study.set_user_attr(SETTINGS, _plain(settings))

    @property
    def trials(self) -> list[Any]:
        """The finished trials, in order."""
        return list(self.study.trials)

    def add(self, trial: Any) -> None:
        """Write a finished trial."""
        self.study.add_trial(trial)


def check_settings(path: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Raise InputError, naming what differs, if a study was made under other settings."""
    if not isinstance(before, dict):
        raise InputError(f"{path} is not a study of slackwise: it has no settings")
    different = _different("", before, _plain(now))
    if different:
        raise InputError(f"{path} was made under other settings: {different}; a study is resumed as it was begun")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def _different(where: str, before: Any, now: Any) -> str:
    """The first difference between two JSON values in words, "" if there is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*now, *(key for key in before if key not in now)]
        found = (_different(f"{where}.{key}" if where else key, before.get(key), now.get(key)) for key in keys)
        return next((each for each in found if each), "")
    return "" if before == now else f"{where} was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
