"""Put the real output of `slackwise demo` into README.md, between its two markers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from slackwise.files import write_text

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- demo output: tools/refresh_readme.py -->\n```text\n", "```\n<!-- end of demo output -->"


def main() -> None:
    """Run the demo in a folder of its own and replace what stands between the markers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from slackwise.cli.main import main; main()", "demo"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    output = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
    text = README.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_text(README, f"{before}{BEGIN}{output}{END}{after}")


if __name__ == "__main__":
    main()
