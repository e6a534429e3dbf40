"""Error tables: mean absolute percentage error, its 90th percentile and the signed bias, by any grouping.

Tables go into docs/latency.md between the markers of the script that writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slackwise.files import write_text

DOCS = Path(__file__).parents[2] / "docs" / "latency.md"


def publish(name: str, body: str, page: Path = DOCS) -> None:
    """Put `body` between the markers called `name` of `page`, in place of what was there."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_text(page, f"{before}{begin}\n\n{body}\n\n{end}{after}")


def tell(name: str, body: str, publishing: bool) -> None:
    """Print `body`, and if `publishing` put it into docs/latency.md too."""
    if publishing:
        publish(name, body)
    print(body)


def summary(errors: NDArray[np.float64]) -> dict[str, Any]:
    """MAPE, P90 and bias of relative errors (predicted / measured - 1), as fractions, and the number of rows."""
    sizes = np.abs(errors)
    return {
        "mape": float(sizes.mean()),
        "p90": float(np.quantile(sizes, 0.9)),
        "bias": float(errors.mean()),
        "rows": len(errors),
    }


def grouped(table: pd.DataFrame, by: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Summaries of the column `error` of `table` by the columns `by`, keyed by their values joined with a space."""
    groups = table.groupby(list(by), sort=True)["error"]
    return {" ".join(map(str, key)): summary(errors.to_numpy(float)) for key, errors in groups}


def scores(table: pd.DataFrame) -> dict[str, Any]:
    """The document of `--score --json`: `mape` overall, by stage, by GPU, and by both; fractions, not percent."""
    overall = summary(table["error"].to_numpy(float))
    groupings = {"by_stage": ["stage"], "by_gpu": ["gpu"], "by_stage_and_gpu": ["profile", "stage", "gpu"]}
    return {**overall, "unit": "fraction", **{name: grouped(table, by) for name, by in groupings.items()}}


def markdown(table: pd.DataFrame, by: Sequence[str], titles: Sequence[str]) -> str:
    """A Markdown table of the errors of `table` by the columns `by`, in percent."""
    lines = [f"| {' | '.join(titles)} | rows | MAPE | P90 | bias |", "|" + " --- |" * len(by) + " ---: |" * 4]
    for key, errors in table.groupby(list(by), sort=True)["error"]:
        lines.append(f"| {' | '.join(map(str, key))} | {_cells(summary(errors.to_numpy(float)))} |")
    return "\n".join(lines)


def _cells(found: dict[str, Any]) -> str:
    return f"{found['rows']} | {found['mape']:.1%} | {found['p90']:.1%} | {found['bias']:+.1%}"
