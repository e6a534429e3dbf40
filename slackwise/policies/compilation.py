"""From a plain Python policy to machine code: one signature for all, cached on disk, refusals that name the line."""

from __future__ import annotations

import dis
import linecache
import zlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import numba
from click import unstyle
from numba import float64, from_dtype, types
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from slackwise.errors import InputError
from slackwise.policies.features import INSTANCE, REQUEST

Function = TypeVar("Function", bound=Callable[..., Any])

SIGNATURE = float64(from_dtype(REQUEST), from_dtype(INSTANCE), float64, float64[::1])
"""Of every routing, batching and chunking policy: (request, instance, now, params) -> float64."""

FEATURES = {"request": REQUEST.names or (), "instance": INSTANCE.names or ()}
"""What a policy may read of its two records."""

POLICY = types.FunctionType(SIGNATURE)
"""The type under which compiled code takes a policy as an argument: changing the policy compiles nothing else."""


def policy_helper(function: Function) -> Function:
    """Let policies call `function`: plain Python for Python, part of the machine code when a policy compiles."""
    jitable: Function = register_jitable(function)
    return jitable


def compile_policy(function: Callable[..., float]) -> Callable[..., float]:
    """`function` as machine code under SIGNATURE, cached beside its source (or in the user's Numba cache).

    With NUMBA_DISABLE_JIT=1 the function itself. Raises InputError with the offending line and the features if it
    does not compile. fastmath is off and division follows IEEE, so that plain and compiled agree bit for bit.
    """
    if numba.config.DISABLE_JIT:
        return function
    _check_features(function)
    try:
        return _jitted(stamped(function))
    except (NumbaError, KeyError) as error:
        where = getattr(error, "loc", None)
        line = getattr(where, "line", None) or function.__code__.co_firstlineno
        file = getattr(where, "filename", None) or function.__code__.co_filename
        raise _refusal(function, file, line, _reason(error)) from None


@cache
def features_read(function: Callable[..., float]) -> tuple[str, ...]:
    """What `function` and its helpers read of the records, "request.arrival_s" and the like, in order of definition."""
    read = {(record, name) for called in _called(function) for record, name, _ in _attributes(called.__code__)}
    return tuple(f"{record}.{name}" for record, names in FEATURES.items() for name in names if (record, name) in read)


def _jitted(function: Callable[..., float]) -> Callable[..., float]:
    try:
        return numba.njit(SIGNATURE, cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return numba.njit(SIGNATURE, error_model="numpy")(function)  # type: ignore[no-any-return]


def stamped(function: Callable[..., Any], *layouts: object) -> Callable[..., Any]:
    """A copy whose qualified name, and so its place in the cache, changes with everything it was compiled from.

    Numba looks at a function's own file alone: without the stamp, an edit to a helper in another file would leave
    the old machine code in use. `layouts` are what its code cannot show: the dtypes that it reaches by address.
    """
    ingredients: list[object] = [each for called in _called(function) for each in _ingredients(called)]
    ingredients += [repr(layout) for layout in layouts]
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}_{zlib.crc32(repr(ingredients).encode()):08x}"
    return copy


def around(shape: Callable[..., Any], inside: Callable[..., float], name: str) -> FunctionType:
    """A copy of `shape` in which what it calls `cost_of` is `inside`: a policy, which is compiled into it."""
    copy = FunctionType(shape.__code__, shape.__globals__ | {"cost_of": inside}, f"{shape.__name__}_{name}")
    copy.__module__, copy.__qualname__ = shape.__module__, copy.__name__
    return copy


def cost_of(request: Any, instance: Any, now: float, params: Any) -> float:
    """Stands for the policy in a shape until `around` makes a copy of it."""
    raise NotImplementedError


def _called(function: FunctionType | Any) -> list[FunctionType]:
    """`function` and every function of Python's that it calls by name, and those that they call."""
    found = [function]
    for each in found:
        values = (getattr(value, "py_func", value) for value in _named(each))
        found += [value for value in values if isinstance(value, FunctionType) and value not in found]
    return found


def _named(function: FunctionType) -> Iterator[Any]:
    """The globals that the code of `function` names, and what it names of those that are modules."""
    names = function.__code__.co_names
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (getattr(value, each, None) for each in names)


def _ingredients(function: FunctionType) -> Iterator[object]:
    """What of `function` ends up in the machine code: its instructions, and the constants that it reads."""
    code = function.__code__
    yield code.co_code, code.co_names
    constants = [each for each in code.co_consts if not isinstance(each, str | CodeType)]
    yield [sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in constants]
    values = [(name, function.__globals__.get(name)) for name in code.co_names]
    yield [(name, each) for name, each in values if _is_constant(each)]


def _is_constant(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, tuple) and all(map(_is_constant, value)))


def _check_features(function: Callable[..., float]) -> None:
    """Refuse a feature that does not exist, naming its line and the closest: Numba itself only raises a KeyError."""
    for called in _called(function):
        for record, name, line in _attributes(called.__code__):
            names = FEATURES[record]
            if name not in names:
                close = get_close_matches(name, names, n=1)
                hint = f", did you mean '{close[0]}'?" if close else "."
                raise _refusal(function, called.__code__.co_filename, line, f"{record} has no feature '{name}'{hint}")


def _attributes(code: CodeType) -> Iterator[tuple[str, str, int]]:
    """Attributes read from arguments called `request` or `instance`: (argument, attribute, line)."""
    for loaded, read in pairwise(dis.get_instructions(code)):
        if read.opname == "LOAD_ATTR" and loaded.opname.startswith("LOAD_FAST"):
            record = loaded.argval[-1] if isinstance(loaded.argval, tuple) else loaded.argval
            line = read.positions.lineno if read.positions else None
            if record in FEATURES:
                yield record, read.argval, line or code.co_firstlineno


def _refusal(function: Callable[..., float], file: str, line: int, reason: str) -> InputError:
    """One line: which policy, which line of it, why, and what a policy may read."""
    text = linecache.getline(file, line).strip()
    features = "; of ".join(f"{record}: {', '.join(names)}" for record, names in FEATURES.items())
    where = f"policy '{function.__name__}' does not compile at {file}:{line}"
    return InputError(f"{where}: `{text}`: {reason} Features of {features}")


def _reason(error: Exception) -> str:
    """The line of Numba's message that tells most; ">>>" is how it shows a call that it has no machine code for.

    Numba styles its messages for terminals where colorama is installed, as Jupyter does.
    """
    lines = [line.strip() for line in unstyle(str(error)).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Failed in", "No implementation of function", "- "))]
    return (telling or lines or [type(error).__name__])[0].replace(">>> ", "cannot compile ").rstrip(".") + "."
