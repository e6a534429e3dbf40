"""What CONTRIBUTING.md says an addition takes is enough: done in a copy of the repository, nothing else touched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

POLICY = '''"""Largest objective last."""

from __future__ import annotations

from slackwise.policies.declare import Instance, Params, Request, batching_policy
from slackwise.policies.knobs import Range


@batching_policy(source="a test", order="fixed", weight=Range(0.0, 2.0, default=1.0))
def newcomer(request: Request, instance: Instance, now: float, params: Params) -> float:
    """Earliest weighted deadline first.

    Formula: key [s] = weight * d_r.

    Trade-offs: requests with a large objective wait.
    """
    return params[0] * float(request.deadline_s)
'''
SECTION = """
## newcomer

**Why choose it.** To see what a new policy takes.

**What it does.** Earliest weighted deadline first.

Key [s] = weight * d_r.

**Inputs.** `request.deadline_s`.

**Parameters.**

| name | type | default | range | meaning |
|---|---|---|---|---|
| `weight` | real | `1.0` | 0.0 to 2.0 | what a deadline counts |

**Trade-offs.** Requests with a large objective wait.

**Source.** A test.

**Related.** edf.
"""
TEST = """from slackwise.policies import find

def test_newcomer_is_the_weighted_deadline(request_of, instance_of):
    policy = find("batching", "newcomer")
    assert policy.function(request_of(deadline_s=3.0), instance_of(), 0.0, policy.params(weight=2.0)) == 6.0
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package, its pages of policies and the tests that every policy meets."""
    caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "slackwise", tmp_path / "slackwise", ignore=caches)
    for folder in ("docs/policies", "docs/how-to", "tests/policies", "tests/testing"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=caches)
    return tmp_path


def run(house: Path, *arguments: str) -> str:
    """What Python prints in `house`, with the slackwise that lies there; fails with it if the command does."""
    environment = os.environ | {"PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=house, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_policy_takes_a_file_a_test_and_a_docs_section(house: Path) -> None:
    (house / "slackwise/policies/batching/newcomer.py").write_text(POLICY)
    (house / "tests/policies/test_newcomer.py").write_text(TEST)
    with (house / "docs/policies/batching.md").open("a") as page:
        page.write(SECTION)
    places = (
        "tests/policies/test_docs.py",
        "tests/policies/test_newcomer.py",
        "tests/testing/test_policy_conformance.py",
    )
    passed = run(house, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "newcomer", *places)
    for proof in (
        "test_newcomer_is_the_weighted_deadline",
        "test_the_page_says_what_the_declaration_says[newcomer]",
        "test_every_registered_policy_conforms[newcomer]",
    ):
        assert re.search(rf"{re.escape(proof)} PASSED", passed)


def test_a_policy_without_its_docs_section_fails(house: Path) -> None:
    (house / "slackwise/policies/batching/newcomer.py").write_text(POLICY)
    with pytest.raises(AssertionError, match="no section 'newcomer'"):
        run(house, "-m", "pytest", "-p", "no:cacheprovider", "-k", "newcomer", "tests/policies/test_docs.py")


def test_a_model_takes_one_table(house: Path) -> None:
    catalogue = house / "slackwise/latency/models.toml"
    copied = catalogue.read_text().split('["Qwen3-VL-8B"]')[1]
    with catalogue.open("a") as file:
        file.write('\n["Newcomer-VL-8B"]' + copied)
    shown = run(house, "-c", "from slackwise.cli.main import main; main()", "latency", "show", "Newcomer-VL-8B")
    assert "Newcomer-VL-8B" in shown


def test_a_command_takes_one_file_and_one_line(house: Path) -> None:
    (house / "slackwise/cli/newcomer.py").write_text(
        'import click\n\n\n@click.command("newcomer")\ndef command() -> None:\n    click.echo("hello")\n'
    )
    table = house / "slackwise/cli/main.py"
    table.write_text(
        table.read_text().replace(
            "COMMANDS = {\n", 'COMMANDS = {\n    "newcomer": ("slackwise.cli.newcomer", "Greet."),\n'
        )
    )
    assert run(house, "-c", "from slackwise.cli.main import main; main()", "newcomer") == "hello\n"
