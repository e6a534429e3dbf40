"""`python -m slackwise` is the command `slackwise`."""

from __future__ import annotations

from slackwise.cli.main import main

if __name__ == "__main__":
    main()
