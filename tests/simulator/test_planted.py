"""Bugs planted in a copy of the kernel are found by the checks that are there for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import slackwise

PACKAGE, ROOT = Path(slackwise.__file__).parent, Path(__file__).parents[2]
CHECKS = ("checking mode", "equality", "secrecy")

BUGS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "a request is dropped": (
        "queueing.py",
        "    enqueue(s, instance, request, now)\n    engine = engine_of(s, instance)",
        "    if request % 7 != 5:\n        enqueue(s, instance, request, now)\n    engine = engine_of(s, instance)",
        {"checking mode": "Every request is in exactly one place", "equality": "first token"},
    ),
    "a policy reads the true output": (
        "queueing.py",
        "    request_of(s, request).transfer_estimate_s = 0.0\n",
        "    request_of(s, request).transfer_estimate_s = 0.0\n"
        "    request_of(s, request).prefill_estimate_s = progress_of(s, request).output_tokens\n",
        {"equality": "", "secrecy": "prefill_estimate_s"},
    ),
    "the true output is in the record from the start": (
        "workload.py",
        '    progress["target_tokens"] = requests["prompt_tokens"]\n',
        '    progress["target_tokens"] = requests["prompt_tokens"]\n'
        '    requests["output_estimate_tokens"] = progress["output_tokens"]\n',
        {"secrecy": "output_estimate_tokens"},
    ),
    "a preempted decode leaves a token in the KV cache": (
        "queueing.py",
        "    engine.kv_used_tokens -= held\n    engine.decode_kv_tokens -= held\n    heap.remove",
        "    engine.kv_used_tokens -= held - 1\n    engine.decode_kv_tokens -= held\n    heap.remove",
        {"checking mode": "The KV cache in use is what its requests hold"},
    ),
    "a leap counts a step too many of KV cache": (
        "leap.py",
        "(0.5 * steps * (steps - 1))",
        "(0.5 * steps * (steps + 1))",
        {"equality": "first token"},
    ),
}
"""By name: the file, what is there, what is planted, and the checks that have to object, with a part of what they say.

Nobody but the named checks has to see it: a leap of the wrong length is consistent in itself, and what is in the record
of a request from the start is the same for kernel and reference.
"""


def objections(folder: Path) -> dict[str, str]:
    """What the checks say of the copy of the package in `folder`."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-W", "error", "-m", "tests.simulator.planted"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    assert Path(answer.pop("package")) == folder / "slackwise"
    return answer


def copied(folder: Path) -> Path:
    """`folder` with a copy of the package in it."""
    shutil.copytree(PACKAGE, folder / "slackwise", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_nothing_is_said_of_a_faithful_copy(tmp_path: Path) -> None:
    assert objections(copied(tmp_path)) == dict.fromkeys(CHECKS, "")


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    file, there, planted, expected = BUGS[name]
    source = copied(tmp_path) / "slackwise" / "simulator" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(there) == 1, f"{file} no longer holds what the bug is planted into"
    source.write_text(text.replace(there, planted), encoding="utf-8")
    found = objections(tmp_path)
    for check, words in expected.items():
        assert found[check], f"{check} says nothing"
        assert words in found[check]
