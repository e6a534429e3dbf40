"""Every block of README and docs runs, or says why not."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from slackwise.cli.main import run
from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import isolated, preset

pytest.importorskip("sybil")
from tests.docs.snippets import LANGUAGES, NOT_RUN, blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_BLOCKS = [page for page in PAGES if next(iter(blocks(page)), None)]
MODEL, GPU = "InternVL2.5-26B", "A100-80GB"


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages speak of: a trace under each of their names, a winner, a configuration, measured steps."""
    folder = tmp_path_factory.mktemp("kitchen")
    assert run(["trace", "synthesize", str(folder / "trace.csv"), "--start-h", "24", "--duration-h", "0.1"]) == 0
    assert (
        run(["trace", "convert", str(folder / "trace.csv"), str(folder / "AzureLMMInferenceTrace_multimodal.csv.gz")])
        == 0
    )
    shutil.copy(folder / "trace.csv", folder / "FILE")
    start = preset("vllm", MODEL, GPU, 16)
    policies = start.policies.changed(["batching=least_slack"])
    cluster = asdict(start.cluster) | {"topology": start.cluster.topology}
    write_winner(folder / "winner.json", Winner(policies, MODEL, GPU, cluster, isolated(start.cluster).to_json(), {}))
    (folder / "mine.toml").write_text('base = "modserve"\n[policies]\nbatching = "edf"\n', encoding="utf-8")
    (folder / "steps.csv").write_text(steps(), encoding="utf-8")
    profile = ["--output", str(folder / "profile.json"), "--kv-capacity-tokens", "450000", "--load-s", "60"]
    assert run(["calibrate", str(folder / "steps.csv"), *profile]) == 0
    return folder


def steps() -> str:
    """Steps of an engine that takes 10 ms + 50 us a token + 0.1 us a KV token + 1 ns a pair + 20 ms a tile."""
    decode = [(b, b * c, 0, 0) for b in (1, 8, 32, 64) for c in (256, 1024, 4096)]
    rows = [*decode, *((0, 0, 2**k, 0) for k in range(5, 14)), *((0, 0, 0, tiles) for tiles in (1, 2, 5, 10))]
    lines = ["decodes,context_tokens,prompt_tokens,images,tiles,seconds"]
    for decodes, context, prompt, tiles in rows:
        text = 0.01 + 5e-5 * (decodes + prompt) + 1e-7 * context + 1e-9 * prompt**2 / 2
        seconds = 1e-3 + 0.02 * tiles if tiles else text
        lines.append(f"{decodes},{context},{prompt},{min(tiles, 1)},{tiles},{seconds:.9f}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page: Path, kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kitchen, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for example in blocks(page):
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_hides_from_being_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)[::2]
    assert [language for language in fences if language not in LANGUAGES] == []
    assert re.findall(r"\n\n {4}(?:slackwise|python|make|pip) .*$", text, re.MULTILINE) == []


def test_a_mark_without_a_reason_is_none() -> None:
    assert NOT_RUN.search("<!-- not run: takes hours -->\n\n")
    assert not NOT_RUN.search("<!-- not run:  -->\n\n")
    assert not NOT_RUN.search("<!-- not run: takes hours -->\n\nwords")
