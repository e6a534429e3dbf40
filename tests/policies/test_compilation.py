"""Machine code is made at first use, once, and never outlives what it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numba
import pytest

from slackwise.policies.compilation import compile_policy

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing compiles with NUMBA_DISABLE_JIT=1")

IMPORT = """
import json
from numba.core.event import install_recorder
with install_recorder("numba:compile") as recorder:
    from slackwise.policies import policies
    names = [policy.name for policy in policies()]
print(json.dumps({"policies": len(names), "compilations": len(recorder.buffer)}))
"""

USE = """
import json
from slackwise.policies import find
used = [find("routing", "power_of_two"), find("batching", "least_slack"), find("chunking", "tile_budget")]
stats = [policy.compiled.stats for policy in used]
print(json.dumps([[sum(each.cache_hits.values()), sum(each.cache_misses.values())] for each in stats]))
"""

POLICY = """
from slackwise.policies import routing_policy
from {helper} import load

@routing_policy(source="test")
def scaled(request, instance, now, params):
    '''Scaled load.'''
    return load(instance)
"""

HELPER = """
from slackwise.policies.compilation import policy_helper
FACTOR = {factor}

@policy_helper
def load(instance):
    return instance.waiting * FACTOR
"""

CALL = """
import numpy as np
from slackwise.policies import INSTANCE, REQUEST, find
policy = find("routing", "cached_policy:scaled")
instance = np.zeros(1, INSTANCE).view(np.recarray)[0]
instance.waiting = 3
request = np.zeros(1, REQUEST).view(np.recarray)[0]
hits = sum(policy.compiled.stats.cache_hits.values())
print(policy.compiled(request, instance, 0.0, policy.params()), hits)
"""


def output(code: str, cache: Path, path: Path | None = None) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)} | ({"PYTHONPATH": str(path)} if path else {})
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_importing_and_listing_the_policies_compiles_nothing(tmp_path: Path) -> None:
    found = json.loads(output(IMPORT, tmp_path))
    assert found["policies"] >= 25
    assert found["compilations"] == 0


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert json.loads(output(USE, tmp_path)) == [[0, 1]] * 3
    assert json.loads(output(USE, tmp_path)) == [[1, 0]] * 3


def test_machine_code_does_not_outlive_an_edit_to_a_helper_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "cached_policy.py").write_text(POLICY.format(helper="cached_helper"))
    helper, cache = tmp_path / "cached_helper.py", tmp_path / "cache"
    helper.write_text(HELPER.format(factor="2.0"))
    assert output(CALL, cache, tmp_path) == "6.0 0"
    assert output(CALL, cache, tmp_path) == "6.0 1"
    helper.write_text(HELPER.format(factor="5.0 * 1"))
    assert output(CALL, cache, tmp_path) == "15.0 0"


def test_a_function_without_a_file_compiles_without_a_cache() -> None:
    module = ModuleType("typed_in")
    exec("def typed(request, instance, now, params):\n    return now + 1.0\n", module.__dict__)
    assert compile_policy(module.__dict__["typed"]).signatures != []  # type: ignore[attr-defined]
