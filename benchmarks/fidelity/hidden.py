"""Whether launches of an eager engine hide behind the GPU's work: both forms on steps measured end to end in 2023.

    python benchmarks/fidelity/hidden.py FILE [--publish]

A host that launches kernels ahead of the GPU makes a step as long as the longer of the two, not as their sum, and helps
a small model on one GPU most, where ModServe (2025) found it best. Every row is scored by constants fitted to the other
models.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from constants import Values, constants, engine_with
from fit import OWN, pairs_of, predict, solve, together
from forms import SHIPPED, Form
from measurements import Measurements, language_rows, read, subset
from report import summary, tell

from slackwise.errors import SlackwiseError
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.latency.rates import rates
from slackwise.latency.terms import fixed_seconds, table_seconds
from slackwise.latency.work import language_work

FORMS = {"add up (shipped)": SHIPPED} | {
    f"longer of the two, exponent {power:g}": Form("hidden", hidden=power) for power in (2.0, 4.0, 8.0)
}
LLAMA, GPU, CONTEXT = load_model("Llama-3.2-11B"), load_gpu("A100-80GB"), 1024


def held_out(rows: Measurements, form: Form) -> pd.DataFrame:
    """The rows with the column `error` of a model that was fitted to the other families."""
    families = rows.table["family"].to_numpy()
    parts = []
    for family in sorted(set(families)):
        own = subset(rows, families == family)
        values = fitted(subset(rows, families != family), form)
        parts.append(own.table.assign(error=predict(own, values, form) / own.seconds - 1))
    return pd.concat(parts, ignore_index=True)


def fitted(rows: Measurements, form: Form) -> Values:
    """The engine's constants on these rows; those of the GPUs are the shipped ones."""
    return solve(rows, constants([], pairs_of(rows)[0]), {}, form)


def errors(rows: Measurements) -> str:
    """MAPE by GPU and stage, form by form."""
    lines = [
        "| overheads and the GPU's work | GPU | stage | rows | MAPE | P90 |",
        "| --- | --- | --- |" + " ---: |" * 3,
    ]
    for name, form in FORMS.items():
        for (gpu, stage), group in held_out(rows, form).groupby(["gpu", "stage"])["error"]:
            found = summary(group.to_numpy(float))
            lines.append(f"| {name} | {gpu} | {stage} | {found['rows']} | {found['mape']:.1%} | {found['p90']:.1%} |")
    return "\n".join(lines)


def decodes(rows: Measurements) -> str:
    """Decode steps of Llama 3.2 11B against tensor parallelism in milliseconds, form by form."""
    lines = ["| overheads and the GPU's work | decodes | TP-1 | TP-2 | TP-4 | TP-8 |", "| --- |" + " ---: |" * 5]
    for name, form in FORMS.items():
        values = fitted(rows, form)
        for batch in (1, 32):
            cells = " | ".join(f"{1e3 * step_s(values, form, degree, batch):.1f}" for degree in (1, 2, 4, 8))
            lines.append(f"| {name} | {batch} | {cells} |")
    return "\n".join(lines)


def step_s(values: Values, form: Form, tensor_parallel: int, batch: int) -> float:
    """Seconds of a step of `batch` decodes at CONTEXT tokens each."""
    reached = rates(GPU, engine_with(OWN[0], values))
    work = language_work(LLAMA.language, tensor_parallel)
    seconds = together(table_seconds(work, reached, float(batch)), fixed_seconds(work, reached), form.hidden)
    return float(seconds + batch * CONTEXT * work.kv_bytes_per_token / reached.kv_bytes_s)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="a csv of measured steps, as for roofline.py")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/latency.md")
    options = parser.parse_args(given)
    try:
        rows = language_rows(read(options.file)[0])
        own = rows.table["profile"].isin(OWN).to_numpy()
        if not np.any(own):
            print(f"hidden: {options.file} has no row of {OWN[0]}", file=sys.stderr)
            return 2
        body = f"{errors(subset(rows, own))}\n\n{decodes(subset(rows, own))}"
    except SlackwiseError as error:
        print(f"hidden: {error}", file=sys.stderr)
        return error.exit_code
    tell("hidden", body, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
