"""The supervisor with trivial children: restarts with growing delay, order of stopping."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scantrail.cli.supervisor import Program, Supervisor

SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(60)"
ENDS = "raise SystemExit(3)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPS}"
NOTES_ITS_END = """
import pathlib, signal, sys, time
def end(*_):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2] + " ")
    time.sleep(0.1)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""


class Told(list[str]):
    """What the supervisor said."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def supervisor(told: Told) -> Iterator[Supervisor]:
    supervisor = Supervisor(told, first_delay_s=0.1, longest_delay_s=0.4, steady_s=1.0)
    yield supervisor
    supervisor.stop_all((), limit_s=0.0)


def program(folder: Path, name: str, code: str, *arguments: str) -> Program:
    return Program(
        name=name,
        command=(sys.executable, "-c", code, *arguments),
        log=folder / f"{name}.log",
        env={},
    )


def eventually(holds: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def up(program: Program, times: int = 1) -> Callable[[], bool]:
    """Whether the program has come so far as to print, which is after its signal handlers."""
    return lambda: program.log.read_text().count("up") == times


def test_a_child_that_ends_is_started_again_at_growing_distances(
    supervisor: Supervisor, told: Told, tmp_path: Path
) -> None:
    supervisor.start(program(tmp_path, "brief", ENDS))
    eventually(lambda: supervisor.ends("brief") == 4)
    assert [line.split(" (")[0] for line in told[:4]] == [
        f"brief ended with status 3; it is started again in {delay} s"
        for delay in ("0.1", "0.2", "0.4", "0.4")
    ]


def test_the_delay_begins_anew_after_a_steady_life(
    supervisor: Supervisor, told: Told, tmp_path: Path
) -> None:
    steady = program(tmp_path, "steady", SLEEPS)
    supervisor.start(steady)
    for life in (1, 2):
        eventually(up(steady, life))
        supervisor.kill("steady")
        eventually(lambda life=life: supervisor.ends("steady") == life)
    eventually(up(steady, 3))
    time.sleep(1.1)
    supervisor.kill("steady")
    eventually(lambda: supervisor.ends("steady") == 3)
    assert [line.split(" in ")[1].split(" s ")[0] for line in told] == ["0.1", "0.2", "0.1"]
    assert "was ended by SIGKILL" in told[0]


def test_a_stopped_child_stays_down_until_its_restart(
    supervisor: Supervisor, told: Told, tmp_path: Path
) -> None:
    sleeper = program(tmp_path, "sleeper", SLEEPS)
    supervisor.start(sleeper)
    eventually(up(sleeper))
    first = supervisor.pid("sleeper")
    supervisor.stop("sleeper")
    time.sleep(0.3)
    assert supervisor.pid("sleeper") is None
    supervisor.restart("sleeper")
    eventually(up(sleeper, 2))
    assert supervisor.pid("sleeper") not in (None, first)
    assert told == []


def test_a_restart_of_a_running_child_replaces_it(supervisor: Supervisor, tmp_path: Path) -> None:
    sleeper = program(tmp_path, "sleeper", SLEEPS)
    supervisor.start(sleeper)
    eventually(up(sleeper))
    first = supervisor.pid("sleeper")
    supervisor.restart("sleeper")
    assert supervisor.pid("sleeper") not in (None, first)
    assert supervisor.ends("sleeper") == 0


def test_children_are_stopped_one_after_the_other_in_order(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    programs = [program(tmp_path, name, NOTES_ITS_END, str(notes), name) for name in "abcd"]
    for each in programs:
        supervisor.start(each)
    for each in programs:
        eventually(up(each))
    supervisor.stop_all(("c", "a", "b"))
    assert notes.read_text().split() == ["c", "a", "b", "d"]
    assert [supervisor.pid(name) for name in "abcd"] == [None] * 4


@pytest.mark.alone
def test_a_child_that_ignores_sigterm_is_killed_at_the_limit(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    stubborn = program(tmp_path, "stubborn", STUBBORN)
    supervisor.start(stubborn)
    eventually(up(stubborn))
    began = time.monotonic()
    supervisor.stop_all((), limit_s=0.5)
    assert 0.5 <= time.monotonic() - began < 2.0
    assert supervisor.pid("stubborn") is None


def test_nothing_is_started_again_once_the_stop_began(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    sleeper = program(tmp_path, "sleeper", SLEEPS)
    supervisor.start(sleeper)
    eventually(up(sleeper))
    supervisor.kill_all()
    time.sleep(0.4)
    assert supervisor.pid("sleeper") is None
    assert sleeper.log.read_text().count("up") == 1


def test_output_is_kept_across_restarts(supervisor: Supervisor, tmp_path: Path) -> None:
    sleeper = program(tmp_path, "sleeper", SLEEPS)
    supervisor.start(sleeper)
    eventually(up(sleeper))
    supervisor.restart("sleeper")
    eventually(up(sleeper, 2))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    # Started in a thread that ends: the death signal must follow the process, not the thread.
    code = f"""
import threading, time
from pathlib import Path
from scantrail.cli.supervisor import Program, Supervisor
supervisor = Supervisor(print)
child = Program(name="child", command=({sys.executable!r}, "-c", {SLEEPS!r}),
                log=Path({str(tmp_path / "child.log")!r}), env={{}})
thread = threading.Thread(target=supervisor.start, args=(child,))
thread.start()
thread.join()
time.sleep(0.5)
print(supervisor.pid("child"), flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}/cwd").exists(), limit_s=5.0)


def test_a_start_that_the_machine_refuses_is_tried_again(
    supervisor: Supervisor, told: Told, tmp_path: Path
) -> None:
    """And the other children are looked after all the same."""
    folder = tmp_path / "logs"
    folder.mkdir()
    supervisor.start(program(folder, "first", SLEEPS))
    supervisor.start(program(tmp_path, "second", SLEEPS))
    (folder / "first.log").unlink()
    folder.rmdir()
    folder.touch()  # no log can be opened there
    supervisor.kill("first")
    eventually(lambda: any("first cannot be started" in line for line in told))
    supervisor.kill("second")
    eventually(lambda: supervisor.pid("second") is not None)
    folder.unlink()
    eventually(lambda: supervisor.pid("first") is not None)
    assert (folder / "first.log").exists()
