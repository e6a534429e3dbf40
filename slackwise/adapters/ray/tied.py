"""Run a command that is told to end when the process that started it has ended, however it ended (Linux).

python -m slackwise.adapters.ray.tied PARENT_PID COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def main(arguments: list[str]) -> None:
    """Becomes the command; only comes back, with an error, if that cannot be run."""
    parent, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() == int(parent):  # else it has ended already
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
