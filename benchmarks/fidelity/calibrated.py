"""How well `slackwise calibrate` describes real steps: every measured instance fitted on its own, cross-validated.

    python benchmarks/fidelity/calibrated.py FILE [--publish]

FILE is a csv as roofline.py takes it. An instance is an engine, a GPU, a model and a tensor-parallel degree whose rows
hold decode and prefill; sums of kernels and encoder rows are passed over. --publish writes the table into
docs/latency.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measurements import Measurements, language_rows, read, subset
from report import markdown, tell

from slackwise.errors import SlackwiseError
from slackwise.latency.fit import fit_steps
from slackwise.latency.measured import Steps

INSTANCE = ["profile", "gpu", "model", "tp"]


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` in fitted instances, with `error` = cross-validated predicted / measured - 1."""
    rows = language_rows(table[table["stage"] != "dense_ops"])
    names = rows.table[INSTANCE].astype(str).agg(" ".join, axis=1).to_numpy()
    parts = [subset(rows, names == name) for name in sorted(set(names))]
    return pd.concat([each.table.assign(error=fit_steps(steps(each)).held_errors) for each in parts])


def steps(rows: Measurements) -> Steps:
    """`rows` of one instance as `slackwise calibrate` would have read them."""
    decodes = np.where(rows.table["stage"] == "prefill", 0.0, rows.table["total_new_tokens"].to_numpy(float))
    return Steps(
        decodes=decodes,
        context_tokens=rows.kv_tokens,
        prompt_tokens=rows.tokens - decodes,
        pairs=rows.pairs,
        tiles=np.zeros(len(decodes)),
        seconds=rows.seconds,
        source="measured steps",
    )


def worst(found: pd.DataFrame) -> str:
    """The instance with the largest mean error, in words."""
    means = {instance: errors.abs().mean() for instance, errors in found.groupby(INSTANCE)["error"]}
    last = max(means, key=lambda instance: means[instance])
    engine, gpu, model, degree = map(str, last)
    place = f"{model.rpartition('/')[2]} on {degree} x {gpu} under {engine}"
    return (
        f"{len(means)} instances; MAPE of the best {min(means.values()):.1%}, of the worst {means[last]:.1%} ({place})."
    )


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--publish", action="store_true", help="write the table into docs/latency.md")
    options = parser.parse_args(given)
    try:
        found = calibrated(read(options.file)[0])
    except SlackwiseError as error:
        print(f"calibrated: {error}", file=sys.stderr)
        return error.exit_code
    body = f"{markdown(found, ['profile', 'gpu', 'stage'], ['engine', 'GPU', 'step'])}\n\n{worst(found)}"
    tell("calibrated", body, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
