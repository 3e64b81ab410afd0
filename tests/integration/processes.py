"""Processes as operations runs them, for a test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from scantrail.infra.settings import ENV_PREFIX, Settings

READY_S_MAX = 40.0

#: One for all: whoever makes a client reads all of the system's certificates.
_HTTP = httpx.Client(timeout=5, limits=httpx.Limits(max_keepalive_connections=0))


def run_command(
    settings: Settings, *arguments: str, timeout_s: float, **more: str
) -> subprocess.CompletedProcess[str]:
    """`scantrail <arguments>` to its end, with these settings and `more` variables."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "scantrail.cli", *arguments],
        env={**environ, **settings.environ(), **more},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def printed_by(settings: Settings, *arguments: str, timeout_s: float) -> str:
    """What the command prints, which must do what it is asked."""
    done = run_command(settings, *arguments, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Process:
    """`python -m scantrail.<name>`, its output in a file, begun by the command `inside`."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        folder: Path,
        more: Mapping[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._inside = inside
        self._log = folder / f"{name}.log"
        self._port = getattr(settings, f"{name}_health_port")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        self._environ = {**environ, **settings.environ(), **(more or {})}
        self.start()

    def start(self) -> None:
        """Also again, once it has ended, as its supervisor does."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._inside, sys.executable, "-m", f"scantrail.{self.name}"],
                env=self._environ,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> httpx.Response | None:
        try:
            return _HTTP.get(f"http://127.0.0.1:{self._port}{path}")
        except httpx.TransportError:
            return None

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while True:
            answer = self.get("/readyz")
            if answer is not None and answer.status_code == 200:
                assert answer.json() == {"ready": True, "missing": []}
                return
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, (answer and answer.text, self.log)
            time.sleep(0.05)

    def await_missing(self, what: str) -> None:
        """Until it says that it lacks `what`."""
        deadline = time.monotonic() + READY_S_MAX
        while (answer := self.get("/readyz")) is None or what not in answer.json()["missing"]:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, (answer and answer.text, self.log)
            time.sleep(0.05)

    def await_logged(self, text: str) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while text not in self.log:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def status_within(self, limit_s: float) -> int:
        try:
            return self.process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {limit_s} s: {self.log}") from None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextmanager
def started(
    settings: Settings, folder: Path, *names: str, environ: Mapping[str, str] | None = None
) -> Iterator[list[Process]]:
    """The processes, killed at the end; `environ` is added to each one's variables."""
    processes = [Process(name, settings, folder, environ) for name in names]
    try:
        yield processes
    finally:
        for process in processes:
            process.process.send_signal(signal.SIGCONT)
            process.process.kill()
            process.process.wait()
