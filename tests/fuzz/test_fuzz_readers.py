"""Readers of files take any bytes: what they cannot use is refused in one line, and nothing else is ever raised.

`make fuzz` runs this with more examples and new seeds. Bytes that once broke a reader are kept in corpus/READER/.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwise.errors import SlackwiseError
from tests.fuzz.examples import many
from tests.fuzz.mutations import changed_bytes, changed_values
from tests.fuzz.readers import Reader, readers

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("lmm-trace", "llm-trace", "winner", "configuration", "cluster", "steps", "capacities")


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return readers(tmp_path_factory.mktemp("documents"))


def taken(reader: Reader, data: bytes, folder: Path) -> bool:
    """Whether the reader takes the bytes; a refusal has to be one line of words."""
    path = folder / f"file{reader.suffix}"
    path.write_bytes(data)
    try:
        reader.read(path)
    except SlackwiseError as error:
        message = str(error)
        assert message
        assert "\n" not in message, message
        assert len(message) < 4000, message
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_document_itself_is_taken(known: dict[str, Reader], name: str, tmp_path: Path) -> None:
    assert taken(known[name], known[name].document, tmp_path)
    assert sorted(known) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
@many
@given(data=st.data())
def test_changed_bytes_are_taken_or_refused(
    known: dict[str, Reader], name: str, tmp_path: Path, data: st.DataObject
) -> None:
    taken(known[name], data.draw(changed_bytes(known[name].document)), tmp_path)


@pytest.mark.parametrize("name", ["winner", "capacities"])
@many
@given(data=st.data())
def test_changed_values_are_taken_or_refused(
    known: dict[str, Reader], name: str, tmp_path: Path, data: st.DataObject
) -> None:
    taken(known[name], data.draw(changed_values(known[name].values)), tmp_path)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_reader_is_refused(known: dict[str, Reader], path: Path, tmp_path: Path) -> None:
    assert not taken(known[path.parent.name], path.read_bytes(), tmp_path)
