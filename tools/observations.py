"""An extension of griffe, for the site: tables of observations, which environments write into their docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import griffe


class Observations(griffe.Extension):
    """Take the docstring that a class has once it is imported, where the one in its source has the table to come."""

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class that it has read."""
        if cls.docstring and "OBSERVATIONS" in cls.docstring.value:
            loaded = getattr(import_module(cls.module.path), cls.name)
            cls.docstring.value = inspect.cleandoc(loaded.__doc__ or "")
