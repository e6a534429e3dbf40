"""Install each file of dist/ into an empty environment, outside the repository, and run the demo there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT = ("report.html", "report.json", "winner.json")
TYPED = "import pathlib, slackwise; assert pathlib.Path(slackwise.__file__).with_name('py.typed').exists()"


def main() -> None:
    """Try the wheel and the sdist; exit 1 with the first command that fails."""
    files = sorted((ROOT / "dist").glob("slackwise-*"))
    if len(files) != 2:
        sys.exit(f"dist/ should hold a wheel and an sdist, not {[file.name for file in files]}")
    for file in files:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            attempt(file, Path(folder))
        print(f"{file.name}: installed, demo run in {time.monotonic() - began:.0f} s")


def attempt(file: Path, folder: Path) -> None:
    """Make an environment in `folder`, install `file` with the extra `demo`, run the demo, look at what it left."""
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    call(python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), f"{file}[demo]", folder=folder)
    call(python, "-c", TYPED, folder=folder)
    call(str(folder / "env" / "bin" / "slackwise"), "demo", folder=folder)
    missing = [name for name in LEFT if not (folder / name).stat().st_size]
    if missing:
        sys.exit(f"{file.name}: the demo left nothing in {missing}")


def call(*command: str, folder: Path) -> None:
    """Run `command` in `folder` without the repository on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
