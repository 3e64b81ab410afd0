"""Readers' statuses, from the gateway over Kafka and PostgreSQL to whoever asks the API."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.reader import ReaderStatus
from scantrail.infra.child_processes import free_ports

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def readers(site: "Site") -> dict[str, Any]:
    answer = await site.ask("GET", "/readers")
    assert answer.status_code == 200
    return {reader["id"]: reader for reader in answer.json()["readers"]}


async def test_a_reader_that_connects_and_sets_a_context_is_seen_over_the_api(
    site: "Site",
) -> None:
    (port,) = free_ports(1)
    site.readers(
        f"""
        id = "scanner"
        station = "dock-1"
        protocol = "tcp"
        mode = "listen"
        address = "{HOST}:{port}"
        ack = "\\u0006"
        [reader.context]
        location = "L-.+"
        """,
        'id = "handheld"\nstation = "dock-1"\nprotocol = "http-generic"',
    )
    await site.put_station(site.station())
    for name in ("gateway", "projector", "api"):
        await site.start(name)

    async def seen(**wanted: Any) -> bool:
        reader = (await readers(site)).get("scanner", {})
        return {name: reader.get(name) for name in wanted} == wanted

    await site.until(lambda: seen(is_up=False, context={}))
    stream, writer = await asyncio.open_connection(HOST, port)
    await site.until(lambda: seen(is_up=True))
    writer.write(b"L-A-04\r\n")
    assert await asyncio.wait_for(stream.readexactly(1), 10) == b"\x06"
    await site.until(lambda: seen(is_up=True, context={"location": "L-A-04"}))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await site.until(lambda: seen(is_up=False))
    answer = await site.ask("GET", "/readers/handheld")
    assert answer.status_code == 200
    assert (answer.json()["protocol"], answer.json()["is_up"]) == ("http-generic", None)
    answer = await site.ask("GET", "/readers/nobody")
    assert answer.status_code == 404
    assert "they stand in the readers' file" in answer.json()["detail"]


async def test_the_last_status_of_a_reader_stands_and_an_unreadable_one_is_set_aside(
    site: "Site",
) -> None:
    status = ReaderStatus(
        id="r",
        station="dock-1",
        protocol="tcp",
        started_at=AT,
        told_at=AT + timedelta(minutes=2),
        counts={"accepted": 7},
        context={},
    )
    clock_set_back = replace(status, told_at=AT, counts={"accepted": 9})
    await site.publish(Topic.READER_STATUS, "r", encode(status))
    await site.publish(Topic.READER_STATUS, "r", encode(clock_set_back))
    await site.publish(Topic.READER_STATUS, "r", b"{}")
    await site.start("projector")
    await site.until(lambda: site.rows("SELECT reason FROM rejected") == [("not_a_reader_status",)])
    assert site.rows("SELECT id, told_at, counts FROM reader_status") == [
        ("r", AT, {"accepted": 9})
    ]
