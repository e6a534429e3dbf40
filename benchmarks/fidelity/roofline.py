"""How far the roofline is from measured steps: fit, score by leaving models out, publish the table.

    python benchmarks/fidelity/roofline.py --score FILE [--json]       errors of the shipped constants on FILE
    python benchmarks/fidelity/roofline.py --held-out FILE             errors on models left out of the fit
    python benchmarks/fidelity/roofline.py --fit FILE                  write fitted.toml, and tables into docs

FILE is a csv with the columns gpu, model, tp, engine, phase, batch, prompt_tokens, total_new_tokens, context, ms.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from constants import Values, write_fitted
from fit import fit, predict
from measurements import encoder_rows, language_rows, read, subset
from nested import nested
from report import markdown, publish, scores

from slackwise.errors import SlackwiseError


def scored(table: pd.DataFrame, values: Values) -> pd.DataFrame:
    """`table` with the column `error` = predicted / measured - 1 under `values` (shipped constants where absent)."""
    parts = []
    for rows in (language_rows(table), encoder_rows(table)):
        if len(rows.seconds):
            parts.append(rows.table.assign(error=predict(rows, values) / rows.seconds - 1))
    return pd.concat(parts, ignore_index=True)


def held_out(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with every row scored by constants fitted to the other models; no fit ever sees an encoder row."""
    rows = language_rows(table)
    parts = []
    for family in sorted(set(rows.table["family"])):
        values = fit(subset(rows, (rows.table["family"] != family).to_numpy()))
        parts.append(scored(table[(table["family"] == family) & (table["stage"] != "encode")], values))
    values = fit(rows)
    if (table["stage"] == "encode").any():
        parts.append(scored(table[table["stage"] == "encode"], values))
    return pd.concat(parts, ignore_index=True)


def tables(held: pd.DataFrame, chosen: pd.DataFrame, shipped: pd.DataFrame) -> str:
    """The tables of docs/latency.md: models left out, nested, and in sample."""
    by_stage = markdown(held, ["profile", "gpu", "stage"], ["engine", "GPU", "stage"])
    by_model = markdown(held, ["profile", "gpu", "model", "tp"], ["engine", "GPU", "model", "TP"])
    nesting = markdown(chosen, ["profile", "gpu", "stage"], ["engine", "GPU", "stage"])
    in_sample = markdown(shipped, ["profile", "gpu", "stage"], ["engine", "GPU", "stage"])
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return (
        f"Written by `benchmarks/fidelity/roofline.py --fit` ({versions}).\n\n"
        f"### Models left out of the fit\n\n{by_stage}\n\n"
        f"### Form and constants chosen without the model left out\n\n{_forms(chosen)}\n\n{nesting}\n\n"
        f"### Models left out, by model and tensor parallelism\n\n{by_model}\n\n"
        f"### Shipped constants, fitted to all models\n\n{in_sample}"
    )


def _forms(chosen: pd.DataFrame) -> str:
    """Which form was chosen for which models, as a Markdown list."""
    lines = ["Forms chosen:", ""]
    for form, models in chosen.groupby("form")["model"]:
        names = sorted({str(name).rpartition("/")[2] for name in models})
        lines += textwrap.wrap(f"- {form}: {', '.join(names)}", width=118, subsequent_indent="  ")
    return "\n".join(lines)


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("--score", "--held-out", "--fit"):
        mode.add_argument(name, type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON document; errors are fractions, not percent")
    return parser.parse_args(given)


def run(options: argparse.Namespace) -> None:
    table, skipped = read(options.score or options.held_out or options.fit)
    for reason, rows in skipped.items():
        print(f"skipped {rows} rows: {reason}", file=sys.stderr)
    found = scored(table, {}) if options.score else held_out(table)
    if options.fit:
        values = fit(language_rows(table))
        write_fitted(values)
        publish("fidelity", tables(found, nested(table), scored(table, values)))
    if options.json:
        print(json.dumps({**scores(found), "skipped": skipped}, indent=2, allow_nan=False))
    else:
        print(markdown(found, ["profile", "gpu", "stage"], ["engine", "GPU", "stage"]))


def main(given: list[str] | None = None) -> int:
    try:
        run(arguments(given))
    except SlackwiseError as error:
        print(f"roofline: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
