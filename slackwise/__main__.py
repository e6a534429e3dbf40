"""`python -m slackwise` is the command `slackwise`."""

from __future__ import annotations

import sys

from slackwise.cli.main import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
