"""docs/simulator.md says what the code does, where a program can tell."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from slackwise.latency.rules import RULES, UNLIMITED
from slackwise.policies.features import INSTANCE, REQUEST
from slackwise.simulator.state import TABLES
from tests.simulator import cases

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """Cells of the table under a header row that begins with `header`."""
    lines = PAGE[PAGE.index(f"\n| {header}") :].strip().splitlines()
    table = lines[2 : next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize(("column", "engine"), [(1, "vllm"), (2, "transformers")])
def test_limits_of_the_mixed_engines_are_those_of_the_rules(column: int, engine: str) -> None:
    told = {row[0].split("`")[1]: row[column] for row in rows("| `vllm`")}
    assert len(told) == 5
    for name, limit in told.items():
        value = getattr(RULES[engine], name)
        assert limit == ("no limit" if value == UNLIMITED else str(value))


def test_limits_of_vllm_07_are_those_of_the_rules() -> None:
    then = RULES["vllm-0.7"]
    section = PAGE[PAGE.index("### `vllm-0.7`") : PAGE.index("### Preemption")]
    assert f"`max_sequences` ({then.max_sequences})" in " ".join(section.split())
    assert f"the token budget ({then.max_step_tokens:,}; the first always does)" in " ".join(section.split())
    assert f"the watermark ({100 * then.watermark:g} %)" in " ".join(section.split())


@pytest.mark.parametrize(
    ("header", "record"), [("feature of an instance", INSTANCE), ("feature of a request", REQUEST)]
)
def test_features_explained_exist(header: str, record: object) -> None:
    names = set(getattr(record, "names", ()))
    told = [name for row in rows(header) for name in re.findall(r"`([a-z_]+\*?)`", row[0])]
    assert told
    for name in told:
        assert name in names or any(each.startswith(name.removesuffix("*")) for each in names if name.endswith("*"))


def test_the_number_of_arrays_is_right() -> None:
    assert f"State is {len(TABLES)} NumPy record arrays" in PAGE


def test_the_engines_of_the_cases_are_all_there_are_to_schedule_by() -> None:
    assert {replace(RULES[each], name="") for each in cases.ENGINES} == {
        replace(each, name="") for each in RULES.values()
    }
