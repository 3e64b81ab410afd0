"""A private installation for each test, on the session's broker and PostgreSQL server."""

import asyncio
import contextlib
import inspect
import secrets
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import create_engine

from scantrail.alerter.app import MIRRORED, run_alerter
from scantrail.api.app import run_api
from scantrail.contracts.records import encode, encode_movement
from scantrail.contracts.topics import Topic, topic_specs
from scantrail.domain.custody import UnitState, observe
from scantrail.domain.scan import Scan, Transaction
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.app import run_gateway
from scantrail.infra.child_processes import free_ports
from scantrail.infra.database import make_tables, migrate, sqlalchemy_url
from scantrail.infra.database_roles import apply_roles
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.health import Health
from scantrail.infra.process import STOP_S_MAX
from scantrail.infra.rights import ROLES, role_of
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of
from scantrail.projector.app import run_projector

T = TypeVar("T")

TEMPLATE = "template_scantrail"
#: Of the roles in the tests' servers, which listen here alone and are gone with the tests.
ROLE_PASSWORD = "test"
HOST = "127.0.0.1"
GTIN = "09506000134352"
#: Scans of tests happened then, unless they say otherwise.
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

_WORK: dict[str, tuple[Callable[[Settings, Health], Awaitable[None]], tuple[str, ...]]] = {
    "gateway": (run_gateway, ("identifiers", "products", "stations")),
    "projector": (run_projector, ("database", "kafka")),
    "alerter": (run_alerter, (*MIRRORED, "kafka")),
    "api": (run_api, ("database", "kafka")),
}


def database_at(address: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(address)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated, empty database that each test's own is copied from."""
    make_template(postgres.address)
    return TEMPLATE


def make_template(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    settings = Settings(database_url=database_at(address, TEMPLATE))
    migrate(settings)
    apply_roles(settings, dict.fromkeys(ROLES, ROLE_PASSWORD))


def with_least_rights(name: str, settings: Settings) -> Settings:
    """A service's own role in PostgreSQL, where it has one: tests find out what it lacks."""
    if name not in ROLES:
        return settings
    url = urlsplit(settings.database_url)
    place = url.netloc.rpartition("@")[2]
    as_role = url._replace(netloc=f"{role_of(name)}:{ROLE_PASSWORD}@{place}")
    return replace(settings, database_url=urlunsplit(as_role))


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """A migrated database of this test alone."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY"
        )
    yield database_at(postgres.address, name)
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def database_of_shape(address: str, shape: str) -> Iterator[str]:
    """The address of a new, empty database of an older shape, on the server at `address`."""
    name = f"old_{secrets.token_hex(4)}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    own = database_at(address, name)
    engine = create_engine(sqlalchemy_url(own))
    with engine.connect() as tables:
        make_tables(tables, shape=shape)
        tables.commit()
    engine.dispose()
    yield own
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def as_role(database_url: str) -> Callable[[str], str]:
    """The URL of the test's database for a service with the rights of its role."""

    def as_role_(name: str) -> str:
        return with_least_rights(name, Settings(database_url=database_url)).database_url

    return as_role_


@pytest.fixture
async def settings(
    kafka: EmbeddedKafka, database_url: str, tmp_path: Path
) -> AsyncIterator[Settings]:
    """An installation of this test alone, its topics applied; nothing runs yet."""
    settings = private_settings(tmp_path, kafka.address, database_url)
    applied = await apply_topics(settings)
    yield settings
    await _delete_topics(kafka.address, applied)


async def _delete_topics(address: str, names: list[str]) -> None:
    """With each topic that stays, whatever tells or counts all of them takes longer."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()


def private_settings(folder: Path, kafka: str, database_url: str = "") -> Settings:
    ports = free_ports(7)
    return Settings(
        kafka_bootstrap=kafka,
        topic_prefix=f"test-{secrets.token_hex(4)}",
        partitions=2,
        database_url=database_url or Settings().database_url,
        data_dir=str(folder / "data"),
        api_port=ports[0],
        gateway_port=ports[1],
        gateway_url=f"http://{HOST}:{ports[1]}",
        gateway_health_port=ports[2],
        tracker_health_port=ports[3],
        projector_health_port=ports[4],
        alerter_health_port=ports[5],
        api_health_port=ports[6],
        tracker_store="memory",
    )


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator["Site"]:
    """The installation, with what a test needs to run, feed and watch it."""
    async with opened(settings) as site:
        yield site


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator["Site"]:
    """A Site for settings of the test's own making, for instance with a broker of its own."""
    with structlog.testing.capture_logs() as logs:
        site = Site(settings, logs)
        try:
            yield site
        finally:
            await site.close()


@pytest.fixture
def own_kafka(tmp_path: Path, stack_cache: Path) -> Iterator[EmbeddedKafka]:
    """A broker of this test alone, which it may kill; it keeps its port."""
    broker = EmbeddedKafka(tmp_path / "kafka", stack_cache)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def port() -> int:
    """A free port, for one reader."""
    return free_ports(1)[0]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test alone, which it may kill."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_site() -> Callable[[Settings], contextlib.AbstractAsyncContextManager["Site"]]:
    return opened


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    return private_settings


@pytest.fixture
async def own_settings(
    kafka: EmbeddedKafka, own_postgres: EmbeddedPostgres, tmp_path: Path
) -> Settings:
    """Of an installation whose PostgreSQL is the test's own; its topics and tables are there."""
    await asyncio.to_thread(make_template, own_postgres.address)
    database = database_at(own_postgres.address, TEMPLATE)
    settings = private_settings(tmp_path, kafka.address, database)
    await apply_topics(settings)
    return settings


def _awaited_by(task: "asyncio.Task[None]") -> list[str]:
    """Where a task stands, the innermost await last: a stack of a task ends at its own frame."""
    found, inner = [], task.get_coro()
    while inner is not None:
        found.append(repr(inner))
        inner = getattr(inner, "cr_await", None)
    return found


class Running:
    """A service as a task of the test's loop."""

    def __init__(self, name: str, settings: Settings) -> None:
        work, lacking = _WORK[name]
        self.name = name
        self.health = Health(*lacking)
        self.task = asyncio.ensure_future(work(with_least_rights(name, settings), self.health))

    @property
    def ready(self) -> bool:
        if self.task.done():
            self.task.result()
            raise AssertionError(f"{self.name} has ended")
        return not self.health.lacking

    async def ends(self, limit_s: float = 20.0) -> BaseException | None:
        """What the service ended with by itself."""
        await asyncio.wait({self.task}, timeout=limit_s)
        assert self.task.done(), f"{self.name} still runs"
        return self.task.exception()

    async def stop(self) -> None:
        """Stop it as a signal does; raises what it ended with before, if it did."""
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=STOP_S_MAX)
        assert self.task.done(), f"{self.name} does not stop: {_awaited_by(self.task)}"
        if not self.task.cancelled():
            self.task.result()


class Log:
    """One topic, read from its beginning by all its partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._records: list[Any] = []

    async def records(self) -> list[Any]:
        """All that is there at this moment; in order for each partition."""
        ends = await self._consumer.end_offsets(self._partitions)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for found in (await self._consumer.getmany(timeout_ms=20)).values():
                self._records += found
        return list(self._records)

    async def until(self, count: int, limit_s: float = 20.0) -> list[Any]:
        """All records, once there are `count`; fails where there are more."""

        async def enough() -> bool:
            return len(await self.records()) >= count

        await until(enough, limit_s)
        assert len(self._records) == count, [record.value for record in self._records]
        return list(self._records)


#: Nobody speaks TLS here, and reading the system's certificates takes longer than most requests.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Site:
    """The test's installation."""

    def __init__(self, settings: Settings, logs: list[Any]) -> None:
        self.settings = settings
        self.logs = logs
        self.http = httpx.AsyncClient(timeout=30, verify=_NO_TLS)
        self._running: list[Running] = []
        self._logs: dict[Topic, Log] = {}
        self._consumers: list[AIOKafkaConsumer] = []
        self._producer: AIOKafkaProducer | None = None
        self._database: psycopg.Connection[Any] | None = None

    # ------------------------------------------------------------------------------- services

    def launch(self, name: str, settings: Settings | None = None) -> Running:
        """Start a service without waiting for it."""
        running = Running(name, settings or self.settings)
        self._running.append(running)
        return running

    async def start(self, name: str, settings: Settings | None = None) -> Running:
        """Start a service; returns once it is ready, and its HTTP port answers."""
        settings = settings or self.settings
        running = self.launch(name, settings)
        await until(lambda: running.ready, 30.0)
        ports = {"gateway": settings.gateway_port, "api": settings.api_port}
        if name in ports:
            await until(lambda: _answers(ports[name]))
        return running

    async def stop(self, running: Running) -> None:
        self._running.remove(running)
        await running.stop()

    def forget(self, running: Running) -> None:
        """It ended, as it should: its end is not an error of the test."""
        assert running.task.done()
        self._running.remove(running)

    async def close(self) -> None:
        """Stop all; raises what a service ended with by itself. Closing twice does no harm."""
        await self.http.aclose()
        if self._database is not None:
            self._database.close()
        try:
            while self._running:
                await self._running.pop().stop()
        finally:
            await self.close_clients()

    async def close_clients(self) -> None:
        """Leave Kafka; what is asked next connects anew."""
        while self._consumers:
            await self._consumers.pop().stop()
        self._logs.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    def readers(self, *tables: str) -> None:
        """Write the gateway's readers' file."""
        path = Path(self.settings.data_dir).with_name("readers.toml")
        path.write_text("\n".join(f"[[reader]]\n{table}" for table in tables))
        self.settings = replace(self.settings, readers_file=str(path))

    def leave_gateways_disk(self) -> Path:
        """The disk as a gateway left it that knew station dock-1, no product and no link."""
        folder = Path(self.settings.data_dir) / "gateway"
        folder.mkdir(parents=True)
        (folder / "stations.json").write_bytes(encode({"dock-1": self.station()}))
        (folder / "products.json").write_bytes(b"{}")
        with sqlite3.connect(folder / "identifiers.db") as db:
            db.execute("PRAGMA user_version = 1")
        return folder

    async def until_logged(self, event: str, count: int = 1) -> None:
        await self.until(lambda: [log["event"] for log in self.logs].count(event) >= count)

    # ----------------------------------------------------------------------------------- kafka

    async def publish(
        self,
        topic: Topic,
        key: str,
        value: bytes | None,
        *,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> Any:
        """Send one record; returns once it can be read."""
        producer = await self._started_producer()
        return await producer.send_and_wait(
            name_of(self.settings, topic), value, key.encode(), partition, headers=headers
        )

    async def publish_all(self, topic: Topic, records: list[tuple[str, bytes]]) -> None:
        """Send records, in their order for each key; returns once all can be read."""
        producer, name = await self._started_producer(), name_of(self.settings, topic)
        sent = [await producer.send(name, value, key.encode()) for key, value in records]
        await asyncio.gather(*sent)

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.settings.kafka_bootstrap, acks="all"
            )
            await self._producer.start()
        return self._producer

    async def log(self, topic: Topic) -> Log:
        if topic not in self._logs:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.settings.kafka_bootstrap,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
            )
            await consumer.start()
            self._consumers.append(consumer)
            counts = {spec.topic: spec.partitions for spec in topic_specs()}
            partitions = [
                TopicPartition(name_of(self.settings, topic), number)
                for number in range(counts[topic] or self.settings.partitions)
            ]
            consumer.assign(partitions)
            self._logs[topic] = Log(consumer, partitions)
        return self._logs[topic]

    async def put_station(self, station: Station) -> None:
        await self.publish(Topic.STATIONS, station.id, encode(station))

    async def put_movement(self, movement: bytes, key: str, partition: int | None = None) -> None:
        await self.publish(Topic.MOVEMENTS, key, movement, partition=partition)

    # ---------------------------------------------------------------------------------- people

    async def read(self, reader: str, body: Any) -> httpx.Response:
        """POST a body to the gateway: bytes, or what becomes JSON."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await self.http.post(
            f"{self.settings.gateway_url}/ingest/v1/generic", params={"reader": reader}, **content
        )

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the api."""
        return await self.http.request(
            method, f"http://{HOST}:{self.settings.api_port}{path}", **more
        )

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection().execute(query, parameters).fetchall()
        except psycopg.OperationalError:
            if self._database is None or not self._database.closed:
                raise
            return self._connection().execute(query, parameters).fetchall()  # the server was killed

    def execute(self, statement: str, *parameters: Any) -> None:
        """Fails where what runs in this loop holds a lock that the statement wants: it would wait
        for ever."""
        connection = self._connection()
        connection.execute("SET lock_timeout = '20s'")
        connection.execute(statement, parameters)

    def _connection(self) -> "psycopg.Connection[Any]":
        """One for the whole test: PostgreSQL takes milliseconds to make one."""
        if self._database is None or self._database.closed:
            self._database = psycopg.connect(
                self.settings.database_url, autocommit=True, prepare_threshold=None
            )
        return self._database

    # ---------------------------------------------------------------------------------- things

    async def until(self, told: Callable[[], Any], limit_s: float = 20.0) -> Any:
        """As until(), and fails at once where a service has ended by itself."""

        async def watched() -> Any:
            for running in self._running:
                if running.task.done() and (error := running.task.exception()) is not None:
                    raise error
            found = told()
            return await found if inspect.isawaitable(found) else found

        return await until(watched, limit_s)

    @staticmethod
    def unit(serial: str) -> str:
        return f"sgtin:{GTIN}.{serial}"

    @staticmethod
    def barcode(serial: str) -> str:
        return f"01{GTIN}21{serial}"

    @staticmethod
    def station(station_id: str = "dock-1", **more: Any) -> Station:
        fields = {
            "id": station_id,
            "site": "north",
            "business_step": BusinessStep.RECEIVING,
            "read_point": f"{station_id}.antenna",
            "business_location": "Hall A",
            "possessing_party": "acme",
        }
        return Station(**(fields | more))

    @staticmethod
    def scan(serial: str, minute: float = 0, **more: Any) -> Scan:
        order = more.pop("order", None)
        at = NOON + timedelta(minutes=minute)
        fields = {
            "event_id": f"{serial}-{minute}",
            "unit": Site.unit(serial),
            "event_time": at,
            "record_time": at,
            "reader": "reader-1",
            "sequence": 1,
            "station": "dock-1",
            "site": "north",
            "read_point": "dock-1.antenna",
            "business_step": BusinessStep.RECEIVING,
            "business_location": "Hall A",
            "possessing_party": "acme",
            "transactions": (Transaction(type="order", id=order),) if order else (),
        }
        return Scan(**(fields | more))

    @staticmethod
    def movements(*scans: Scan) -> list[bytes]:
        """What the tracker publishes for these scans of one unit, in the order they arrive."""
        state: UnitState | None = None
        made = []
        for offset, scan in enumerate(scans):
            before = state.current if state else None
            seen = observe(state, scan, offset=offset)
            assert seen.accepted
            made.append(encode_movement(scan, before, seen))
            state = seen.state
        return made


async def until(told: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """The first true thing that `told` tells, looked for until `limit_s` have passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while True:
        found = told()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert loop.time() < deadline, f"not within {limit_s} s"
        await asyncio.sleep(0.02)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
