"""The gateway with real sockets, a real Kafka and a real disk."""

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import REGISTRY

from scantrail.contracts.records import decode_scan, encode, rejected_reads
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import content_digest
from scantrail.gateway.outlet import ROOM, Outlet
from scantrail.gateway.spool import Outgoing, Spool, SpoolFull
from scantrail.infra.child_processes import free_ports
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.health import Health
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
ACK = b"\x06"
PROBLEM = "application/problem+json"
LIVE = "live: Kafka takes the reads"


class Scanner:
    """A text reader's end of a connection."""

    def __init__(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream, self._writer = stream, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def told(self, count: int, limit_s: float = 10.0) -> bytes:
        """The next `count` bytes; what came before the connection's end, if it ends."""
        try:
            return await asyncio.wait_for(self._stream.readexactly(count), limit_s)
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[int], Any]]:
    scanners: list[Scanner] = []

    async def connected(port: int) -> Scanner:
        scanners.append(Scanner(*await asyncio.open_connection(HOST, port)))
        return scanners[-1]

    yield connected
    for scanner in scanners:
        await scanner.close()


def listening(port: int, *more: str) -> str:
    return "\n".join(
        [
            'id = "scanner"',
            'station = "dock-1"',
            'protocol = "tcp"',
            'mode = "listen"',
            f'address = "{HOST}:{port}"',
            'ack = "\\u0006"',
            *more,
        ]
    )


def over_http(reader: str, station: str = "dock-1", *more: str) -> str:
    lines = [f'id = "{reader}"', f'station = "{station}"', 'protocol = "http-generic"', *more]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------ TCP


async def test_a_frame_becomes_a_record_with_key_value_and_headers(
    site: "Site", port: int, connect: Any
) -> None:
    site.readers(listening(port))
    await site.put_station(site.station(repeat_window_s=10.0, disposition="in_progress"))
    await site.start("gateway")
    scanner = await connect(port)
    before = datetime.now(UTC)
    await scanner.send(site.barcode("A-1").encode() + b"\r\n")
    assert await scanner.told(1) == ACK
    (record,) = await (await site.log(Topic.SCANS)).until(1)
    scan = decode_scan(record.key, record.value)
    assert record.key == site.unit("A-1").encode()
    assert scan.event_id.startswith("scanner/")
    assert before <= scan.event_time == scan.record_time <= datetime.now(UTC)
    assert (scan.reader, scan.station, scan.site, scan.read_point, scan.business_step) == (
        "scanner",
        "dock-1",
        "north",
        "dock-1.antenna",
        "receiving",
    )
    assert (scan.business_location, scan.disposition, scan.possessing_party) == (
        "Hall A",
        "in_progress",
        "acme",
    )
    assert (scan.repeat_window_s, scan.read) == (10.0, site.barcode("A-1"))
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": scan.event_id.encode(),
        "ce_source": f"/{site.settings.topic_prefix}/gateway/scanner".encode(),
        "ce_type": b"scantrail.scan.v1",
        "ce_subject": record.key,
        "ce_time": scan.event_time.isoformat().encode(),
        "content-type": b"application/json",
    }


async def test_the_acknowledgement_comes_after_the_record(
    site: "Site", kafka: EmbeddedKafka, port: int, connect: Any
) -> None:
    """The broker stands still for a moment: nothing is acknowledged meanwhile."""
    site.settings = replace(site.settings, ack_limit_s=20.0)
    site.readers(listening(port))
    await site.put_station(site.station())
    scans = await site.log(Topic.SCANS)
    await site.start("gateway")
    await site.until_logged(LIVE)
    scanner = await connect(port)
    pid = kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await scanner.send(site.barcode("1").encode() + b"\r\n")
        with pytest.raises(TimeoutError):
            await scanner.told(1, limit_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await scanner.told(1) == ACK
    assert len(await scans.records()) == 1


async def test_segments_and_several_frames_are_acknowledged_one_by_one(
    site: "Site", port: int, connect: Any
) -> None:
    site.readers(listening(port))
    await site.put_station(site.station())
    await site.start("gateway")
    scanner = await connect(port)
    frames = b"".join(site.barcode(f"{n}").encode() + b"\r\n" for n in range(5))
    await scanner.send(frames[:70])
    await scanner.send(frames[70:] + b"NoRead\r\n\r\n")
    assert await scanner.told(5) == ACK * 5
    records = await (await site.log(Topic.SCANS)).until(5)
    scans = [decode_scan(record.key, record.value) for record in records]
    in_order = sorted(scans, key=lambda scan: scan.sequence)
    assert [scan.unit for scan in in_order] == [site.unit(f"{n}") for n in range(5)]


async def test_the_gateway_connects_to_a_reader_that_listens_and_again_when_it_was_away(
    site: "Site", port: int
) -> None:
    site.readers(listening(port).replace('"listen"', '"connect"'))
    await site.put_station(site.station())
    await site.start("gateway")
    scans = await site.log(Topic.SCANS)
    for turn in (1, 2):
        connected: asyncio.Queue[Scanner] = asyncio.Queue()

        async def accept(
            stream: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            connected: asyncio.Queue[Scanner] = connected,
        ) -> None:
            await connected.put(Scanner(stream, writer))

        server = await asyncio.start_server(accept, HOST, port)
        scanner = await asyncio.wait_for(connected.get(), 10)
        await scanner.send(site.barcode(f"{turn}").encode() + b"\r\n")
        assert await scanner.told(1) == ACK
        await scanner.close()
        server.close()
        await server.wait_closed()
        await scans.until(turn)


async def test_a_connection_that_ends_within_a_frame_makes_no_scan_then_nor_by_replay(
    site: "Site", port: int, connect: Any
) -> None:
    site.readers(listening(port))
    await site.put_station(site.station())
    await site.start("gateway")
    scanner = await connect(port)
    await scanner.send(site.barcode("1").encode() + b"\r\n" + site.barcode("12345")[:-3].encode())
    assert await scanner.told(1) == ACK
    await scanner.close()
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    read = rejected_reads.decode(record.value)
    assert (read.reason, read.read) == ("unfinished_frame", site.barcode("12"))
    assert (record.key, read.station) == (b"scanner", "dock-1")
    answer = await replay(site, [record.value])
    assert answer.json()["accepted"] == 0
    await (await site.log(Topic.SCANS)).until(1)


async def test_a_silent_connection_is_ended(site: "Site", port: int, connect: Any) -> None:
    site.readers(listening(port, "silence_s = 0.2"))
    await site.put_station(site.station())
    await site.start("gateway")
    scanner = await connect(port)
    await scanner.send(b"half a code")
    assert await scanner.told(2) == ACK  # it is set aside, and the connection ended
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    read = rejected_reads.decode(record.value)
    assert (read.reason, read.read) == ("unfinished_frame", "half a code")


async def test_what_came_before_a_connection_was_lost_is_kept(site: "Site", port: int) -> None:
    site.readers(listening(port))
    await site.put_station(site.station())
    await site.start("gateway")
    with socket.create_connection((HOST, port)) as scanner:
        await site.until_logged("reader connected")
        linger = struct.pack("ii", 1, 0)  # closed by RST, as when its program is ended
        scanner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        scanner.sendall(site.barcode("1").encode() + b"\r\nhalf a code")
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    assert rejected_reads.decode(record.value).read == "half a code"
    await (await site.log(Topic.SCANS)).until(1)


async def test_a_gateway_stops_while_a_scanner_stays_connected(
    site: "Site", port: int, connect: Any
) -> None:
    site.readers(listening(port))
    await site.put_station(site.station())
    running = await site.start("gateway")
    scanner = await connect(port)
    await site.until_logged("reader connected")
    await asyncio.wait_for(site.stop(running), 10.0)
    assert await scanner.told(1) == b""


async def test_a_tag_is_judged_as_a_tag_whatever_its_digits_look_like(site: "Site") -> None:
    """As barcodes these would be an SSCC, an IMEI, and a serial of the reader's product."""
    site.readers(over_http("handheld", "dock-1", 'product = "09506000134352"'))
    await site.put_station(site.station())
    await site.start("gateway")
    tags = ["000000000000000000002001", "000000000000000000002099", "E28011606000", "00000000"]
    answer = await site.read("handheld", [{"epc": tag} for tag in [*tags, "3014257071940400"]])
    told = answer.json()
    assert told["accepted"] == 3
    assert [(each["index"], each["reason"]) for each in told["rejected"]] == [
        (3, "not_a_unit"),
        (4, "incomplete"),
    ]
    records = await (await site.log(Topic.SCANS)).until(3)
    assert {record.key.decode() for record in records} == {f"epc:{tag}" for tag in tags[:3]}


async def test_a_gateway_without_room_is_not_ready_until_there_is_room_again(
    tmp_path: Path, make_settings: Any
) -> None:
    settings = make_settings(tmp_path, f"{HOST}:{free_ports(1)[0]}")
    health = Health()
    spool = Spool(tmp_path / "spool.db", bytes_max=100)
    outlet = Outlet(settings, spool, health)
    await outlet.keep([Outgoing("t", b"k", b"v" * 40, [])])
    assert health.lacking == []
    with pytest.raises(SpoolFull):
        await outlet.keep([Outgoing("t", b"k", b"v" * 80, [])])
    assert health.lacking == [ROOM]
    await outlet.keep([Outgoing("t", b"k", b"v", [])])
    assert health.lacking == []
    await outlet.stop()
    await spool.close()


async def test_a_taken_address_keeps_the_gateway_unready_and_the_other_readers_going(
    site: "Site", port: int, connect: Any
) -> None:
    site.readers(listening(port), over_http("handheld"))
    await site.put_station(site.station())
    with socket.create_server((HOST, port)):
        running = site.launch("gateway")
        lacking = ["address of reader scanner"]
        await site.until(lambda: running.health.lacking == lacking)
        await site.until_logged(LIVE)
        answer = await site.read("handheld", {"code": site.barcode("1")})
        assert answer.json() == {"accepted": 1, "rejected": []}
    await site.until(lambda: running.ready)
    scanner = await site.until(lambda: attempt(connect(port)))
    await scanner.send(site.barcode("2").encode() + b"\r\n")
    assert await scanner.told(1) == ACK


async def attempt(connecting: Any) -> Any:
    try:
        return await connecting
    except OSError:
        return None


# ----------------------------------------------------------------------------------------- HTTP


async def test_over_http_each_item_is_accepted_or_refused_with_its_reason(site: "Site") -> None:
    site.readers(over_http("handheld"))
    await site.put_station(site.station())
    await site.start("gateway")
    body = {
        "reads": [
            {"code": site.barcode("1"), "order": "SO-1", "timestamp": "2026-03-01T12:00:00+01:00"},
            {"code": "AB-77"},
            {"isHeartBeat": True},
            {"code": 7},
            {"epc": "zz"},
            {"code": site.barcode("2"), "event_id": "9"},
        ]
    }
    answer = await site.read("handheld", body)
    assert answer.status_code == 200
    told = answer.json()
    assert told["accepted"] == 1
    assert [(each["index"], each["reason"]) for each in told["rejected"]] == [
        (1, "unidentified_serial"),
        (3, "bad_code"),
        (4, "bad_code"),
        (5, "no_event_time"),
    ]
    assert "give `timestamp`" in told["rejected"][3]["detail"]
    (record,) = await (await site.log(Topic.SCANS)).until(1)
    scan = decode_scan(record.key, record.value)
    assert scan.event_time == datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
    assert [(each.type, each.id) for each in scan.transactions] == [("order", "SO-1")]
    rejected = await (await site.log(Topic.READS_REJECTED)).until(4)
    reads = [rejected_reads.decode(record.value) for record in rejected]
    assert [(read.reason, read.detail) for read in reads] == [
        (each["reason"], each["detail"]) for each in told["rejected"]
    ]


@pytest.mark.parametrize(
    ("body", "reason"), [(b"", "empty"), (b"{]", "bad_json"), (b"7", "no_object")]
)
async def test_a_body_of_which_nothing_parses_is_400_and_set_aside(
    site: "Site", body: bytes, reason: str
) -> None:
    site.readers(over_http("handheld"))
    await site.put_station(site.station())
    await site.start("gateway")
    answer = await site.read("handheld", body)
    assert answer.status_code == 400
    assert answer.json()["reason"] == reason
    assert answer.json()["detail"]
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    assert rejected_reads.decode(record.value).reason == reason


async def test_what_cannot_be_a_delivery_is_refused_and_the_gateway_goes_on(site: "Site") -> None:
    site.readers(over_http("handheld"))
    await site.put_station(site.station())
    await site.start("gateway")
    mebibyte = 1 << 20
    item = b'{"code": "%s"}' % site.barcode("1").encode()
    assert (await site.read("handheld", item.ljust(mebibyte))).status_code == 200
    answer = await site.read("handheld", item.ljust(mebibyte + 1))
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    url = f"{site.settings.gateway_url}/ingest/v1"
    answer = await site.http.post(f"{url}/generic", content=item)
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert (answer.json()["field"], answer.json()["detail"]) == (
        "reader",
        "the address lacks ?reader=…",
    )
    answer = await site.read("r" * 65, item)
    assert (answer.status_code, answer.json()["field"]) == (400, "reader")
    for body in (b"", b"{}", b'[{"event_id": 1}]'):
        answer = await site.http.post(f"{url}/replay", content=body)
        assert answer.status_code == 400
        assert answer.json()["reason"] == "not_rejected_reads"
    await (await site.log(Topic.SCANS)).until(1)


async def test_the_same_read_within_the_debounce_is_taken_and_makes_one_scan(
    site: "Site",
) -> None:
    site.readers(
        over_http("handheld", "dock-1", "debounce_s = 60"),
        over_http("eager", "dock-1", "debounce_s = 0"),
    )
    await site.put_station(site.station())
    await site.start("gateway")
    for reader in ("handheld", "eager"):
        for _ in range(3):
            answer = await site.read(reader, {"code": site.barcode("1")})
            assert answer.json()["accepted"] == 1
    records = await (await site.log(Topic.SCANS)).until(1 + 3)
    readers = sorted(decode_scan(r.key, r.value).reader for r in records)
    assert readers == ["eager"] * 3 + ["handheld"]


async def test_a_devices_id_posted_twice_makes_the_same_claim_twice(site: "Site") -> None:
    site.readers(over_http("handheld"))
    await site.put_station(site.station())
    await site.start("gateway")
    at = datetime.now(UTC) - timedelta(minutes=1)
    read = {"code": site.barcode("1"), "event_id": "boot-3/17", "timestamp": at.isoformat()}
    for _ in range(2):
        assert (await site.read("handheld", read)).json()["accepted"] == 1
    first, again = await (await site.log(Topic.SCANS)).until(2)
    assert (first.key, first.headers) == (again.key, again.headers)
    claims = [msgspec.json.decode(record.value) for record in (first, again)]
    recorded = [claim.pop("record_time") for claim in claims]
    assert encode(claims[0]) == encode(claims[1])
    assert recorded[0] <= recorded[1]
    assert claims[0]["event_id"] == "handheld/boot-3/17"
    scans = [decode_scan(record.key, record.value) for record in (first, again)]
    assert content_digest(scans[0]) == content_digest(scans[1])


def impinj_event(serial: int) -> dict[str, Any]:
    """As an R700 sends it by default: the EPC in base64."""
    seen = {"epc": base64.b64encode(serial.to_bytes(12)).decode(), "antennaPort": 1}
    at = datetime.now(UTC) - timedelta(seconds=serial)
    return {
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "hostname": "impinj-14-0A-1B",
        "eventType": "tagInventory",
        "tagInventoryEvent": seen,
    }


def zebra_event(serial: int) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(seconds=serial)
    return {
        "data": {"idHex": f"{serial:024x}", "antenna": 1, "eventNum": serial, "peakRssi": -48},
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        "type": "CUSTOM",
    }


@pytest.mark.parametrize(("path", "event"), [("impinj", impinj_event), ("zebra", zebra_event)])
async def test_a_batch_that_a_device_sends_again_makes_the_same_claims_after_a_restart(
    site: "Site", path: str, event: Callable[[int], dict[str, Any]]
) -> None:
    """It was not answered: the gateway ended between the record and the answer."""
    site.readers(over_http("portal").replace("http-generic", f"http-{path}"))
    await site.put_station(site.station())
    url = f"{site.settings.gateway_url}/ingest/v1/{path}"
    batch = [event(1), {"eventType": 7}, event(2), event(3)]
    for start in (1, 2):
        running = await site.start("gateway")
        await site.until_logged(LIVE, count=start)  # else they might still be on disk at the end
        for body in ([], batch):  # a heartbeat, and reads
            answer = await site.http.post(url, params={"reader": "portal"}, json=body)
            assert (answer.status_code, answer.content) == (204, b"")
        await site.stop(running)
    records = await (await site.log(Topic.SCANS)).until(6)
    scans = [decode_scan(record.key, record.value) for record in records]
    assert {scan.unit for scan in scans} == {f"epc:{serial:024X}" for serial in (1, 2, 3)}
    by_id: dict[str, set[bytes]] = {}
    for scan in scans:
        by_id.setdefault(scan.event_id, set()).add(content_digest(scan))
    assert len(by_id) == 3
    assert [len(digests) for digests in by_id.values()] == [1, 1, 1]
    rejected = await (await site.log(Topic.READS_REJECTED)).until(2)
    reasons = {rejected_reads.decode(record.value).reason for record in rejected}
    assert reasons == {f"not_from_{path}"}


# --------------------------------------------------------------------------- set aside, replayed


async def replay(site: "Site", values: list[bytes]) -> Any:
    return await site.http.post(
        f"{site.settings.gateway_url}/ingest/v1/replay", content=b"[" + b",".join(values) + b"]"
    )


async def test_a_read_of_an_unknown_station_is_replayed_once_the_station_exists(
    site: "Site",
) -> None:
    site.readers(over_http("handheld"))
    await site.start("gateway")
    sent = {"code": site.barcode("1"), "order": "SO-1", "timestamp": "2026-03-01T12:00:00Z"}
    answer = await site.read("handheld", sent)
    ((told),) = answer.json()["rejected"]
    assert told["reason"] == "unknown_station"
    assert "PUT /stations/dock-1, then replay" in told["detail"]
    rejected = await site.log(Topic.READS_REJECTED)
    (record,) = await rejected.until(1)
    read = rejected_reads.decode(record.value)
    assert (record.key, read.reader, read.station) == (b"handheld", "handheld", "dock-1")
    assert read.event_time == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    still = (await replay(site, [record.value])).json()
    assert still["accepted"] == 0
    assert [each["reason"] for each in still["rejected"]] == ["unknown_station"]
    again = rejected_reads.decode((await rejected.until(2))[1].value)
    assert (again.event_id, again.event_time) == (read.event_id, read.event_time)
    assert again.record_time > read.record_time

    await site.put_station(site.station())

    async def accepted() -> bool:
        probe = await site.read("handheld", {"code": site.barcode("probe")})
        return bool(probe.json()["accepted"])

    await site.until(accepted)
    assert (await replay(site, [record.value])).json() == {"accepted": 1, "rejected": []}
    scans = [decode_scan(r.key, r.value) for r in await (await site.log(Topic.SCANS)).until(2)]
    (scan,) = [scan for scan in scans if scan.unit == site.unit("1")]
    assert (scan.event_id, scan.event_time) == (read.event_id, read.event_time)
    assert [each.id for each in scan.transactions] == ["SO-1"]


async def test_a_read_of_an_unknown_reader_is_replayed_once_the_reader_is_configured(
    site: "Site",
) -> None:
    await site.put_station(site.station())
    running = await site.start("gateway")
    answer = await site.read("handheld", {"code": site.barcode("1"), "event_id": 7, "time": 1e9})
    (told,) = answer.json()["rejected"]
    assert told["reason"] == "unknown_reader"
    assert "no [[reader]] has id 'handheld'" in told["detail"]
    (record,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    read = rejected_reads.decode(record.value)
    assert (read.event_id, read.station) == ("handheld/7", None)
    await site.stop(running)
    site.readers(over_http("handheld"))
    await site.start("gateway")
    assert (await replay(site, [record.value])).json()["accepted"] == 1
    (scan,) = [decode_scan(r.key, r.value) for r in await (await site.log(Topic.SCANS)).until(1)]
    assert (scan.event_id, scan.event_time) == (read.event_id, read.event_time)


# -------------------------------------------------------------------------- without Kafka, full


async def test_kafka_dies_and_the_gateway_is_restarted_and_nothing_is_lost_or_disordered(
    own_kafka: EmbeddedKafka,
    port: int,
    connect: Any,
    tmp_path: Path,
    make_settings: Any,
    open_site: Any,
) -> None:
    settings = replace(make_settings(tmp_path, own_kafka.address), ack_limit_s=0.5, partitions=1)
    await apply_topics(settings)
    async with open_site(settings) as site:
        site.readers(listening(port), over_http("handheld"))
        await site.put_station(site.station())
        running = await site.start("gateway")
        await site.until_logged(LIVE)
        await site.close_clients()
        scanner = await connect(port)
        loop = asyncio.get_running_loop()
        sent = {"scanner": 0, "handheld": 0}

        async def both(scanner: Scanner, count: int) -> None:
            for _ in range(count):
                number = sent["scanner"] = sent["scanner"] + 1
                started = loop.time()
                await scanner.send(site.barcode(f"s{number}").encode() + b"\r\n")
                assert await scanner.told(1) == ACK
                assert loop.time() - started < settings.ack_limit_s + 1
                number = sent["handheld"] = sent["handheld"] + 1
                started = loop.time()
                answer = await site.read("handheld", {"code": site.barcode(f"h{number}")})
                assert answer.json() == {"accepted": 1, "rejected": []}
                assert loop.time() - started < settings.ack_limit_s + 1

        await both(scanner, 3)
        own_kafka.kill()
        await both(scanner, 10)
        await scanner.close()
        await site.stop(running)
        await site.start("gateway")
        scanner = await connect(port)
        await both(scanner, 10)
        own_kafka.start()
        await both(scanner, 10)
        await site.until_logged(LIVE, count=2)
        await both(scanner, 3)

        scans = [decode_scan(r.key, r.value) for r in await (await site.log(Topic.SCANS)).records()]
        for reader, mark in (("scanner", "s"), ("handheld", "h")):
            ids = list(dict.fromkeys(s.event_id for s in scans if s.reader == reader))
            units = [next(s.unit for s in scans if s.event_id == each) for each in ids]
            assert units == [site.unit(f"{mark}{n}") for n in range(1, sent[reader] + 1)]
        # Only what was on its way when Kafka died may be there twice.
        assert len(scans) <= sum(sent.values()) + 2


async def test_a_full_spool_refuses_in_each_protocol_and_takes_reads_again_when_kafka_is_back(
    port: int,
    connect: Any,
    tmp_path: Path,
    stack_cache: Path,
    make_settings: Any,
    open_site: Any,
) -> None:
    """And begins without Kafka at all, from its copy of the stations."""
    kafka = EmbeddedKafka(tmp_path / "kafka", stack_cache, port=free_ports(1)[0])
    kafka_address = f"{HOST}:{kafka._given_port}"
    settings: Settings = replace(make_settings(tmp_path, kafka_address), spool_bytes_max=3_000)
    async with open_site(settings) as site:
        site.readers(listening(port, "debounce_s = 60"), over_http("handheld"))
        site.leave_gateways_disk()
        running = await site.start("gateway")
        assert running.health.lacking == []
        scanner = await connect(port)
        taken = 0
        while True:
            answer = await site.read("handheld", {"code": site.barcode(f"h{taken}")})
            if answer.status_code != 200:
                break
            assert answer.json() == {"accepted": 1, "rejected": []}
            taken += 1
        assert taken > 1
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["reason"] == "no_room"
        assert "nothing was taken" in answer.json()["detail"]

        async def refused() -> None:
            await scanner.send(site.barcode("last").encode() + b"\r\n")
            assert await scanner.told(1) == b""  # closed, nothing acknowledged

        await refused()
        await asyncio.to_thread(kafka.start)
        try:
            await apply_topics(settings)
            await site.until_logged(LIVE)
            scanner = await connect(port)
            await scanner.send(site.barcode("last").encode() + b"\r\n")
            assert await scanner.told(1) == ACK
            answer = await site.read("handheld", {"code": site.barcode(f"h{taken}")})
            assert answer.status_code == 200
            records = await (await site.log(Topic.SCANS)).until(taken + 2)
            units = {record.key.decode() for record in records}
            expected = [f"h{n}" for n in range(taken + 1)] + ["last"]
            assert units == {site.unit(serial) for serial in expected}
            times = [decode_scan(r.key, r.value).record_time for r in records]
            assert max(times) - min(times) < timedelta(minutes=2)
        finally:
            await site.close()
            kafka.kill()


async def test_a_record_that_kafka_never_takes_holds_up_no_other(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a disk that fails for a while ends nothing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka_bootstrap)
    await admin.start()
    small = f"{site.settings.topic_prefix}.small"
    limits = {"max.message.bytes": "2000"}
    await admin.create_topics([NewTopic(small, 1, 1, topic_configs=limits)])
    await admin.close()
    spool = Spool(Path(site.settings.data_dir) / "gateway" / "spool.db", bytes_max=1 << 20)
    outlet = Outlet(site.settings, spool, Health())
    before = REGISTRY.get_sample_value("scantrail_spool_refused_total")
    values = [secrets.token_bytes(size) for size in (10, 10, 5_000, 10, 6_000, 10)]
    await spool.append([Outgoing(small, b"k", value, []) for value in values])
    remove, failures = spool._remove, iter([True, True])

    def failing(first: int, last: int) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("disk I/O error")
        remove(first, last)

    monkeypatch.setattr(spool, "_remove", failing)
    draining = asyncio.create_task(outlet.drain())
    await site.until_logged(LIVE)
    await outlet.keep([Outgoing(small, b"k", b"live", [])])
    await outlet.keep([Outgoing(small, b"k", secrets.token_bytes(7_000), [])])
    await site.until_logged(LIVE, count=2)
    draining.cancel()
    await asyncio.wait({draining})
    await outlet.stop()
    with sqlite3.connect(Path(site.settings.data_dir) / "gateway" / "spool.db") as db:
        refused = db.execute("SELECT length(value), topic FROM refused ORDER BY id").fetchall()
    assert refused == [(5_000, small), (6_000, small), (7_000, small)]
    assert spool.count == spool.bytes == 0
    await spool.close()
    assert REGISTRY.get_sample_value("scantrail_spool_refused_total") == (before or 0) + 3
    consumer = AIOKafkaConsumer(
        small, bootstrap_servers=site.settings.kafka_bootstrap, auto_offset_reset="earliest"
    )
    taken = dict.fromkeys([value for value in values if len(value) == 10])
    async with consumer:
        arrived = dict[bytes, None]()
        while b"live" not in arrived:
            arrived[(await asyncio.wait_for(consumer.getone(), 10)).value] = None
    assert list(arrived) == [*taken, b"live"]


async def test_without_kafka_and_without_a_snapshot_the_gateway_is_not_ready(
    tmp_path: Path, make_settings: Any, open_site: Any
) -> None:
    settings = make_settings(tmp_path, f"{HOST}:{free_ports(1)[0]}")
    async with open_site(settings) as site:
        running = site.launch("gateway")
        await site.until_logged("kafka is away")
        assert running.health.lacking == ["http", "identifiers", "products", "stations"]


async def test_a_broken_snapshot_is_left_aside_and_the_stations_come_from_kafka(
    site: "Site",
) -> None:
    folder = Path(site.settings.data_dir) / "gateway"
    folder.mkdir(parents=True)
    (folder / "stations.json").write_bytes(b'{"dock-1": {"id"')
    site.readers(over_http("handheld"))
    await site.put_station(site.station())
    await site.start("gateway")
    answer = await site.read("handheld", {"code": site.barcode("1")})
    assert answer.json() == {"accepted": 1, "rejected": []}
    assert b'"dock-1"' in (folder / "stations.json").read_bytes()
    msgspec.json.decode((folder / "stations.json").read_bytes())
