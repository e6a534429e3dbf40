"""The experiment "host" of docs/reproduction.md; options as of `slackwise reproduce`."""

import sys
from pathlib import Path

from slackwise.cli.main import run

HERE = str(Path(__file__).parent / "results")

if __name__ == "__main__":
    sys.exit(run(["reproduce", "modserve", "--only", "host", "--out", HERE, *sys.argv[1:]]))
