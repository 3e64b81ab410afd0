"""Readers and conveyors over TCP: they connect to us, or we connect to them."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import SupportsIndex, cast

from scantrail.domain.verdict import Verdict
from scantrail.gateway.conveyors import Controller, Send, answer_lines
from scantrail.gateway.decoders.osip import OsipDecoder
from scantrail.gateway.decoders.outcome import Invalid, Outcome, Read
from scantrail.gateway.decoders.text import TextDecoder
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.spool import SpoolFull
from scantrail.gateway.statuses import Statuses
from scantrail.gateway.verdicts import Verdicts
from scantrail.infra import metrics
from scantrail.infra.logs import logger

log = logger(__name__)

READ_BYTES = 65_536
CONNECT_S_MAX = 5.0
RETRY_S_FIRST = 0.5
RETRY_S_MAX = 30.0

#: Connections to one reader's address: a reader has one, and may leave some that it lost behind.
CONNECTIONS_MAX = 32

#: For what is in hand on a connection beyond them; then its answers are given up, not its reads.
FINISH_S_MAX = 10.0

#: Answers the next bytes of a connection (none: it has ended), which came at that time.
Talk = Callable[[bytes, float, Send], Awaitable[None]]


async def serve_reader(
    reader: ReaderSettings,
    intake: Intake,
    verdicts: Verdicts,
    statuses: Statuses,
    *,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Run one reader's connections until cancelled. OSError where its address is taken.

    `listening` is called once a reader that connects to us can do so.
    """

    def begin() -> Talk:
        if reader.protocol == "tcp-osip":
            return _telegrams(reader, verdicts)
        if reader.verdict is not None:
            return _questions(reader, reader.verdict, verdicts)
        return _reads(reader, intake)

    is_asking = reader.protocol == "tcp-osip" or reader.verdict is not None
    arrived = verdicts.arrived if is_asking else asyncio.get_running_loop().time
    if reader.mode == "connect":
        await _connect_on(reader, begin, statuses, arrived)
    else:
        await _listen(reader, begin, statuses, arrived, listening)


def _reads(reader: ReaderSettings, intake: Intake) -> Talk:
    """Reads that are acknowledged once they are durable, where the reader wants that."""
    decoder = TextDecoder(reader)

    async def talk(data: bytes, heard: float, send: Send) -> None:
        outcomes: list[Outcome] = decoder.feed(data) if data else decoder.end()
        if outcomes:
            await intake.take(reader.id, outcomes)
        await send(reader.ack * sum(isinstance(outcome, Read | Invalid) for outcome in outcomes))

    return talk


def _questions(reader: ReaderSettings, answers: Mapping[Verdict, str], verdicts: Verdicts) -> Talk:
    decoder = TextDecoder(reader)

    async def talk(data: bytes, heard: float, send: Send) -> None:
        outcomes = decoder.feed(data) if data else decoder.end()
        await answer_lines(reader, answers, outcomes, verdicts, send, heard=heard)

    return talk


def _telegrams(reader: ReaderSettings, verdicts: Verdicts) -> Talk:
    decoder, controller = OsipDecoder(reader.osip), Controller(reader, verdicts)

    async def talk(data: bytes, heard: float, send: Send) -> None:
        telegrams = decoder.feed(data) if data else decoder.end()
        await controller.answer(telegrams, send, heard=heard)
        if not data:
            await controller.finish()

    return talk


async def _listen(
    reader: ReaderSettings,
    begin: Callable[[], Talk],
    statuses: Statuses,
    arrived: Callable[[], float],
    listening: Callable[[], None],
) -> None:
    host, port = _address(reader)
    loop = asyncio.get_running_loop()
    talks: dict[asyncio.Task[None], tuple[_Stream, asyncio.Transport]] = {}
    leaving = set[asyncio.Task[None]]()

    def ended(talk: asyncio.Task[None]) -> None:
        talks.pop(talk, None)
        leaving.discard(talk)
        if not talk.cancelled() and (error := talk.exception()) is not None:
            log.error("connection failed", reader=reader.id, exc_info=error)

    def connected(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _is_peer(reader, writer):
            writer.close()
            return
        if len(talks) >= CONNECTIONS_MAX:
            longest_silent = min(talks, key=lambda talk: talks[talk][0].heard)
            log.warning("too many connections: the longest silent is closed", reader=reader.id)
            metrics.REFUSED.labels("too_many_connections").inc()
            silent, transport = talks.pop(longest_silent)
            silent.leave(transport)
            leaving.add(longest_silent)
        ours = cast(_Stream, stream)
        talk = asyncio.create_task(_talk(reader, begin(), statuses, ours, writer))
        talks[talk] = ours, cast(asyncio.Transport, writer.transport)
        talk.add_done_callback(ended)

    server = await loop.create_server(
        lambda: asyncio.StreamReaderProtocol(_Stream(arrived), connected), host, port
    )
    listening()
    try:
        # Not serve_forever(): from Python 3.12 on, cancelled, it waits for every connection's end.
        await asyncio.Event().wait()
    finally:
        server.close()
        open_still = [*talks, *leaving]
        for talk in open_still:
            talk.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)


async def _connect_on(
    reader: ReaderSettings,
    begin: Callable[[], Talk],
    statuses: Statuses,
    arrived: Callable[[], float],
) -> None:
    host, port = _address(reader)
    delay_s = RETRY_S_FIRST
    while True:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                stream, writer = await _connection(host, port, arrived)
        except (OSError, TimeoutError) as error:
            log.warning("reader is away", reader=reader.id, reason=str(error), retry_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_S_MAX)
            continue
        delay_s = RETRY_S_FIRST
        await _talk(reader, begin(), statuses, stream, writer)
        await asyncio.sleep(delay_s)


class _Stream(asyncio.StreamReader):
    """Gives what came before the connection was lost; asyncio's own would give the error first.

    `heard` is when the last bytes came, `since` when the first of those came that were read last.
    """

    def __init__(self, arrived: Callable[[], float]) -> None:
        super().__init__()
        self.heard = asyncio.get_running_loop().time()
        self.since = self._first = self.heard
        self._arrived = arrived
        self._unread = 0
        self._is_left = False

    def leave(self, transport: asyncio.Transport) -> None:
        """Read no more; what came so far is still given, and answered while there is time."""
        self._is_left = True
        transport.pause_reading()
        self.feed_eof()
        asyncio.get_running_loop().call_later(FINISH_S_MAX, transport.abort)

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        if self._is_left:
            return
        self.heard = asyncio.get_running_loop().time()
        if not self._unread:
            self._first = self._arrived()
        received = bytes(data)
        self._unread += len(received)
        super().feed_data(received)

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.since = self._first
        self._unread -= len(data)
        return data

    def set_exception(self, exc: BaseException) -> None:
        log.warning("reader lost", reason=str(exc))
        self.feed_eof()


def _is_peer(reader: ReaderSettings, writer: asyncio.StreamWriter) -> bool:
    """Whether who connects is among the reader's `peers`, where it has any."""
    if not reader.peers:
        return True
    peer = writer.get_extra_info("peername")
    address = ipaddress.ip_address(peer[0].partition("%")[0]) if peer else None
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped is not None and any(mapped in network for network in reader.peers):
        return True
    log.warning("a connection of somebody else is closed", reader=reader.id, peer=str(peer))
    metrics.REFUSED.labels("wrong_peer").inc()
    return False


async def _connection(
    host: str, port: int, arrived: Callable[[], float]
) -> tuple[_Stream, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    stream = _Stream(arrived)
    transport, protocol = await loop.create_connection(
        lambda: asyncio.StreamReaderProtocol(stream), host, port
    )
    return stream, asyncio.StreamWriter(transport, protocol, stream, loop)


async def _talk(
    reader: ReaderSettings,
    talk: Talk,
    statuses: Statuses,
    stream: _Stream,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection, until the reader ends it, is silent too long, or cannot be served.

    Where neither Kafka nor the disk takes a read, the connection is closed without an
    acknowledgement: that is how this protocol says no.
    """
    peer = writer.get_extra_info("peername")
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    log.info("reader connected", reader=reader.id, peer=str(peer))
    try:
        with statuses.connected(reader.id):
            await _take_all(reader, talk, stream, writer)
    except SpoolFull as error:
        log.error("read refused", reader=reader.id, reason=str(error))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _take_all(
    reader: ReaderSettings,
    talk: Talk,
    stream: _Stream,
    writer: asyncio.StreamWriter,
) -> None:
    async def send(answer: bytes) -> None:
        await _answer(reader, answer, writer)

    while True:
        data = await _received(reader, stream)
        await talk(data, stream.since, send)
        if not data:
            return


async def _received(reader: ReaderSettings, stream: asyncio.StreamReader) -> bytes:
    """The next bytes; none where the connection has ended, or is silent too long."""
    try:
        async with asyncio.timeout(reader.silence_s):
            return await stream.read(READ_BYTES)
    except TimeoutError:
        log.warning("reader is silent", reader=reader.id, silence_s=reader.silence_s)
    return b""


async def _answer(reader: ReaderSettings, answer: bytes, writer: asyncio.StreamWriter) -> None:
    """One that does not arrive ends nothing: what else came on the connection is still taken."""
    if answer:
        try:
            writer.write(answer)
            await writer.drain()
        except OSError as error:
            log.warning("answer lost", reader=reader.id, reason=str(error))


def _address(reader: ReaderSettings) -> tuple[str, int]:
    if reader.address is None:
        raise ValueError(f"reader {reader.id} has no address")
    return reader.address
