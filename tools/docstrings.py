"""An extension of griffe, for the site: what the sources say of a thing where griffe does not look."""

from __future__ import annotations

import inspect
import tokenize
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Comments behind the fields of records, and tables of observations, which environments fill in when imported."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe for each attribute: a field without a docstring has the comment on its line."""
        if isinstance(attr.parent, griffe.Class) and not attr.docstring and attr.endlineno:
            comment = comments(Path(str(attr.filepath))).get(attr.endlineno)
            attr.docstring = griffe.Docstring(comment, parent=attr) if comment else None

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class: an environment's docstring is the one that it has once it is imported."""
        if cls.docstring and "OBSERVATIONS" in cls.docstring.value:
            loaded = getattr(import_module(cls.module.path), cls.name)
            cls.docstring.value = inspect.cleandoc(loaded.__doc__ or "")


@cache
def comments(source: Path) -> dict[int, str]:
    """Comment by line."""
    with source.open("rb") as file:
        tokens = [each for each in tokenize.tokenize(file.readline) if each.type == tokenize.COMMENT]
    return {each.start[0]: each.string.lstrip("# ") for each in tokens if not each.string.startswith("# type:")}
