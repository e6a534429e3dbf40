"""The symbols of the formulas, each with what it stands for."""

from __future__ import annotations

import re

SYMBOLS = {
    "t": "now [s]",
    "a_r": "arrival of the request [s]",
    "D_r": "its TTFT objective [s]",
    "d_r": "its deadline a_r + D_r [s]",
    "e_r": "predicted encode left, on the critical path [s]",
    "u_r": "predicted transfer of the embeddings [s]",
    "p_r": "predicted prefill left [s]",
    "s_r": "predicted service left, e_r + u_r + p_r [s]",
    "sigma_r": "log-normal spread of the predictions [1]",
    "n_j": "requests or encode jobs waiting or running on instance j",
    "V_j": "image tokens assigned to j, not finished",
    "X_j": "text tokens assigned to j, prefill not finished",
    "Q_j": "padded tiles assigned to j, not encoded",
    "b_j": "predicted encode and prefill work waiting on j [s]",
    "c_j": "time to encode a tile on j [s]",
    "D_min": "tightest TTFT objective of any class [s]",
    "M_s": "load that one instance of pool s serves within the objectives [tokens/s]",
    "L_s": "load that arrives for pool s [tokens/s]",
    "N_s": "instances of pool s",
    "BT_s": "burst tolerance of pool s [1]",
    "T_s": "time that the work at pool s takes [s]",
}
"""Symbol -> meaning with unit, as in the comments of `features`."""


def symbols_in(formula: str) -> dict[str, str]:
    """The symbols that `formula` uses, with their meanings, in the order of SYMBOLS."""
    used = set(re.findall(r"[A-Za-z]+_[A-Za-z]+|\bt\b", formula))
    return {symbol: meaning for symbol, meaning in SYMBOLS.items() if symbol in used}
