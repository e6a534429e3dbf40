"""Every example runs from a folder of its own and prints what its first lines promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = {
    "compare_policies": ("baseline", "reverse_slack"),
    "size_a_fleet": ("GPU-hours; at most", "served by the clock"),
    "train_a_small_actor": ("of leaving the fleet alone", "learned"),
    "tune_20_trials": ("trial 19", "tuned against vllm"),
    "write_a_policy": ("<-- yours",),
}
NOTEBOOKS = ("a_week_of_traffic", "one_busy_hour")


def test_every_example_is_run() -> None:
    assert sorted(each.stem for each in EXAMPLES.glob("*.py")) == sorted(SCRIPTS)
    assert sorted(each.stem for each in EXAMPLES.glob("*.ipynb")) == sorted(NOTEBOOKS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_prints_what_it_promises(script: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, str(EXAMPLES / f"{script}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [words for words in SCRIPTS[script] if words not in done.stdout] == []


def test_the_policy_that_is_bad_on_purpose_ranks_last(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "compare_policies.py")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("reverse_slack")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_and_is_kept_without_output(
    notebook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.read(EXAMPLES / f"{notebook}.ipynb", as_version=4)
    assert [cell.source for cell in book.cells if cell.get("outputs") or cell.get("execution_count")] == []
    nbclient.NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [each for cell in book.cells for each in cell.get("outputs", []) if "image/png" in each.get("data", {})]
    assert len(pictures) == 2
