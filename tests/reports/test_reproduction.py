"""`slackwise reproduce`: every experiment at a tiny size, what is kept is not run again, bad input leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.reports.reproduction.run import kept, path_of, reproduce
from slackwise.tuning.reproduce import table
from slackwise.tuning.reproduce.catalogue import EXPERIMENTS, SEARCH
from slackwise.tuning.reproduce.finding import CHECK, MISSED, NOT_TOLD, REACHED, SHOWN, Row
from slackwise.tuning.reproduce.pools import break_even
from slackwise.tuning.reproduce.setting import INTERN, Setting

for needed in ("optuna", "jinja2", "matplotlib"):
    pytest.importorskip(needed)

TINY = ["reproduce", "modserve", "--gpus", "32", "--minutes", "6", "--trials", "2", "--jobs", "1"]
SETTING = Setting(gpus=32, minutes=2.0, hours=1.0, windows=1, trials=2, models=(INTERN,))


@contextmanager
def silent(names: Sequence[str]) -> Iterator[Callable[[int, str, float], None]]:
    """Progress that nobody sees."""
    yield lambda at, what, share: None


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Without the learner, whose rows are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "NAMES", tuple(name for name in table.NAMES if name != "ppo"))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the search, which all others need."""
    found = tmp_path_factory.mktemp("reproduction")
    reproduce(found, SETTING, [SEARCH], 1, silent)
    return found


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != SEARCH])
def test_every_experiment_stands_beside_the_paper(folder: Path, name: str) -> None:
    finding = reproduce(folder, SETTING, [name], 1, silent)[name]["finding"]
    assert finding["rows"]
    assert finding["why"]
    assert any(row["main"] for row in finding["rows"])
    assert all(goal["verdict"] in (REACHED, MISSED, NOT_TOLD) for goal in finding["goals"])
    for row in finding["rows"]:
        assert (row["paper"] is not None) == (row["use"] in (CHECK, SHOWN)), row
        if row["low"] is not None and row["value"] is not None:
            assert row["low"] <= row["high"], row


def test_a_finished_experiment_is_kept_and_another_setting_runs_it_again(folder: Path) -> None:
    before = path_of(folder, SEARCH).stat().st_mtime_ns
    reproduce(folder, SETTING, [SEARCH], 1, silent)
    assert path_of(folder, SEARCH).stat().st_mtime_ns == before
    assert kept(folder, SETTING, SEARCH) is not None
    assert kept(folder, replace(SETTING, seed=1), SEARCH) is None


def test_the_report_of_a_kept_folder_is_that_of_its_documents(folder: Path, tmp_path: Path) -> None:
    documents = reproduce(folder, SETTING, [SEARCH, "stages", "block"], 1, silent)
    assert run(["report", str(folder), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    names = [card["name"] for card in found["cards"]]
    assert names[:2] == ["goals", SEARCH]
    assert {"stages-curves", "block-block"} <= set(names)
    assert documents["stages"]["finding"]["why"] in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.html").read_text().count("<svg") >= 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "ablatoin"], "ablation"),
        (["--gpus", "40"], "multiple of 32"),
        (["--minutes", "0"], "minutes"),
        (["--engine", "vllm"], "vllm-0.7-host"),
        (["--out", "no/such/folder"], "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert run([*TINY, "--out", str(tmp_path), *options]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_result_is_not_overwritten(tmp_path: Path) -> None:
    path_of(tmp_path, SEARCH).write_text('{"mine": 1}')
    with pytest.raises(InputError, match="move it away"):
        kept(tmp_path, SETTING, SEARCH)


def test_the_ratio_to_the_paper_needs_both_numbers() -> None:
    assert Row("x", "", 3.0, "x", paper=2.0, use=CHECK).ratio == 1.5
    assert Row("x", "", None, "x", paper=2.0, use=CHECK).ratio is None
    assert Row("x", "", 3.0, "x").ratio is None


@pytest.mark.parametrize(
    ("factors", "found"),
    [((0.5, 2.0, 4.0), 2.0), ((2.0, 1.5, 0.5), None), ((0.5, 0.6, 0.7), None), ((2.0, 0.5, 2.0), 5.66)],
)
def test_break_even_is_where_more_encoders_begin_to_win(factors: Sequence[float], found: float | None) -> None:
    grid = [{"images_per_text": at, "factor": each} for at, each in zip((1.0, 4.0, 8.0), factors, strict=True)]
    assert break_even(grid) == found
