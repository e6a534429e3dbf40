"""Bundles of every format that was ever written are read, decide as recorded, and can be written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slackwise.errors import CheckError
from slackwise.policies.winner import FORMAT, read_winner, write_winner

BUNDLES = sorted((Path(__file__).parents[1] / "data" / "bundles").glob("*.json"))


def test_there_is_one_of_every_format() -> None:
    assert {json.loads(path.read_text())["format"] for path in BUNDLES} == set(range(1, FORMAT + 1))


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_an_old_bundle_is_read_and_comes_back_in_todays_format(path: Path, tmp_path: Path) -> None:
    winner = read_winner(path)
    assert winner.golden
    write_winner(tmp_path / "again.json", winner)
    assert json.loads((tmp_path / "again.json").read_text())["format"] == FORMAT
    assert read_winner(tmp_path / "again.json") == winner


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_an_old_bundle_that_does_not_reproduce_is_refused(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text())
    golden = next(each for each in document["golden"] if each["role"] == "batching")
    golden["value"] += 1.0
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(CheckError, match="not those that were tuned"):
        read_winner(tmp_path / "changed.json")
