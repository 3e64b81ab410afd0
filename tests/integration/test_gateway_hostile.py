"""The gateway as a process, and senders that mean it no good: bounded, and others unharmed."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from integration.processes import Process, started
from scantrail.contracts.topics import Topic
from scantrail.gateway.tcp import CONNECTIONS_MAX
from scantrail.infra.web import HEAD_S_MAX, IN_HAND_BYTES_MAX

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
CONNECTIONS = 1_000
MEBIBYTE = 1 << 20
ACK = b"\x06"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def scanner_of_others(port: int) -> str:
    lines = ['id = "fenced"', 'station = "dock-1"', 'protocol = "tcp"', 'mode = "listen"']
    return "\n".join([*lines, f'address = "{HOST}:{port}"', 'peers = ["192.0.2.0/24", "::1"]'])


@pytest.fixture
async def gateway(site: "Site", port: int, tmp_path: Path) -> AsyncIterator[Process]:
    scanner = f"""
        id = "scanner"
        station = "dock-1"
        protocol = "tcp"
        mode = "listen"
        address = "{HOST}:{port}"
        ack = "\\u0006"
        max_frame = {MEBIBYTE}
    """
    handheld = 'id = "handheld"\nstation = "dock-1"\nprotocol = "http-generic"'
    site.readers(scanner, handheld)
    await site.put_station(site.station())
    with started(site.settings, tmp_path, "gateway") as (process,):
        await asyncio.to_thread(process.await_ready)
        yield process


class Connections:
    """Connections of a test, which end with it."""

    def __init__(self) -> None:
        self.all: list[Connection] = []

    async def open(self, port: int, count: int = 1) -> list[Connection]:
        new = [await asyncio.open_connection(HOST, port) for _ in range(count)]
        self.all += new
        return new

    async def close(self) -> None:
        for _, writer in self.all:
            writer.close()
        for _, writer in self.all:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    opened = Connections()
    yield opened
    await opened.close()


async def answers(
    site: "Site", gateway: Process, port: int, connections: Connections, serial: str
) -> float:
    """Seconds until a scan over HTTP and one over TCP were taken, on connections of their own."""
    began = time.monotonic()
    answer = await site.read("handheld", {"code": site.barcode(f"h{serial}")})
    assert answer.json() == {"accepted": 1, "rejected": []}
    ((stream, writer),) = await connections.open(port)
    writer.write(site.barcode(f"s{serial}").encode() + b"\r\n")
    assert await asyncio.wait_for(stream.readexactly(1), 10) == ACK
    took = time.monotonic() - began
    assert gateway.process.poll() is None, gateway.log
    return took


@pytest.mark.long
@pytest.mark.alone
async def test_a_thousand_connections_that_say_nothing_or_half_a_request_harm_nobody(
    site: "Site", gateway: Process, port: int, connections: Connections
) -> None:
    http_port = site.settings.gateway_port
    await answers(site, gateway, port, connections, "0")
    before = gateway.resident_mib()
    silent = await connections.open(http_port, CONNECTIONS // 2)
    half = await connections.open(http_port, CONNECTIONS // 2)
    head = (
        b"POST /ingest/v1/generic?reader=handheld HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n"
    )
    for _, writer in half:
        writer.write(head + b"\r\n" + b"[" * 60_000)
    assert await answers(site, gateway, port, connections, "1") < 5
    assert gateway.resident_mib() - before < IN_HAND_BYTES_MAX / MEBIBYTE + 150
    ended = asyncio.gather(*(stream.read() for stream, _ in silent))
    assert set(await asyncio.wait_for(ended, HEAD_S_MAX + 10)) == {b""}
    told = await asyncio.wait_for(asyncio.gather(*(stream.read() for stream, _ in half)), 60)
    statuses = {answer.partition(b"\r\n")[0] for answer in told}
    assert statuses <= {b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 503 Service Unavailable"}
    assert b"HTTP/1.1 408 Request Timeout" in statuses
    await answers(site, gateway, port, connections, "2")
    await (await site.log(Topic.SCANS)).until(6)


@pytest.mark.alone
async def test_heads_without_an_end_take_bounded_memory(
    site: "Site", gateway: Process, port: int, connections: Connections
) -> None:
    await answers(site, gateway, port, connections, "0")
    before = gateway.resident_mib()
    line = b"A: " + b"x" * 60_000 + b"\r\n"
    for _, writer in await connections.open(site.settings.gateway_port, 20):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(OSError):
            for _ in range(200):
                writer.write(line)
                await writer.drain()
    assert gateway.resident_mib() - before < 20
    await answers(site, gateway, port, connections, "1")


@pytest.mark.alone
async def test_bodies_that_are_sent_all_at_once_take_bounded_memory(
    site: "Site", gateway: Process, port: int, connections: Connections
) -> None:
    await answers(site, gateway, port, connections, "0")
    before = gateway.resident_mib()
    body = b'{"code": "' + b"9" * (MEBIBYTE - 12) + b'"}'
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=200)) as http:
        url = f"{site.settings.gateway_url}/ingest/v1/generic?reader=handheld"
        sending = [asyncio.create_task(http.post(url, content=body)) for _ in range(300)]
        peak = before
        while not all(task.done() for task in sending):
            await asyncio.wait(sending, timeout=0.2)
            peak = max(peak, gateway.resident_mib())
    statuses = {task.result().status_code for task in sending}
    assert statuses <= {200, 503}
    assert 200 in statuses
    assert peak - before < 4 * IN_HAND_BYTES_MAX / MEBIBYTE
    await answers(site, gateway, port, connections, "1")


def nested(depth: int) -> bytes:
    return b'{"reads": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (nested(400_000), "bad_json"),
        (b'{"code": "\\ud800"}', None),
        (b'{"code": "a\x00b"}', "bad_json"),
        (b'{"code": "a\\u0000b"}', None),
        (b"\xff\xfe\x00", "bad_json"),
        (b'{"code": "' + b"A" * (MEBIBYTE - 14) + b'"}', None),
        (b'{"code": 1e999999}', None),
        (b"[" + b"{}," * 200_000 + b"{}]", "too_many"),
    ],
    ids=["deep", "surrogate", "nul", "escaped nul", "no text", "1 MB", "number", "many"],
)
async def test_a_hostile_body_is_named_and_kept_and_the_next_read_is_taken(
    site: "Site",
    gateway: Process,
    port: int,
    connections: Connections,
    body: bytes,
    reason: str | None,
) -> None:
    answer = await site.read("handheld", body)
    told = answer.json()
    assert answer.status_code in (200, 400), told
    reasons = (
        [told.get("reason")]
        if answer.status_code == 400
        else [refusal["reason"] for refusal in told["rejected"]]
    )
    assert len(reasons) == 1
    assert reasons[0]
    assert reason in (None, reasons[0])
    await answers(site, gateway, port, connections, "1")
    (kept,) = await (await site.log(Topic.READS_REJECTED)).until(1)
    assert len(kept.value) < 16_384


FRAMES: dict[str, Callable[[], bytes]] = {
    "a code of 1 MB": lambda: b"A" * (MEBIBYTE - 1) + b"\r\n",
    "endless": lambda: b"A" * (3 * MEBIBYTE) + b"\r\n",
    "NUL": lambda: b"a\x00b\r\n",
    "no text": lambda: b"\xfe\xfd\x80\r\n",
    "any bytes": lambda: os.urandom(100_000).replace(b"\r", b"x").replace(b"\n", b"y") + b"\r\n",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_a_hostile_frame_is_set_aside_and_the_next_one_is_taken(
    site: "Site",
    gateway: Process,
    port: int,
    connections: Connections,
    frame: Callable[[], bytes],
) -> None:
    ((_, writer),) = await connections.open(port)
    writer.write(frame() + site.barcode("after").encode() + b"\r\n")
    (scan,) = await (await site.log(Topic.SCANS)).until(1)
    assert scan.key.decode() == site.unit("after")
    rejected = await site.log(Topic.READS_REJECTED)

    async def one_is_there() -> bool:
        return bool(await rejected.records())

    await site.until(one_is_there)
    kept = await rejected.records()
    assert all(len(record.value) < 16_384 for record in kept)
    assert gateway.process.poll() is None


async def test_connections_to_a_reader_are_bounded_and_the_one_that_speaks_stays(
    site: "Site", gateway: Process, port: int, connections: Connections
) -> None:
    ((stream, writer),) = await connections.open(port)
    silent: list[Connection] = []
    for number in range(CONNECTIONS_MAX + 20):
        silent += await connections.open(port)
        writer.write(site.barcode(f"{number}").encode() + b"\r\n")
        assert await asyncio.wait_for(stream.readexactly(1), 10) == ACK
    assert gateway.log.count("too many connections") >= 20
    still_open = [not stream.at_eof() for stream, _ in silent]
    assert still_open.count(True) <= CONNECTIONS_MAX


async def test_only_a_readers_peers_are_let_in(
    site: "Site", connections: Connections, port: int
) -> None:
    site.readers(scanner_of_others(port))
    await site.put_station(site.station())
    await site.start("gateway")
    ((stream, writer),) = await connections.open(port)
    writer.write(site.barcode("1").encode() + b"\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(stream.read(), 10) == b""
    await site.until_logged("a connection of somebody else is closed")
    assert await (await site.log(Topic.SCANS)).records() == []
