"""The workflow runs what .ci/run runs, forms can be read, the package says that it is typed."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"


def test_the_workflow_runs_every_step_of_the_ci() -> None:
    steps = re.findall(r"^make (\S+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert steps
    assert workflow["jobs"]["make"]["strategy"]["matrix"]["step"] == steps


def test_every_step_of_the_workflow_is_a_target_of_the_makefile() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    steps = [
        *jobs["make"]["strategy"]["matrix"]["step"],
        *(each["step"] for each in jobs["more"]["strategy"]["matrix"]["include"]),
    ]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [step for step in steps if step not in targets] == []


@pytest.mark.parametrize("form", ["bug", "difference", "policy"])
def test_an_issue_form_asks_for_what_is_needed(form: str) -> None:
    page = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(page)
    assert [field for field in page["body"] if "label" not in field["attributes"]] == []
    assert any(field.get("validations", {}).get("required") for field in page["body"])


def test_the_package_says_that_it_is_typed() -> None:
    assert files("slackwise").joinpath("py.typed").is_file()
