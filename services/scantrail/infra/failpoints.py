"""Where a test may let a process die: `FAILPOINT=name:count` kills it when it passes for the
count-th time, as `kill -9` would. Nothing else sets that variable.
"""

import os
import signal

FAILPOINT = "FAILPOINT"

_name, _, _count = os.environ.get(FAILPOINT, "").partition(":")
_left = int(_count or 1)


def passing(name: str) -> None:
    """The process passes `name`, and dies here where a test wants it."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
