"""The plug-in's contract holds in every vLLM that is supported: one installed, the others by their sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.vllm.support import SUPPORTED, installed, minor

SOURCES = Path(sys.prefix) / "sources"
"""Where make test-vllm unpacks other versions."""

DRIVEN = ("0.31.0",)
"""Sources that run beside the dependencies of the installed version; older ones are read only."""


def test_the_installed_vllm_is_the_newest_supported_and_keeps_the_contract(vllm: Any) -> None:
    from slackwise.adapters.vllm.contract import broken

    assert broken() == []
    assert minor(installed() or "") == SUPPORTED[-1]
    assert len(SUPPORTED) == 3


@pytest.mark.parametrize("version", ["0.30.0", "0.31.0"])
def test_other_versions_keep_the_contract_and_serve_by_slack(vllm: Any, tmp_path: Path, version: str) -> None:
    assert minor(version) in SUPPORTED
    if not (SOURCES / version).is_dir():
        pytest.skip(f"no sources in {SOURCES}: make test-vllm unpacks them")
    path = os.pathsep.join([str(SOURCES / version), str(Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path, "VLLM_TARGET_DEVICE": "cpu"}
    command = [sys.executable, "-W", "ignore", "-m", "slackwise.adapters.vllm.contract"]
    command += [str(tmp_path)] if version in DRIVEN else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert "contract kept" in lines, done.stdout + done.stderr[-2000:]
    if version in DRIVEN:
        assert lines[-1] == "r5 r4 r3 r2 r1 r0 fallbacks 0"


def test_a_broken_contract_is_named(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.core.encoder_cache_manager import EncoderCacheManager

    from slackwise.adapters.vllm.contract import broken

    monkeypatch.setattr(EncoderCacheManager, "can_allocate", lambda self, request, budget: True)
    assert broken() == ["EncoderCacheManager.can_allocate takes request, budget"]
