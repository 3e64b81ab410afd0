"""Readers over MQTT with a real broker, a real Kafka and a real disk."""

import asyncio
import gc
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from integration.mosquitto import HOST, Mosquitto, Secrets, publishing
from integration.processes import started
from scantrail.contracts.records import decode_scan, rejected_reads
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import content_digest
from scantrail.infra.child_processes import free_ports
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.failpoints import FAILPOINT
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

if TYPE_CHECKING:
    from integration.conftest import Site

TOPIC = "readers/portal/tags"
STATUS = "readers/portal/status"
CONNECTED = "reader's broker connected"
AWAY = "reader's broker is away"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    yield broker
    broker.close()


@pytest.fixture
def site(site: "Site") -> "Site":
    """One that waits for Kafka: where it is slow, no record takes the way over the disk as well."""
    site.settings = replace(site.settings, ack_limit_s=20.0)
    return site


def over_mqtt(broker: Mosquitto, *more: str, protocol: str = "mqtt-impinj") -> str:
    lines = [
        'id = "portal"',
        'station = "dock-1"',
        f'protocol = "{protocol}"',
        f'address = "{HOST}:{broker.port}"',
        f'topic = "{TOPIC}"',
        *more,
    ]
    return "\n".join(lines)


def impinj(serial: int) -> bytes:
    at = datetime.now(UTC) - timedelta(minutes=1) + timedelta(microseconds=serial)
    seen = {"epcHex": f"E2{serial:022X}", "lastSeenTime": at.isoformat().replace("+00:00", "Z")}
    return json.dumps([{"eventType": "tagInventory", "tagInventoryEvent": seen}]).encode()


def zebra(serial: int) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
    return json.dumps({"data": {"idHex": f"e2{serial:022x}"}, "timestamp": at}).encode()


def generic(serial: int) -> bytes:
    at = datetime.now(UTC).isoformat()
    return json.dumps({"epc": f"E2{serial:022X}", "timestamp": at}).encode()


def serials(records: list[Any]) -> list[int]:
    return [int(record.key.removeprefix(b"epc:E2"), 16) for record in records]


def up() -> float | None:
    return REGISTRY.get_sample_value("scantrail_reader_up", {"reader": "portal"})


# -------------------------------------------------------------------------- from reader to record


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("event", [impinj, zebra, generic])
async def test_what_is_published_becomes_records_also_while_gateway_or_broker_were_away(
    site: "Site", broker: Mosquitto, version: str, event: Callable[[int], bytes]
) -> None:
    protocol = f"mqtt-{event.__name__}"
    site.readers(over_mqtt(broker, f'mqtt_version = "{version}"', protocol=protocol))
    await site.put_station(site.station())
    running = await site.start("gateway")
    await site.until_logged(CONNECTED)
    scans = await site.log(Topic.SCANS)
    with publishing(broker) as reader:
        reader.publish(TOPIC, event(1))
        await scans.until(1)
        await site.until(lambda: "Received PUBACK from scantrail-portal" in broker.log)
        await site.stop(running)
        for serial in range(2, 50):
            reader.publish(TOPIC, event(serial))
        reader.publish(TOPIC, b"{]")
    broker.stop()
    running = await site.start("gateway")
    await site.until_logged(AWAY)
    assert running.health.lacking == []
    broker.start()
    records = await scans.until(49)
    found = [decode_scan(record.key, record.value) for record in records]
    assert sorted(serials(records)) == list(range(1, 50))
    assert {(scan.reader, scan.station) for scan in found} == {("portal", "dock-1")}
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    assert rejected_reads.decode(record.value).reason == "bad_json"
    await site.until(lambda: broker.log.count("Received PUBACK from scantrail-portal") == 50)


async def test_many_messages_keep_their_order(site: "Site", broker: Mosquitto) -> None:
    site.readers(over_mqtt(broker))
    await site.put_station(site.station())
    await site.start("gateway")
    await site.until_logged(CONNECTED)
    with publishing(broker) as reader:
        for serial in range(500):
            reader.publish(TOPIC, impinj(serial))
    records = await (await site.log(Topic.SCANS)).until(500)
    for partition in {record.partition for record in records}:
        those = serials([record for record in records if record.partition == partition])
        assert those == sorted(those)


# -------------------------------------------------------------------------------------- kill -9


@pytest.mark.parametrize("event", [impinj, generic])
async def test_a_gateway_that_is_killed_before_a_read_is_durable_is_sent_it_again(
    site: "Site", broker: Mosquitto, tmp_path: Path, event: Callable[[int], bytes]
) -> None:
    """And nothing that was durable before comes twice."""
    site.readers(over_mqtt(broker, protocol=f"mqtt-{event.__name__}"))
    await site.put_station(site.station())
    scans = await site.log(Topic.SCANS)
    dying = {FAILPOINT: "mqtt_arrived:2"}
    with (
        started(site.settings, tmp_path, "gateway", environ=dying) as (gateway,),
        publishing(broker) as reader,
    ):
        gateway.await_ready()
        await site.until(lambda: "Sending SUBACK to scantrail-portal" in broker.log)
        reader.publish(TOPIC, event(1))
        await scans.until(1)
        await site.until(lambda: "Received PUBACK from scantrail-portal" in broker.log)
        reader.publish(TOPIC, event(2))
        assert gateway.status_within(10.0) == -signal.SIGKILL
        assert len(await scans.records()) == 1
    await site.start("gateway")
    records = await scans.until(2)
    assert serials(records) == [1, 2]
    assert "Sending PUBLISH to scantrail-portal (d1, q1" in broker.log
    await site.until(lambda: broker.log.count("Received PUBACK from scantrail-portal") == 2)
    assert len(await scans.records()) == 2


@pytest.mark.parametrize("event", [impinj, zebra, generic])
async def test_a_gateway_that_is_killed_before_it_acknowledges_makes_the_same_event_again(
    site: "Site", broker: Mosquitto, tmp_path: Path, event: Callable[[int], bytes]
) -> None:
    """The tracker counts an event once, however often it comes."""
    site.readers(over_mqtt(broker, protocol=f"mqtt-{event.__name__}"))
    await site.put_station(site.station())
    scans = await site.log(Topic.SCANS)
    dying = {FAILPOINT: "mqtt_durable"}
    with (
        started(site.settings, tmp_path, "gateway", environ=dying) as (gateway,),
        publishing(broker) as reader,
    ):
        gateway.await_ready()
        await site.until(lambda: "Sending SUBACK to scantrail-portal" in broker.log)
        reader.publish(TOPIC, event(1))
        assert gateway.status_within(10.0) == -signal.SIGKILL
        await site.start("gateway")  # the same folder: what was on disk goes to Kafka
        await site.until(lambda: "Received PUBACK from scantrail-portal" in broker.log)
    first, again = await scans.until(2)
    claims = [decode_scan(record.key, record.value) for record in (first, again)]
    assert claims[0].event_id == claims[1].event_id
    assert content_digest(claims[0]) == content_digest(claims[1])


# ------------------------------------------------------------------------------------ no more room


async def test_a_full_spool_acknowledges_nothing_and_what_was_refused_comes_again(
    broker: Mosquitto, tmp_path: Path, stack_cache: Path, make_settings: Any, open_site: Any
) -> None:
    port = free_ports(1)[0]
    settings: Settings = replace(
        make_settings(tmp_path, f"{HOST}:{port}"), spool_bytes_max=3_000, partitions=1
    )
    kafka = EmbeddedKafka(tmp_path / "kafka", stack_cache, port=port)
    async with open_site(settings) as site:
        site.readers(over_mqtt(broker))
        site.leave_gateways_disk()
        running = site.launch("gateway")
        await site.until_logged(CONNECTED)
        with publishing(broker) as reader:
            for serial in range(20):
                reader.publish(TOPIC, impinj(serial))
        await site.until_logged("read refused", count=2)
        taken = broker.log.count("Received PUBACK from scantrail-portal")
        assert 0 < taken < 20
        assert any("room for reads" in lacking for lacking in running.health.lacking)
        await asyncio.to_thread(kafka.start)
        try:
            await apply_topics(settings)
            records = await (await site.log(Topic.SCANS)).until(20, limit_s=60.0)
            assert serials(records) == list(range(20))
            log = "Received PUBACK from scantrail-portal"
            await site.until(lambda: broker.log.count(log) == 20)
        finally:
            await site.close()
            kafka.kill()


# ------------------------------------------------------------------------------------- the will


async def test_a_readers_will_says_that_it_is_away(site: "Site", broker: Mosquitto) -> None:
    site.readers(over_mqtt(broker, f'status_topic = "{STATUS}"'))
    await site.put_station(site.station())
    running = await site.start("gateway")
    await site.until(lambda: up() == 1)
    will = {"topic": STATUS, "payload": b"offline", "qos": 1, "retain": True}
    with publishing(broker, **will) as reader:
        reader.publish(STATUS, b"online", retain=True)
        reader.publish(TOPIC, impinj(1))
        await (await site.log(Topic.SCANS)).until(1)
        assert up() == 1
        reader.vanish()
        await site.until(lambda: up() == 0)
    await site.stop(running)
    await site.start("gateway")  # it is told what the broker keeps
    await site.until_logged(CONNECTED, count=2)
    await site.until_logged("reader is offline", count=2)
    with publishing(broker, **will) as reader:
        reader.publish(STATUS, b"online", retain=True)
        await site.until(lambda: up() == 1)
    assert [log["event"] for log in site.logs].count("reader is back") == 1


# ----------------------------------------------------------------------------- several, and secrets


async def test_gateways_of_one_group_share_the_messages(
    site: "Site", broker: Mosquitto, tmp_path: Path
) -> None:
    await site.put_station(site.station())
    for number, (port, health_port) in enumerate(zip(*[iter(free_ports(4))] * 2, strict=True)):
        folder = tmp_path / f"gateway-{number}"
        folder.mkdir()
        site.settings = replace(site.settings, data_dir=str(folder / "data"))
        site.readers(over_mqtt(broker, f'client_id = "gateway-{number}"', 'shared = "scantrail"'))
        own = replace(
            site.settings,
            gateway_port=port,
            gateway_health_port=health_port,
        )
        await site.start("gateway", own)
    await site.until_logged(CONNECTED, count=2)
    with publishing(broker) as reader:
        for serial in range(40):
            reader.publish(TOPIC, impinj(serial))
    records = await (await site.log(Topic.SCANS)).until(40)
    assert sorted(serials(records)) == list(range(40))
    for number in (0, 1):
        assert f"Received PUBACK from gateway-{number}" in broker.log


# paho-mqtt leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
async def test_with_tls_and_a_password_that_is_wrong_at_first(
    site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "secure"
    folder.mkdir()
    _make_certificate(folder)
    passwords = folder / "passwords"
    passwords.touch(mode=0o600)
    _run("mosquitto_passwd", "-b", str(passwords), "scantrail", "secret")
    broker = Mosquitto(
        folder,
        f"certfile {folder}/broker.pem",
        f"keyfile {folder}/broker.key",
        "allow_anonymous false",
        f"password_file {passwords}",
    )
    broker.start()
    try:
        more = ['username = "scantrail"', 'password_env = "PORTAL_PASSWORD"', "tls = true"]
        trusted = f'ca_file = "{folder}/broker.pem"'
        await site.put_station(site.station())
        for password, lines, told in (
            ("wrong", [*more, trusted], "the broker refuses the gateway: Not authorized"),
            ("secret", more, "certificate verify failed"),
            ("secret", [*more, trusted], None),
        ):
            site.logs.clear()
            monkeypatch.setenv("PORTAL_PASSWORD", password)
            site.readers(over_mqtt(broker, *lines))
            running = await site.start("gateway")
            if told is None:
                await site.until_logged(CONNECTED)
                secrets = Secrets("scantrail", "secret", f"{folder}/broker.pem")
                with publishing(broker, secrets=secrets) as reader:
                    for serial in range(100):
                        reader.publish(TOPIC, impinj(serial))
                await (await site.log(Topic.SCANS)).until(100)
            else:
                await site.until_logged(AWAY)
                (reason,) = [log["reason"] for log in site.logs if log["event"] == AWAY]
                assert told in reason
                assert "wrong" not in str(site.logs)
                await site.stop(running)
                gc.collect()
    finally:
        broker.close()


def test_a_gateway_without_its_password_says_so_and_does_not_start(
    settings: Settings, tmp_path: Path, broker: Mosquitto
) -> None:
    file = tmp_path / "readers.toml"
    file.write_text(
        "[[reader]]\n" + over_mqtt(broker, 'username = "u"', 'password_env = "NOT_SET_HERE"')
    )
    with started(replace(settings, readers_file=str(file)), tmp_path, "gateway") as (gateway,):
        assert gateway.status_within(20.0) == 1
        assert gateway.log.strip().splitlines()[-1] == (
            f"scantrail gateway: {file}:8: reader 'portal': password_env: the environment variable"
            " NOT_SET_HERE is not set: put the password in"
        )


def _make_certificate(folder: Path) -> None:
    """One for HOST, signed by itself."""
    names = ["-subj", "/CN=broker", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-keyout", f"{folder}/broker.key", "-out", f"{folder}/broker.pem"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _run("openssl", "req", "-x509", *kind, *names, *files)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
