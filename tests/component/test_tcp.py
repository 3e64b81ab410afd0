"""Connections to a reader's address, with an outlet that only remembers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest

from component.fake_outlet import FakeOutlet
from component.test_mqtt import DOCK, SlowOutlet, units, until
from scantrail.gateway import tcp
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.statuses import Statuses
from scantrail.gateway.tcp import CONNECTIONS_MAX, serve_reader
from scantrail.gateway.verdicts import Verdicts
from scantrail.infra.child_processes import free_ports

HOST = "127.0.0.1"
ACK = b"\x06"


def line(number: int) -> bytes:
    return f"epc:E2{number:022X}\r\n".encode()


@contextlib.asynccontextmanager
async def listening(outlet: FakeOutlet, ack: bytes = ACK) -> AsyncIterator["Clients"]:
    """A gateway's part for reader `hand`, as a task, and who connects to it."""
    (port,) = free_ports(1)
    reader = ReaderSettings(
        id="hand", station="dock-1", protocol="tcp", mode="listen", address=(HOST, port), ack=ack
    )
    known = Known({"hand": reader}, {"dock-1": DOCK})
    statuses = Statuses("test", known.readers, Contexts())
    intake = Intake("test", known, outlet, statuses=statuses)
    listens = asyncio.Event()
    serving = serve_reader(reader, intake, cast(Verdicts, None), statuses, listening=listens.set)
    task = asyncio.create_task(serving)
    clients = Clients(port)
    try:
        await asyncio.wait_for(listens.wait(), 10.0)
        yield clients
    finally:
        task.cancel()
        await asyncio.wait({task})
        await clients.close()


class Clients:
    """Connections of a test, which end with it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def one(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream, writer = await asyncio.open_connection(HOST, self._port)
        self._writers.append(writer)
        return stream, writer

    async def as_many_as_may_be(self) -> None:
        for _ in range(CONNECTIONS_MAX):
            await self.one()
        await asyncio.sleep(0.1)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_connection_beyond_the_limit_is_closed_after_what_is_in_hand() -> None:
    outlet = SlowOutlet()
    async with listening(outlet) as clients:
        stream, writer = await clients.one()
        writer.write(line(1) + line(2))
        await outlet.asked.wait()
        await clients.as_many_as_may_be()
        writer.write(line(3))  # too late: it is not read
        await asyncio.sleep(0.1)
        outlet.let.set()
        assert await stream.readexactly(2) == ACK * 2
        with contextlib.suppress(ConnectionResetError):  # of what was not read
            assert await asyncio.wait_for(stream.read(), 10.0) == b""
    assert units(outlet) == [1, 2]


async def test_a_connection_beyond_the_limit_that_takes_no_answers_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "FINISH_S_MAX", 0.1)
    outlet = FakeOutlet()
    async with listening(outlet, ack=bytes(32 << 20)) as clients:
        stream, writer = await clients.one()
        writer.write(line(1))
        await until(lambda: outlet.kept)
        await clients.as_many_as_may_be()
        await asyncio.sleep(0.3)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await asyncio.wait_for(stream.read(), 10.0)
        assert len(answer) < 32 << 20
