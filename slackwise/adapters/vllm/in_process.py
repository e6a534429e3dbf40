"""For engines in a process that has Numba loaded already."""

from __future__ import annotations


def make_room() -> None:
    """Let vLLM 0.32 start on a CPU without Triton beside a loaded Numba.

    At its start it reads `vars()` of every attribute of every loaded module. llvmlite's handle of its library answers
    any attribute, `__dict__` too, with a function of the library; here it gets a dictionary to show instead.
    """
    from llvmlite.binding.ffi import lib

    lib._fntab.setdefault("__dict__", {})
