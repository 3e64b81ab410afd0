"""Who goes first: seen from what the system itself says of processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scantrail.cli import precedence
from scantrail.cli.precedence import NICENESS, Precedence

#: A thread, and a process in a session of its own, as PostgreSQL has one for each connection.
WORKS = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
child = subprocess.Popen(sleeps, start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
LIMIT_S = 20.0
OURS = os.getpriority(os.PRIO_PROCESS, 0)


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """A process, and the one that it started."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKS], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process.pid, child
        os.kill(child, 9)
        process.kill()


def niceness(pid: int) -> set[int]:
    """Of each thread; and of the session, where sessions are weighed."""
    tasks = os.listdir(f"/proc/{pid}/task")
    told = {os.getpriority(os.PRIO_PROCESS, int(task)) for task in tasks}
    session = Path(f"/proc/{pid}/autogroup")
    return told | ({int(session.read_text().split()[-1])} if session.exists() else set())


def until(pids: tuple[int, ...], wanted: set[int], looking: Precedence, name: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while any(niceness(pid) != wanted for pid in pids):
        assert time.monotonic() < deadline, [niceness(pid) for pid in pids]
        looking.look({name: pids[0]})
        time.sleep(0.05)


@pytest.mark.parametrize("name", NICENESS)
def test_who_can_wait_steps_back_with_its_threads_and_what_it_starts(
    server: tuple[int, int], name: str
) -> None:
    until(server, {min(OURS + NICENESS[name], 19)}, Precedence(), name)


def test_scans_and_answers_wait_for_nobody(server: tuple[int, int]) -> None:
    before = [niceness(pid) for pid in server]
    looking = Precedence()
    looking.look(dict.fromkeys(("gateway", "tracker", "alerter", "Kafka"), server[0]))
    assert [niceness(pid) for pid in server] == before


def test_what_is_refused_is_tried_again(
    server: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Precedence()
    with monkeypatch.context() as patched:
        patched.setattr(precedence.os, "setpriority", refuse)
        looking.look({"projector": server[0]})
    until(server, {min(OURS + NICENESS["projector"], 19)}, looking, "projector")


def test_what_has_ended_is_passed_over() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Precedence().look({"projector": ended.pid})


def refuse(*_: int) -> None:
    raise PermissionError
