"""Who goes first where all of an installation share few cores: goods, then people, then history.

A scan's way to its alert, and a conveyor's answer, wait for whoever has the core. The projector has
a second's work in hand whenever it can, and nobody waits for a row as a belt waits for its answer.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

#: How far each steps back behind us, as nice(1) has it; all others do not.
NICENESS: Final = {"api": 5, "PostgreSQL": 5, "projector": 10}

_PROC: Final = Path("/proc")
_LEAST: Final = 19


class Precedence:
    """Lets processes step back, and what they start: PostgreSQL has a process for each connection.

    Linux may weigh sessions before it weighs processes (sched_autogroup), and each of ours has one
    of its own: then the session steps back too. What the system does not allow is left.
    """

    def __init__(self) -> None:
        self._ours = os.getpriority(os.PRIO_PROCESS, 0)
        self._done = set[int]()

    def look(self, running: Mapping[str, int]) -> None:
        """To be asked every now and then, with the process numbers of what runs by name."""
        wanted = {
            pid: min(self._ours + niceness, _LEAST)
            for name, niceness in NICENESS.items()
            if name in running
            for pid in (running[name], *_children(running[name]))
        }
        self._done &= wanted.keys()
        self._done |= {pid for pid in wanted.keys() - self._done if _steps_back(pid, wanted[pid])}


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        told = (_PROC / str(pid) / "task" / str(pid) / "children").read_text()
        yield from map(int, told.split())


def _steps_back(pid: int, niceness: int) -> bool:
    """Whether it has; where not, it is tried again: who is not root may change one session in a
    tenth of a second."""
    try:
        for task in os.listdir(_PROC / str(pid) / "task"):
            os.setpriority(os.PRIO_PROCESS, int(task), niceness)
        session = _PROC / str(pid) / "autogroup"
        if session.exists():
            session.write_text(str(niceness))
    except OSError:
        return False
    return True
