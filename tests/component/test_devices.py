"""The simulated devices against a small gateway of the test's own."""

import asyncio
from collections import Counter

from scantrail.cli.devices import ACK, TextReader


async def test_units_that_pass_a_scanner_at_once_are_read_one_after_another() -> None:
    """Each send ends with its own acknowledgements, and every code arrives once."""
    arrived, ended = Counter[bytes](), asyncio.Event()

    async def take(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await stream.readline():
            arrived[line.strip()] += 1
            await asyncio.sleep(0)
            writer.write(ACK)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    scanner = TextReader(host, port)
    codes = [[f"unit-{n}-{m}".encode() for m in range(3)] for n in range(40)]
    await asyncio.gather(*(scanner.send(some) for some in codes))
    assert arrived == Counter(code for some in codes for code in some)
    await scanner.close()
    await ended.wait()
    server.close()
    await server.wait_closed()
