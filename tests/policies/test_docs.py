"""The pages say what the declarations say, and the example in them works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from slackwise.policies import Policy, find, policies
from slackwise.policies.knobs import Knob
from slackwise.testing.policies import check_policy

DOCS = Path(__file__).parents[2] / "docs"
HEADINGS = ("Why choose it.", "What it does.", "Inputs.", "Parameters.", "Trade-offs.", "Source.", "Related.")


def section(policy: Policy) -> str:
    """The section of `policy` on its family's page, white space made single."""
    page = (DOCS / "policies" / f"{policy.family}.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {policy.name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"no section '{policy.name}' in {policy.family}.md"
    return " ".join(found[1].split())


def cells(name: str, knob: Knob) -> str:
    """How the table of parameters begins the row of a knob: name, type, default, range."""
    facts: dict[str, Any] = knob.describe()
    default = "none" if facts["default"] is None else f"`{facts['default']}`"
    if facts["type"] == "choice":
        allowed = ", ".join(f"`{each}`" for each in facts["choices"])
    else:
        allowed = f"{facts['low']} to {facts['high']}" + (f", or none = {facts['none']}" if "none" in facts else "")
    return f"| `{name}` | {facts['type']} | {default} | {allowed} |"


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.name)
def test_the_page_says_what_the_declaration_says(policy: Policy) -> None:
    text = section(policy)
    assert [heading for heading in HEADINGS if f"**{heading}**" not in text] == []
    for words in (policy.summary, policy.formula, policy.trade_offs, policy.source):
        assert words[1:] in text
    assert sorted(re.findall(r"`((?:request|instance)\.\w+)`", text)) == sorted(policy.inputs)
    assert [name for name, knob in policy.knobs.items() if cells(name, knob) not in text] == []


def test_the_pages_hold_no_policy_that_does_not_exist() -> None:
    for page in (DOCS / "policies").glob("*.md"):
        for name in re.findall(r"^## (\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert find(page.stem, name).name == name


def test_the_example_of_how_to_add_a_policy_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "how-to" / "add-a-policy.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example
    (tmp_path / "documented_policy.py").write_text(example[1])
    monkeypatch.syspath_prepend(tmp_path)
    check_policy(find("batching", "documented_policy:small_first"))
