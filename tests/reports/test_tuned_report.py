"""The report of a tuning run tells what its files hold, in pages that need nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slackwise.cli.main import run
from slackwise.reports.tuned_figures import FIGURES
from tests.reports.test_page import Elements

TUNE = ("tune", "synthetic", "--from", "1d", "--hours", "0.2", "--rate", "2", "--trials", "24")


@pytest.fixture(scope="module", params=["one objective", "front"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("run") / "out"
    extra = ["--pareto", "--constraint", "attainment>=0.5"] if request.param == "front" else []
    assert run([*TUNE, *extra, "--out", str(path)]) == 0
    return path


@pytest.fixture
def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def card(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in document["cards"] if each["name"] == name)


def test_the_verdict_is_that_of_the_comparison(folder: Path, document: dict[str, Any]) -> None:
    comparison = json.loads((folder / "comparison.json").read_text())
    assert document["cards"][0]["lines"] == [comparison["verdict"]]
    for name in ("report.html", "report.md"):
        assert comparison["verdict"].replace("+", "&#43;")[:20] in (folder / name).read_text().replace("+", "&#43;")


def test_the_history_is_that_of_the_trials_and_its_line_never_gets_worse(
    folder: Path, document: dict[str, Any]
) -> None:
    trials, data = json.loads((folder / "trials.json").read_text()), card(document, "search")["data"]
    goal = data["objective"]
    assert [each["value"] for each in data["trials"]] == [
        each["objective"] and each["objective"][goal] for each in trials
    ]
    best = [each["best"] for each in data["trials"] if each["best"] is not None]
    assert best == sorted(best, reverse=goal == "gpu_s")


def test_the_front_is_the_study_s(folder: Path, document: dict[str, Any]) -> None:
    comparison = json.loads((folder / "comparison.json").read_text())
    names = [each["name"] for each in document["cards"]]
    goals = list(comparison["front"][0]["objective"]) if "front" in names else []
    if goals:
        found = card(document, "front")["data"]
        assert found["front"] == [list(each["objective"].values()) for each in comparison["front"]]
        assert len(found["front"]) + len(found["others"]) <= 24
    else:
        assert card(document, "search")["data"]["objective"] == "attainment"


def test_importances_are_shares_largest_first(document: dict[str, Any]) -> None:
    shares = list(card(document, "importance")["data"].get("importances", {}).values())
    assert shares == sorted(shares, reverse=True)
    assert 0.0 <= sum(shares) <= 1.0 + 1e-9


def test_the_page_is_well_formed_holds_its_figures_and_loads_nothing(folder: Path, document: dict[str, Any]) -> None:
    html = (folder / "report.html").read_text()
    elements = Elements(html)
    assert elements.open == []
    figures = [each["figure"] for each in document["cards"] if each["figure"]]
    assert set(figures) <= set(FIGURES)
    assert sum(tag == "svg" for tag, _ in elements.found) == len(figures)
    for tag, attributes in elements.found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base")
        assert all((attributes.get(name) or "#").startswith("#") for name in ("src", "href", "xlink:href"))
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", html))
