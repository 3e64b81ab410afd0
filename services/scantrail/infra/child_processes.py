"""Child processes that end with their parent, and the loopback ports they listen on."""

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

LOOPBACK = "127.0.0.1"
# Below the range of outgoing connections, so that none of those takes a remembered port.
_CHOSEN_PORTS = range(20_000, 32_000)
_given_ports = set[int]()


class EmbeddedError(Exception):
    """An embedded service cannot be had. The text names what is wrong and the mend."""


class Account(NamedTuple):
    """The system user a child runs as when the parent is root."""

    name: str
    uid: int
    gid: int


class EmbeddedProcess(ABC):
    """One embedded service: a child process, its folder and its log.

    Subclasses say how it is started. A process that a dead parent left in the folder is ended
    first, so only one parent at a time may use a folder.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.address = ""  # of the last start
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Its process number, None when it does not run."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def lost(self) -> bool:
        """Whether it has ended without stop() or kill(), and nobody is starting it."""
        return self._is_missing and not self._starting.locked()

    @property
    def _is_missing(self) -> bool:
        return self._wanted and not self.running

    def start(self) -> str:
        """Start it and return its address once it answers there.

        Raises EmbeddedError when it cannot; nothing is left running then.
        """
        with self._starting:
            self._wanted = True
            try:
                return self._start_in_folder()
            except BaseException:
                self.kill()
                raise

    def revive(self) -> None:
        """Start it again where it is lost; where another thread did so meanwhile, do nothing.

        Raises EmbeddedError when it cannot; it is lost then as before.
        """
        with self._starting:
            if self._is_missing:
                try:
                    self._start_in_folder()
                except BaseException:
                    if self._process is not None:
                        self._process.kill()
                        self._process.wait()
                    raise

    def _start_in_folder(self) -> str:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.address = self._start()
        except OSError as error:
            raise EmbeddedError(
                f"{self.name} cannot use the folder {self.folder} ({error.strerror or error}):"
                " make it writable, with room on its disk"
            ) from error
        return self.address

    def stop(self, limit_s: float = 30.0) -> None:
        """Ask it to end; after `limit_s` it is killed. Its data are kept."""
        self._wanted = False
        if self._process is not None:
            end_process(self._process, self.stop_signal, limit_s)

    def end(self, limit_s: float = 30.0) -> None:
        """Ask it to end, as stop() does, but so that it is lost: whoever tends it revives it."""
        if self._process is not None:
            end_process(self._process, self.stop_signal, limit_s)

    def kill(self) -> None:
        """End it as a power failure would. Its data are kept."""
        self.send_kill()
        if self._process is not None:
            self._process.wait()

    def send_kill(self) -> None:
        """As kill(), without waiting and without a lock: may be called by a signal handler."""
        self._wanted = False
        if self._process is not None:
            self._process.kill()

    @abstractmethod
    def _start(self) -> str:
        """Start the process and return its address; EmbeddedError with the mend."""

    def _launch(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
        may_read_all: bool = False,
    ) -> subprocess.Popen[bytes]:
        if not self._wanted:
            raise EmbeddedError(f"{self.name} was stopped while it started")
        self._process = spawn(
            command,
            log=log,
            death_signal=self.stop_signal,
            cwd=cwd,
            env=env,
            account=account,
            may_read_all=may_read_all,
        )
        return self._process

    def _port(self, given: int | None) -> int:
        """The given port, else the one remembered in the folder, else a free one."""
        remembered = self.folder / "port"
        port = given or _number_in(remembered)
        if port is None:
            port = free_ports(1)[0]
            new = remembered.with_suffix(".new")  # whole or not at all, also in a power cut
            with new.open("w") as file:
                file.write(f"{port}\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(remembered)
        if not port_is_free(LOOPBACK, port):
            raise EmbeddedError(
                f"{self.name} cannot start because port {port} is taken by another program:"
                + (" give another" if given else f" stop it, or remove {remembered}")
            )
        return port


def _number_in(path: Path) -> int | None:
    """The port that a file holds, None without a readable one."""
    try:
        number = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return number if 0 < number < 65_536 else None


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    death_signal: signal.Signals,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    may_read_all: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output appended to `log`.

    It gets `death_signal` when this process ends in any way (Linux with util-linux; elsewhere it
    lives on). With `account` it runs as that user, and with `may_read_all` it may still enter
    folders closed to that user.
    """
    prefix = []
    if setpriv := _setpriv():
        prefix = [setpriv, f"--pdeathsig={death_signal.name.removeprefix('SIG')}"]
    if account:
        if not setpriv:
            raise EmbeddedError(
                f"{command[0]} must not run as root, and changing to {account.name} takes setpriv:"
                " install util-linux, or do not run as root"
            )
        prefix += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        if may_read_all:
            prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    with log.open("ab") as output:
        return (
            _launcher()
            .submit(
                subprocess.Popen,
                [*prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
            .result()
        )


@cache
def _launcher() -> ThreadPoolExecutor:
    # The kernel sends the death signal when the thread that started the child ends, not only when
    # the whole process does: one thread that lives as long as the process starts them all.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")


@cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv")
    if path is None:
        return None
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    return path if "--pdeathsig" in usage else None


def end_process(
    process: subprocess.Popen[bytes], stop_signal: signal.Signals, limit_s: float
) -> None:
    """Send the signal, wait for the end, and kill after `limit_s`."""
    if process.poll() is None:
        process.send_signal(stop_signal)
    try:
        process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def works_in(pid: int, folder: Path) -> bool:
    """Whether process `pid` lives and has `folder` as its working folder (Linux)."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    except OSError:
        return False


def end_leftover(pid: int, folder: Path, stop_signal: signal.Signals, limit_s: float = 10) -> None:
    """End a process that a dead parent left at work in `folder`; another process is let be."""
    deadline = time.monotonic() + limit_s
    if works_in(pid, folder):
        os.kill(pid, stop_signal)
    while works_in(pid, folder):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def write_private(
    path: Path,
    content: str | bytes,
    *,
    owner: tuple[int, int] | None = None,
    mode: int = 0o600,
) -> None:
    """Write what nobody but the owner (user, group) may read, whole or not at all, also in a power
    cut."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if owner is not None and os.geteuid() == 0:
        os.chown(new, *owner)
    new.replace(path)


def read_pid(path: Path) -> int | None:
    """The number in the first line of a pid file, None without one."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def log_tail(*logs: Path, lines: int = 12) -> str:
    """The last lines of the logs, indented, for an error's text."""
    kept: list[str] = []
    for log in logs:
        if log.exists():
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - 8192))
                kept += file.read().decode(errors="replace").splitlines()[-lines:]
    return "".join(f"\n    {line}" for line in kept) or " (empty)"


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Different ports that nothing listens on, below the range of outgoing connections.

    None is given twice by one process: whoever has it may not have opened it yet.
    """
    ports: list[int] = []
    for port in random.sample(_CHOSEN_PORTS, len(_CHOSEN_PORTS)):
        if port not in _given_ports and port_is_free(host, port):
            _given_ports.add(port)
            ports.append(port)
        if len(ports) == count:
            return ports
    raise EmbeddedError(f"{host} has no {count} free ports: stop some other program")


def port_is_free(host: str, port: int) -> bool:
    """Whether this process could listen there.

    Raises OSError when the address is not one of this machine, or the port is privileged.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
