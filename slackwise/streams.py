"""Named random streams: every random draw comes from one, so that no subsystem disturbs another's."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of the stream `name` under `seed`; the same pair always gives the same draws.

    One stream a subsystem (as in BLIS), for example "arrivals", "routing", "bootstrap".
    """
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
