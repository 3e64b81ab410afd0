"""Two of each process, three brokers and PostgreSQL: all can be killed, paused and cut off."""

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.brokers import Cluster
from faults.links import HOST, Link, Network
from faults.mutants import MUTANTS
from scantrail.cli.addresses import private_settings
from scantrail.cli.stack import missing_at
from scantrail.cli.supervisor import Program, Supervisor, python_command
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.child_processes import free_ports
from scantrail.infra.database import migrate
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

TESTS = Path(__file__).parents[1]
READY_S_MAX = 90.0
#: Asked to end, a process is out by then.
STOPPED_S_MAX = 30.0

PROCESSES = ("api", "gateway", "tracker", "alerter", "projector")
INSTANCES = tuple(f"{name}-{number}" for name in PROCESSES for number in (1, 2))

#: A unit's life: where it is scanned, and as what.
PATH = {
    "dock": BusinessStep.RECEIVING,
    "shelf": BusinessStep.STORING,
    "pick": BusinessStep.PICKING,
    "gate": BusinessStep.SHIPPING,
}

#: Where what bears the serial of a unit that has left leaves as well.
TWICE = "door"
#: Where readers' clocks are wrong: a step that contradicts none, before them or behind.
CLOCKED = "scale"
STATIONS = {**PATH, TWICE: BusinessStep.SHIPPING, CLOCKED: BusinessStep.INSPECTING}


class Installation:
    """`mutant`: one of MUTANTS, whose process errs."""

    def __init__(self, folder: Path, cache: Path, *, mutant: str | None = None) -> None:
        self.folder = folder
        self._network = Network()
        self._cache = cache
        self._mutant = mutant
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append, first_delay_s=0.2, longest_delay_s=2.0)
        self.settings: dict[str, Settings] = {}
        #: By process, how often we killed it, and how often those ended whose place was taken.
        self._killed, self._ended = Counter[str](), Counter[str]()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self.settings:
            self.resume(name)
        self.supervisor.stop_all(("gateway-1", "gateway-2"), 15.0)
        if hasattr(self, "postgres"):
            self.postgres.kill()
        if hasattr(self, "cluster"):
            self.cluster.kill()
        self._network.__exit__()

    def _start(self) -> None:
        self._network.__enter__()
        self.cluster = Cluster(self.folder, self._cache, self._network)
        self.cluster.start()
        self.postgres = EmbeddedPostgres(self.folder / "postgres")
        address = self.postgres.start()
        (port,) = free_ports(1)
        where = address.rpartition("@")[2].partition("/")[0]
        self.database: Link = self._network.link(port, int(where.rpartition(":")[2]))
        base = Settings(
            kafka_bootstrap=self.cluster.bootstrap("others"),
            topic_prefix=f"faults-{secrets.token_hex(3)}",
            partitions=4,
            replication=3,
            database_url=address,
            tracker_fence="on",
            log_level="warning",
        )
        #: As the checker sees it: past every link but those of clients that are never cut off.
        self.base = replace(base, data_dir=str(self.folder / "checker"))
        asyncio.run(apply_topics(self.base))
        migrate(self.base)
        for name in INSTANCES:
            self.settings[name] = self._settings_of(
                name, base, address.replace(where, f"{HOST}:{port}")
            )
        for number in (1, 2):
            gateway_url = self.settings[f"gateway-{number}"].gateway_url
            api = f"api-{number}"
            self.settings[api] = replace(self.settings[api], gateway_url=gateway_url)
        for name in INSTANCES:
            self.supervisor.start(self._program(name))
        self.await_ready(*INSTANCES)

    def _settings_of(self, name: str, base: Settings, database_url: str) -> Settings:
        process, _, number = name.partition("-")
        client = process if process in ("gateway", "tracker") else "others"
        folder = self.folder / name
        folder.mkdir()
        readers = folder / "readers.toml"
        readers.write_text(
            "\n".join(
                f'[[reader]]\nid = "{station}-{number}"\nstation = "{station}"\n'
                'protocol = "http-generic"\n'
                for station in STATIONS
            )
            if process == "gateway"
            else ""
        )
        return replace(
            private_settings(folder / "data", base),
            kafka_bootstrap=self.cluster.bootstrap(client),
            database_url=database_url,
            readers_file=str(readers),
            tracker_ordinal=int(number) - 1,
        )

    def replace(self, name: str, release: str | None) -> None:
        """Let it end as an operator would, and start it as of one of RELEASES, or None: of this."""
        self.supervisor.stop(name, STOPPED_S_MAX)
        self._ended[name] += self.supervisor.ends(name)
        self.supervisor.start(self._program(name, release))
        self.await_ready(name)

    def _program(self, name: str, release: str | None = None) -> Program:
        process = name.partition("-")[0]
        command = python_command(f"scantrail.{process}")
        environ: Mapping[str, str] = self.settings[name].environ()
        if release is not None:
            command = python_command("faults.releases", release, process)
        elif self._mutant is not None and MUTANTS[self._mutant].process == process:
            command = python_command("faults.mutants", self._mutant, process)
        if release is not None or self._mutant is not None:
            path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
            environ = {**environ, "PYTHONPATH": path}
        log = self.folder / "logs" / f"{name}.log"
        return Program(name=name, command=command, log=log, env=environ)

    def pid(self, name: str) -> int:
        """Of a process that must run."""
        pid = self.supervisor.pid(name)
        assert pid is not None, f"{name} does not run: {self.supervisor.log(name)}"
        return pid

    def kill(self, name: str) -> None:
        """As a crash: it is started again at once."""
        if self.supervisor.pid(name) is not None:
            self._killed[name] += 1
        self.supervisor.kill(name)

    def ended(self) -> Counter[str]:
        """How often each process ended that nobody told to, and nobody killed."""
        ends = {name: self._ended[name] + self.supervisor.ends(name) for name in INSTANCES}
        return Counter(ends) - self._killed

    def pause(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        if (pid := self.supervisor.pid(name)) is not None:
            os.kill(pid, signal.SIGCONT)

    def of(self, process: str) -> list[str]:
        """The instances of a process."""
        return [name for name in INSTANCES if name.startswith(f"{process}-")]

    def await_ready(self, *names: str) -> None:
        """Raises AssertionError where one is not ready in time."""
        deadline = time.monotonic() + READY_S_MAX
        for name in names:
            port = getattr(self.settings[name], f"{name.partition('-')[0]}_health_port")
            while (told := missing_at(HOST, port)) is not None:
                log = self.supervisor.log(name)
                assert time.monotonic() < deadline, f"{name} is not ready ({told}): {log}"
                time.sleep(0.1)
