"""Imports keep to the floors of docs/architecture.md, and a package that does not is found out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the slackwise that lies in `house`, with the contracts of its pyproject.toml."""
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(
        command, cwd=house, env=os.environ | {"PYTHONPATH": str(house)}, capture_output=True, text=True, check=False
    )


def test_no_import_runs_back_up() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "chain"),
    [
        (
            "adapters/vllm/settings.py",
            "import slackwise.simulator",
            "slackwise.adapters.vllm.settings -> slackwise.simulator",
        ),
        ("adapters/ray/books.py", "import optuna", "slackwise.adapters.ray.books -> optuna"),
        ("policies/keys.py", "import slackwise.latency", "slackwise.policies.keys -> slackwise.latency"),
        ("simulator/heap.py", "import slackwise.tuning", "slackwise.simulator.heap -> slackwise.tuning"),
    ],
)
def test_an_import_that_runs_back_up_is_named(tmp_path: Path, module: str, line: str, chain: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "slackwise", tmp_path / "slackwise", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "slackwise" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert chain in done.stdout


def test_a_package_without_a_floor_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "slackwise", tmp_path / "slackwise", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "slackwise" / "attic").mkdir()
    (tmp_path / "slackwise" / "attic" / "__init__.py").touch()
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "attic" in done.stdout


def test_tests_that_run_inside_vllm_import_no_test_that_needs_more() -> None:
    own = ("tests.adapters", "tests.actors", "tests.shared")
    imported = re.compile(r"^\s*(?:from|import) (tests\.[\w.]+)", re.MULTILINE)
    sources = (ROOT / "tests" / "adapters").rglob("*.py")
    found = {(each.name, name) for each in sources for name in imported.findall(each.read_text(encoding="utf-8"))}
    assert [pair for pair in sorted(found) if not pair[1].startswith(own)] == []
