"""Nested leaving out: the inner score finds the form that measurements follow, without the model left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

MODELS = ("Llama-3.1-8B", "CodeLlama-34B", "Llama-3.1-70B")


def prefills(path: Path) -> Path:
    """Rows of prefill on A100, 2, 4 and 8 GPUs; the times are to be written in."""
    rows = [
        ("A100-SXM-80GB", model, tp, "vllm 1", "prefill", 1, tokens, tokens, 0, 1.0)
        for model in MODELS
        for tp in (2, 4, 8)
        for tokens in (32, 200, 1500, 6000)
    ]
    names = ["gpu", "model", "tp", "engine", "phase", "batch", "prompt_tokens", "total_new_tokens", "context", "ms"]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("truth", [0, 1])
def test_the_form_that_the_measurements_follow_is_chosen_for_every_model(
    truth: int, modules: Any, tmp_path: Path
) -> None:
    forms, fit, measurements, nested = (modules(name) for name in ("forms", "fit", "measurements", "nested"))
    table, _ = measurements.read(prefills(tmp_path / "rows.csv"))
    candidates = (forms.Form("flat", growth=0.0), forms.Form("ring", growth=1.0))
    rows = measurements.language_rows(table)
    table["ms"] = 1e3 * fit.predict(forms.formed(rows, candidates[truth]), {})
    found = nested.nested(table, candidates)
    assert set(found["form"]) == {candidates[truth].name}
    assert np.abs(found["error"]).mean() < 0.02


def test_a_constant_that_a_form_lacks_is_left_out(modules: Any, tmp_path: Path) -> None:
    forms, fit, measurements = (modules(name) for name in ("forms", "fit", "measurements"))
    rows = measurements.language_rows(measurements.read(prefills(tmp_path / "rows.csv"))[0])
    without = fit.fit(rows, forms.Form("no ring steps", absent={"ring_step_s": 0.0}))
    assert without["vllm", "ring_step_s"] == 0
    assert fit.fit(rows)["vllm", "ring_step_s"] > 0
