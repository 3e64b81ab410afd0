"""Keeps child processes running: one that ends is started anew, at growing distances."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scantrail.infra.child_processes import EmbeddedError, end_process, spawn

_LOG_BYTES_MAX = 20_000_000
_LOOK_EVERY_S = 0.05
# A child that ignores SIGTERM so long does not hold up the stop of the next.
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to be kept running; its output is appended to `log`."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    delay_s: float
    wanted: bool = True
    ends: int = 0
    due: float | None = None  # when it is started anew; None while it runs or is not wanted
    changing: threading.RLock = field(default_factory=threading.RLock)


class Supervisor:
    """Starts programs, restarts those that end, stops them in a given order.

    The delay before a restart begins at `first_delay_s`, doubles up to `longest_delay_s`, and
    begins anew after `steady_s` of life. `say` is told each restart in one line. The children end
    with this process, however it ends.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        first_delay_s: float = 0.2,
        longest_delay_s: float = 5.0,
        steady_s: float = 30.0,
    ) -> None:
        self._say = say
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._steady_s = steady_s
        self._children: dict[str, _Child] = {}
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._look, name="supervisor", daemon=True)

    def start(self, program: Program) -> None:
        """Start it and keep it running."""
        program.log.parent.mkdir(parents=True, exist_ok=True)
        if program.log.exists() and program.log.stat().st_size > _LOG_BYTES_MAX:
            program.log.replace(program.log.with_name(program.log.name + ".1"))
        self._children[program.name] = _Child(
            program, _spawn(program), time.monotonic(), self._first_delay_s
        )
        if not self._watch.is_alive():
            self._watch.start()

    def pid(self, name: str) -> int | None:
        """The child's process number, None while it does not run."""
        process = self._children[name].process
        return process.pid if process.poll() is None else None

    def pids(self) -> dict[str, int]:
        """The process numbers of all that run."""
        found = {name: self.pid(name) for name in list(self._children)}
        return {name: pid for name, pid in found.items() if pid is not None}

    def ends(self, name: str) -> int:
        """How often the child has ended without being told to."""
        return self._children[name].ends

    def log(self, name: str) -> Path:
        """Where the child's output goes."""
        return self._children[name].program.log

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash: it is started anew after the delay."""
        process = self._children[name].process
        process.kill()
        process.wait()

    def stop(self, name: str, limit_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL after `limit_s`: it stays down until restart()."""
        child = self._children[name]
        with child.changing:
            child.wanted, child.due = False, None
            end_process(child.process, signal.SIGTERM, limit_s)

    def restart(self, name: str, limit_s: float = 10.0) -> None:
        """Stop it if it runs, and start it without delay."""
        child = self._children[name]
        with child.changing:
            self.stop(name, limit_s)
            self._begin(child)
            child.wanted = True

    def stop_all(self, order: Sequence[str], limit_s: float = 20.0) -> None:
        """Stop the children in this order, those not named last; at the limit kill the rest."""
        deadline = time.monotonic() + limit_s
        self._closing.set()
        if self._watch.is_alive():
            self._watch.join()
        names = [name for name in order if name in self._children]
        names += [name for name in self._children if name not in names]
        for name in names:
            process = self._children[name].process
            process.terminate()
            _wait(process, min(_PATIENCE_S, deadline - time.monotonic()))
        for name in names:
            _wait(self._children[name].process, deadline - time.monotonic())
        self.kill_all()
        for child in self._children.values():
            child.process.wait()

    def kill_all(self) -> None:
        """SIGKILL for all, and none is started anew. Does not wait: for signal handlers too."""
        self._closing.set()
        for child in list(self._children.values()):
            child.process.kill()

    def _look(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            for child in list(self._children.values()):
                # Held by stop() or restart(): it is looked at the next time.
                if child.changing.acquire(blocking=False):
                    try:
                        self._tend(child)
                    finally:
                        child.changing.release()

    def _tend(self, child: _Child) -> None:
        now = time.monotonic()
        if child.due is not None:
            if now >= child.due:
                self._begin_or_wait(child)
            return
        status = child.process.poll()
        if status is None or not child.wanted:
            return
        if now - child.started > self._steady_s:
            child.delay_s = self._first_delay_s
        child.ends += 1
        child.due = now + child.delay_s
        self._say(
            f"{child.program.name} {fate(status)}; it is started again in {child.delay_s:g} s"
            f" (its log: {child.program.log})"
        )
        child.delay_s = min(2 * child.delay_s, self._longest_delay_s)

    def _begin_or_wait(self, child: _Child) -> None:
        """Start it; where the machine has no room for it, a while later."""
        try:
            self._begin(child)
        except (OSError, EmbeddedError) as error:
            child.due = time.monotonic() + child.delay_s
            self._say(
                f"{child.program.name} cannot be started ({error}); it is tried again in"
                f" {child.delay_s:g} s"
            )
            child.delay_s = min(2 * child.delay_s, self._longest_delay_s)

    def _begin(self, child: _Child) -> None:
        if self._closing.is_set():
            return
        child.program.log.parent.mkdir(parents=True, exist_ok=True)
        child.process = _spawn(child.program)
        child.due = None
        child.started = time.monotonic()


def fate(status: int) -> str:
    """How a process with this exit status ended, in words."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def python_command(*arguments: str) -> tuple[str, ...]:
    """This interpreter, run as a module: `python_command("scantrail.gateway")`."""
    return (sys.executable, "-m", *arguments)


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    # Unbuffered, or the last words before a crash are lost.
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **program.env}
    return spawn(program.command, log=program.log, death_signal=signal.SIGKILL, env=env)


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> None:
    try:
        process.wait(timeout=max(0.0, limit_s))
    except subprocess.TimeoutExpired:
        return
