"""An MQTT 3.1.1 broker that does what a test tells it, and no more."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x80, 0x90, 0xC0, 0xD0, 0xE0


class FakeBroker:
    """Serves one client. Answers to its CONNECT and SUBSCRIBE as it is set; it delivers only what
    `publish` says, and tells what was acknowledged, and of how many connections."""

    def __init__(self) -> None:
        self.connack = 0
        self.suback = 1
        self.resumes = True
        self.port = 0
        self.connections = 0
        self.goodbyes = 0
        self.connects: list[bytes] = []
        self.filters: list[str] = []
        self.acknowledged: list[int] = []
        self._pongs = asyncio.Queue[None]()
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def publish(
        self,
        topic: str,
        payload: bytes,
        mid: int = 0,
        *,
        again: bool = False,
        retained: bool = False,
    ) -> None:
        """At QoS 1 where there is a packet id, else at QoS 0."""
        name = topic.encode()
        body = struct.pack("!H", len(name)) + name
        body += (struct.pack("!H", mid) if mid else b"") + payload
        flags = again << 3 | bool(mid) << 1 | retained
        await self.send(_packet(PUBLISH | flags, body))

    async def has_been_heard(self) -> None:
        """All that was sent so far has been read: so has a ping behind it, which is answered."""
        await self.send(_packet(PINGREQ, b""))
        await asyncio.wait_for(self._pongs.get(), 10.0)

    def end(self) -> None:
        """End the connection, as a broker that is killed does."""
        assert self._writer is not None
        self._writer.transport.abort()

    async def serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    kind, body = await _read(stream)
                    await self._answer(kind & 0xF0, body)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, kind: int, body: bytes) -> None:
        mid = body[:2]
        if kind == CONNECT:
            self.connects.append(body)
            await self.send(_packet(CONNACK, bytes([self.resumes, self.connack])))
        elif kind == SUBSCRIBE:
            (length,) = struct.unpack("!H", body[2:4])
            self.filters.append(body[4 : 4 + length].decode())
            await self.send(_packet(SUBACK, mid + bytes([self.suback])))
        elif kind == PUBACK:
            self.acknowledged += struct.unpack("!H", mid)
        elif kind == PINGREQ:
            await self.send(_packet(PINGRESP, b""))
        elif kind == PINGRESP:
            self._pongs.put_nowait(None)
        elif kind == DISCONNECT:
            self.goodbyes += 1


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    talks = set[asyncio.Task[None]]()

    def connected(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(broker.serve(stream, writer))
        talks.add(talk)
        talk.add_done_callback(talks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


async def _read(stream: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await stream.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await stream.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return kind, await stream.readexactly(length)


def _packet(kind: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        size, byte = size >> 7, size & 0x7F
        length.append(byte | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + body
