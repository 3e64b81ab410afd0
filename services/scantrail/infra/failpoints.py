"""Where a test may let a process die: `FAILPOINT=name:count` kills it when it passes for the
count-th time, as `kill -9` would; `FAILPOINT=name:count:stop` stops it there until SIGCONT.
Nothing else sets that variable.
"""

import os
import signal

FAILPOINT = "FAILPOINT"

_name, _count, _stop, *_ = (*os.environ.get(FAILPOINT, "").split(":"), "", "")
_left = int(_count or 1)


def passing(name: str) -> None:
    """The process passes `name`, and dies or stops here where a test wants it."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:  # raised in this thread: what follows is not begun
        signal.raise_signal(signal.SIGSTOP if _stop else signal.SIGKILL)
