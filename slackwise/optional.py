"""Optional dependencies fail at first use, with the line that installs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from slackwise.errors import InputError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise InputError with the command that installs the extra holding it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(f"{package} is needed here: pip install 'slackwise[{extra}]' ({error})") from None
