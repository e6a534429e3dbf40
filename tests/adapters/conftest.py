"""What tests inside vLLM share; without vLLM they are skipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # one process: the scheduler is in reach
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


@pytest.fixture(scope="session")
def vllm() -> Any:
    """The module, or a skip."""
    from slackwise.adapters.vllm.in_process import make_room

    make_room()
    return pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make test-vllm")


@pytest.fixture(scope="session")
def tiny(vllm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA of 64 tokens an image, with contexts long enough for any test."""
    from slackwise.adapters.vllm.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "llava-tiny", longest=65536)
