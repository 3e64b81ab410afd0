"""The HTTP server, before a request is whole: what senders may make it hold, and for how long."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from scantrail.infra import web
from scantrail.infra.child_processes import free_ports
from scantrail.infra.web import HEAD_BYTES_MAX, serve_http

HOST = "127.0.0.1"
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class App:
    """Answers with how many bytes the body had, once it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.let.set()
        self.asked = asyncio.Event()

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.asked.set()
        await self.let.wait()
        body = b"%08d" % size
        headers = [(b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def connect(app: App) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    (port,) = free_ports(1)
    listening = asyncio.Event()
    task = asyncio.create_task(serve_http(app, HOST, port, listening=listening.set))
    await asyncio.wait_for(listening.wait(), 10.0)
    writers: list[asyncio.StreamWriter] = []

    async def one() -> Client:
        stream, writer = await asyncio.open_connection(HOST, port)
        writers.append(writer)
        return stream, writer

    yield one
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    task.cancel()
    await asyncio.wait({task})


async def answered(stream: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10.0):
        head = await stream.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        return int(await stream.readexactly(8))


async def ended(stream: asyncio.StreamReader) -> bytes:
    """What came until the server closed the connection."""
    told = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5.0):
            while more := await stream.read(1 << 16):
                told += more
    return told


async def dripping(writer: asyncio.StreamWriter, drop: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("requests_before", [0, 2])
@pytest.mark.parametrize("part", [b"A: " + b"x" * 1_000 + b"\r\n", b"x" * 1_000, b"\r\n" * 500])
async def test_an_endless_head_is_refused_at_its_limit(
    connect: Callable[[], Awaitable[Client]], requests_before: int, part: bytes
) -> None:
    stream, writer = await connect()
    for _ in range(requests_before):
        writer.write(REQUEST % 5 + b"12345")
        assert await answered(stream) == 5
    if part.strip():
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nB: ")
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 64 * HEAD_BYTES_MAX and not stream.at_eof():
            writer.write(part)
            sent += len(part)
            await writer.drain()
            await asyncio.sleep(0)
    assert sent < 64 * HEAD_BYTES_MAX
    assert (await ended(stream)).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")


async def test_what_comes_after_a_body_in_chunks_is_bounded_too(
    connect: Callable[[], Awaitable[Client]],
) -> None:
    stream, writer = await connect()
    chunks = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"
    writer.write(chunks + b"0\r\nA: b\r\n\r\n")
    assert await answered(stream) == 5
    writer.write(chunks + b"0\r\n")
    with contextlib.suppress(OSError):
        for _ in range(4_000):
            writer.write(b"A: " + b"x" * 1_000 + b"\r\n")
            await writer.drain()
    assert (await ended(stream)).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize("requests_before", [0, 1, 2])
@pytest.mark.parametrize("drop", [b"A: b\r\n", b"\r\n"])
async def test_a_slow_head_is_closed_also_after_the_first_request(
    connect: Callable[[], Awaitable[Client]],
    monkeypatch: pytest.MonkeyPatch,
    requests_before: int,
    drop: bytes,
) -> None:
    monkeypatch.setattr(web, "HEAD_S_MAX", 0.5)
    stream, writer = await connect()
    for _ in range(requests_before):
        writer.write(REQUEST % 5 + b"12345")
        assert await answered(stream) == 5
    if drop.strip():
        writer.write(b"GET / HTTP/1.1\r\n")
    drips = asyncio.create_task(dripping(writer, drop))
    assert await ended(stream) == b""
    drips.cancel()


async def test_large_bodies_with_the_next_head_behind_them_are_no_heads(
    connect: Callable[[], Awaitable[Client]],
) -> None:
    stream, writer = await connect()
    head = REQUEST % 300_000
    writer.write(head)
    for _ in range(5):
        writer.write(b"x" * 300_000 + head[:20])
        assert await answered(stream) == 300_000
        writer.write(head[20:])


async def test_a_request_that_takes_its_time_is_answered_also_with_half_a_head_behind_it(
    app: App, connect: Callable[[], Awaitable[Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "HEAD_S_MAX", 0.1)
    app.let.clear()
    stream, writer = await connect()
    writer.write(REQUEST % 5 + b"12345" + REQUEST[:20])
    await app.asked.wait()
    await asyncio.sleep(0.4)
    app.let.set()
    assert await answered(stream) == 5
    assert await ended(stream) == b""
