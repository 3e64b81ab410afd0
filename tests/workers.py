"""What lets tests run in several workers of one `pytest -n`: turns, and ports of each one's own."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

from scantrail.infra import child_processes

#: Their tests share what is dear to set up.
TOGETHER = ("tests/integration/test_secure_edge.py",)


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """Tests one by one to whoever is free, those of a file of TOGETHER to one worker, and first.
    By the file's name: xdist's own groups lean on what pytest has no more since version 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Run beside other turns of this folder, or where `alone` beside none of them.

    Locks of files, which end with the process that holds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "door").open("wb") as door, (folder / "room").open("wb") as room:
        # Who waits for the room to be empty holds the door, else others would enter for ever.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def choose_ports() -> None:
    """Of the ports that may be chosen, each worker chooses among its own.

    A chosen port is opened only later: two workers could choose the same one.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    child_processes._CHOSEN_PORTS = child_processes._CHOSEN_PORTS[int(worker[2:]) :: count]
