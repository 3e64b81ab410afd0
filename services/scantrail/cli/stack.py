"""A whole Scantrail on this machine: Kafka, PostgreSQL, topics, tables and every process."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from scantrail.cli.addresses import page_address, reachable_host, with_own_paths
from scantrail.cli.checks import StackError, check_ports, check_readers
from scantrail.cli.folder_lock import FolderLock
from scantrail.cli.precedence import Precedence
from scantrail.cli.secured import CertificateWatch, Secured, over_https, secrets_folder
from scantrail.cli.site import FIRST_READERS, SIMULATED_READERS
from scantrail.cli.supervisor import Program, Supervisor, python_command
from scantrail.infra.child_processes import EmbeddedError, EmbeddedProcess, log_tail
from scantrail.infra.credentials import run_clients
from scantrail.infra.database import migrate
from scantrail.infra.embedded_kafka import EmbeddedKafka, jars_are_fetched
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.group_admin import remove_members
from scantrail.infra.settings import ENV_PREFIX, Settings
from scantrail.infra.topic_admin import apply_topics

#: In this order they are stopped: what takes in ends first.
PROCESSES = ("gateway", "tracker", "alerter", "projector", "api")
#: Of these, those that share their work in a consumer group of their name.
GROUPS = ("tracker", "alerter", "projector")
SIMULATION = "simulate"

#: Whose own readers these are is not to be overwritten; the simulated site's come with the program.
_OWN_FILE = "readers.toml"
_SIMULATED_FILE = "simulated-readers.toml"

_READY_LIMIT_S = 60.0
# A process that ends so often before it is ready will not get ready.
_ENDS_MAX = 5
_PROCESSES_STOP_S = 18.0
_SERVICE_STOP_S = 4.0
_LOOK_EVERY_S = 0.5
_REVIVE_EVERY_S = 2.0


class Stack:
    """Everything Scantrail needs, started together and stopped together.

    `settings` are the effective ones once it is started: absolute paths, and the addresses of the
    embedded Kafka and PostgreSQL, which are None where the settings' own are to be used.
    Kafka and PostgreSQL that end by themselves are started again; after their kill() or stop()
    they stay away until their start().
    """

    def __init__(
        self,
        settings: Settings,
        *,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        embed_kafka: bool = True,
        embed_postgres: bool = True,
        simulated: bool = False,
        secure: bool = False,
    ) -> None:
        self.folder = Path(settings.data_dir).absolute()
        readers = self.folder / (_SIMULATED_FILE if simulated else _OWN_FILE)
        self.settings = with_own_paths(settings, self.folder, readers)
        self._cache = (cache or self.folder / "cache").absolute()
        self._say = say
        self._simulated = simulated
        self.secured = Secured(secrets_folder(self.folder)) if secure else None
        if secure and not (embed_kafka and embed_postgres):
            raise StackError(
                "--secure makes a Kafka and a PostgreSQL of its own: for those that run already,"
                f" set {ENV_PREFIX}KAFKA_SECURITY, and see `scantrail secrets` in docs/security.md"
            )
        keyring = self.secured.keyring if self.secured else None
        broker, database = (keyring.broker, keyring.database) if keyring else (None, None)
        self.kafka = (
            EmbeddedKafka(self.folder / "kafka", self._cache, security=broker)
            if embed_kafka
            else None
        )
        self.postgres = (
            EmbeddedPostgres(self.folder / "postgres", security=database)
            if embed_postgres
            else None
        )
        self.supervisor = Supervisor(say)
        page = page_address(self.settings)
        self._folder_lock = FolderLock(self.folder, over_https(page) if secure else page)
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._tend_embedded, name="embedded", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when every process is ready.

        Raises StackError, EmbeddedError or SettingsError, each one sentence; what runs by then is
        to be ended with stop().
        """
        self._folder_lock.take()
        check_ports(self.settings)
        if self.secured:
            self.settings = self.secured.begin(self.settings)
        self._write_readers()
        check_readers(Path(self.settings.readers_file), self.settings)
        self._say(f"Scantrail starts; its data are in {self.folder}")
        self._start_embedded()
        self._folder_lock.tell(self.settings)
        self._prepare()
        self._start_processes()

    def stop(self) -> None:
        """Stop everything, within 27 s whatever hangs. Stopping twice does no harm."""
        self._closing.set()
        self.supervisor.stop_all((SIMULATION, *PROCESSES), _PROCESSES_STOP_S)
        services = [service for service in (self.postgres, self.kafka) if service is not None]
        for service in services:
            service.stop(_SERVICE_STOP_S)
        if self._watch.is_alive():
            self._watch.join(timeout=1.0)
        for service in services:
            service.kill()  # where the watch was just starting it again
        self._folder_lock.release()

    def kill_all(self) -> None:
        """End everything at once, as a power failure would; stop() is still to be called.

        Waits for nothing: a signal handler may call it.
        """
        self._closing.set()
        self.supervisor.kill_all()
        for service in (self.postgres, self.kafka):
            if service is not None:
                service.send_kill()

    def pid(self, name: str) -> int | None:
        """The process number of one of PROCESSES, None while it does not run."""
        return self.supervisor.pid(name)

    def kill(self, name: str) -> None:
        """SIGKILL one of PROCESSES: the supervisor starts it anew."""
        self.supervisor.kill(name)

    def restart(self, name: str) -> None:
        """Stop one of PROCESSES and start it without delay."""
        self.supervisor.restart(name)

    def await_ready(self, *names: str, limit_s: float = _READY_LIMIT_S) -> None:
        """Return when these processes, or all, answer on /readyz that they are ready.

        Raises StackError, with what is missing and the end of the log.
        """
        deadline = time.monotonic() + limit_s
        names = names or PROCESSES
        ends_before = {name: self.supervisor.ends(name) for name in names}
        for name in names:
            while (missing := self._missing(name)) is not None:
                ends = self.supervisor.ends(name) - ends_before[name]
                if ends >= _ENDS_MAX or time.monotonic() > deadline:
                    fate = f"ended {ends} times" if ends >= _ENDS_MAX else "is not ready"
                    log = self.supervisor.log(name)
                    raise StackError(
                        f"{name} {fate} (missing: {missing}); its log {log} ends"
                        f" with:{log_tail(log)}"
                    )
                time.sleep(0.05)
            self._say(f"{name} is ready")

    def _write_readers(self) -> None:
        path = Path(self.settings.readers_file)
        made = self.secured.readers if self.secured else str
        if path == self.folder / _SIMULATED_FILE:
            path.write_text(made(SIMULATED_READERS))
        elif path == self.folder / _OWN_FILE and not path.exists():
            path.write_text(made(FIRST_READERS))

    def _start_embedded(self) -> None:
        if self.kafka and not jars_are_fetched(self._cache):
            self._say("Kafka is downloaded, 45 MB, this first time only")
        # Threads of our own, not an executor: an interrupted start does not wait for them.
        starts = [_Start(s, self._say) for s in (self.kafka, self.postgres) if s is not None]
        while any(start.is_alive() for start in starts):
            failed = next((start.error for start in starts if start.error), None)
            if failed:
                raise failed
            time.sleep(0.02)
        for start in starts:
            if start.error:
                raise start.error
            if start.service is self.kafka:
                self.settings = replace(self.settings, kafka_bootstrap=start.address)
            else:
                self.settings = replace(self.settings, database_url=start.address)
        if self.secured and self.postgres:
            owned = replace(self.settings, database_password_file=str(self.postgres.password_file))
            self.settings = self.secured.owner(owned)
        self._watch.start()

    def _prepare(self) -> None:
        if self.secured:
            self.secured.open_kafka()
            self._say("Kafka's principals have their rights")
        if self.kafka is None:
            self._say(f"Kafka is awaited on {self.settings.kafka_bootstrap}")
        created = run_clients(apply_topics(self.settings))
        self._say(f"topics are there ({len(created)} new)")
        if self.kafka is not None:
            self._remove_dead_members()
        try:
            migrate(self.settings)
        except SQLAlchemyError as error:
            raise StackError(
                "the tables could not be made or changed in the database of"
                f" {ENV_PREFIX}DATABASE_URL: {str(error).splitlines()[0]}"
            ) from error
        self._say("tables are there")
        if self.secured:
            self.secured.open_database(self.settings)
            self._say("PostgreSQL's roles have their rights")

    def _remove_dead_members(self) -> None:
        """Those that did not leave their group: with the folder locked, none of them lives."""
        groups = [f"{self.settings.topic_prefix}.{name}" for name in GROUPS]
        try:
            removed = run_clients(remove_members(self.settings, groups))
        except KafkaError as error:
            self._say(f"processes that were killed may be waited for, up to 10 s ({error})")
        else:
            if removed:
                self._say(f"Kafka waits no longer for processes that have ended ({removed})")

    def _start_processes(self) -> None:
        for name in PROCESSES:
            self.supervisor.start(self._program(name, f"scantrail.{name}"))
        self.await_ready()
        if self._simulated:
            self.supervisor.start(self._program(SIMULATION, "scantrail.cli", "simulate"))

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(
            name=name,
            command=python_command(*arguments),
            log=self.folder / "logs" / f"{name}.log",
            env=self._settings_of(name).environ(),
        )

    def _settings_of(self, name: str) -> Settings:
        """What the process is told: where it is secured, of secrets only its own."""
        if self.secured is None:
            return self.settings
        if name == SIMULATION:
            return self.secured.floor_settings()
        return self.secured.settings_of(name)

    def _missing(self, name: str) -> str | None:
        """What the process says it still lacks, None when it is ready."""
        port = getattr(self.settings, f"{name}_health_port")
        return missing_at(reachable_host(self.settings.listen_host), port)

    def _tend_embedded(self) -> None:
        """Start Kafka and PostgreSQL again when they ended by themselves; see to it who goes
        first."""
        precedence = Precedence()
        watch = CertificateWatch(self.secured.keyring, self._say) if self.secured else None
        while not self._closing.wait(_LOOK_EVERY_S):
            embedded = (each for each in (self.kafka, self.postgres) if each is not None)
            running = {each.name: each.pid for each in embedded if each.pid is not None}
            precedence.look(self.supervisor.pids() | running)
            if watch is not None:
                watch.look(self.kafka, self.postgres)
            for service in (self.kafka, self.postgres):
                if service is not None and service.lost:
                    self._say(f"{service.name} ended; it is started again ({service.folder})")
                    self._revive(service)

    def _revive(self, service: EmbeddedProcess) -> None:
        while not self._closing.is_set():
            try:
                service.revive()
            except EmbeddedError as error:
                if not self._closing.is_set():
                    self._say(str(error))
                self._closing.wait(_REVIVE_EVERY_S)
            else:
                self._say(f"{service.name} is ready again")
                return


def missing_at(host: str, port: int) -> str | None:
    """What the process whose probes are there says it still lacks, None when it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"an answer on port {port}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else told


class _Start(threading.Thread):
    """The start of one embedded service, beside the other's."""

    def __init__(self, service: EmbeddedProcess, say: Callable[[str], None]) -> None:
        super().__init__(name=f"start {service.name}", daemon=True)
        self.service = service
        self.address = ""
        self.error: BaseException | None = None
        self._say = say
        self.start()

    def run(self) -> None:
        try:
            self.address = self.service.start()
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            self.error = error
        else:
            where = self.address.rsplit("@", 1)[-1].partition("?")[0]
            self._say(f"{self.service.name} is ready on {where}")
