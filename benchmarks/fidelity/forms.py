"""Forms that the model might have had: the choices made with errors in sight, and what else could have been chosen.

nested.py lets an inner score choose among them again, for every model left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from measurements import Measurements

from slackwise.latency.work import LanguageWork, VisionWork


@dataclass(frozen=True)
class Form:
    """How a form differs from the shipped one."""

    name: str
    growth: float = 0.5  # all-reduces are charged (2 (n - 1) / n)^growth of their bytes
    activations: float = 1.0  # share of the activation bytes that is charged
    prior_width: float = 1.0  # of the shipped widths
    hidden: float = 0.0  # exponent of the soft maximum of overheads and the GPU's work; 0: they add up
    absent: Mapping[str, float] = field(default_factory=dict)  # constants that it lacks -> value that leaves them out


FORMS = (
    Form("shipped"),
    Form("all-reduces as in a ring", growth=1.0),
    Form("all-reduces alike on any number of GPUs", growth=0.0),
    Form("no activation bytes", activations=0.0),
    Form("priors twice as wide", prior_width=2.0),
    Form("no ring steps", absent={"ring_step_s": 0.0}),
    Form("no overhead of further GPUs in 2023", absent={"peer_share": 0.0}),
    Form("no slow all-reduces in 2023", absent={"slow_reduce_tokens": 1e12}),
)
"""The shipped form, and one for each choice undone."""

SHIPPED = FORMS[0]


def formed(rows: Measurements, form: Form) -> Measurements:
    """`rows` with the work that `form` counts."""
    tensor_parallel = rows.table["tp"].to_numpy(float)
    ring = 2 * (np.maximum(tensor_parallel, 2) - 1) / np.maximum(tensor_parallel, 2)
    growth = ring ** (form.growth - SHIPPED.growth)
    work = rows.work
    if isinstance(work, LanguageWork):
        reduced, activation = work.reduced_bytes_per_token * growth, work.activation_bytes_per_token * form.activations
        return replace(rows, work=replace(work, reduced_bytes_per_token=reduced, activation_bytes_per_token=activation))
    assert isinstance(work, VisionWork)
    reduced, activation = work.reduced_bytes * growth, work.activation_bytes * form.activations
    return replace(rows, work=replace(work, reduced_bytes=reduced, activation_bytes=activation))
