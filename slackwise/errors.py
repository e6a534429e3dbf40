"""Errors that a user can act on, each with the exit code of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SlackwiseError(Exception):
    """Base of every error raised on purpose; its text is one line for the user, whatever it quotes. Exit code 1."""

    exit_code = 1

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class InputError(SlackwiseError):
    """The user's input is wrong: a name, a value, a file. Exit code 2."""

    exit_code = 2


class InfeasibleError(SlackwiseError):
    """What was asked for is proved impossible. Exit code 3."""

    exit_code = 3


class LimitError(SlackwiseError):
    """A limit was reached before any solution was found. Exit code 4."""

    exit_code = 4


class CheckError(SlackwiseError):
    """A check or gate failed. Exit code 5."""

    exit_code = 5


class UnboundedError(SlackwiseError):
    """The objective of an optimisation falls without end. Exit code 6."""

    exit_code = 6


class EmptyError(InputError):
    """There is nothing in the window that was asked about. Exit code 7."""

    exit_code = 7


class ZeroDemandError(InputError):
    """Nothing is demanded in any window, so there is nothing to plan. Exit code 8."""

    exit_code = 8


class GapError(InputError):
    """A table lacks an entry that is needed. Exit code 9."""

    exit_code = 9


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for an unknown name: names the closest known one, first one that begins with it, and lists all.

    >>> str(unknown("GPU", "A100", ["A100-80GB", "H100"]))
    "unknown GPU 'A100': did you mean 'A100-80GB'? Known: A100-80GB, H100"
    """
    names = sorted(known)
    folded = {each.lower(): each for each in names}
    begun = [each for each in folded if name and each.startswith(name.lower())]
    close = begun or get_close_matches(name.lower(), list(folded), n=1, cutoff=0.3)
    hint = f" did you mean '{folded[close[0]]}'?" if close else ""
    return InputError(f"unknown {kind} '{name}':{hint} Known: {', '.join(names) or 'none'}")


def brief(error: Exception) -> str:
    """What somebody else's error says, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
