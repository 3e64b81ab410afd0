"""Devices as they stand on a floor, for the simulated site: real sockets, no short cut."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Self

import httpx

ACK = b"\x06"
ACK_S_MAX = 60.0
RETRY_S = 0.2

#: Reads a device sends before it waits for their acknowledgements.
WINDOW = 50


class TextReader:
    """A scanner that connects to the gateway and repeats what was not acknowledged."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._sending = asyncio.Lock()

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send each frame, CR LF behind it; returns once all are acknowledged.

        Whoever sends at the same time waits: a scanner reads one code after another.
        """
        async with self._sending:
            for start in range(0, len(frames), WINDOW):
                await self._deliver(frames[start : start + WINDOW])

    async def close(self) -> None:
        if self._stream is not None:
            (_, writer), self._stream = self._stream, None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _deliver(self, frames: Sequence[bytes]) -> None:
        """What is not acknowledged before the connection ends is sent again."""
        left = list(frames)
        while left:
            try:
                stream, writer = self._stream = self._stream or await self._connect()
                writer.write(b"".join(frame + b"\r\n" for frame in left))
                await writer.drain()
                while left:
                    async with asyncio.timeout(ACK_S_MAX):
                        acks = await stream.read(len(left))
                    if not acks:
                        raise ConnectionResetError("the gateway closed the connection")
                    del left[: acks.count(ACK)]
            except (OSError, TimeoutError):
                await self.close()
                await asyncio.sleep(RETRY_S)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


class ListeningReader(TextReader):
    """A scanner that the gateway connects to."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._server: asyncio.Server | None = None
        self._connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def __aenter__(self) -> Self:
        async def accept(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connected.put((stream, writer))

        self._server = await asyncio.start_server(accept, self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream = await self._connected.get()
        while not self._connected.empty():  # only the newest connection is alive
            stream[1].close()
            stream = self._connected.get_nowait()
        return stream


class HttpReader:
    """An RFID reader or handheld that posts its reads, each under its own id and time."""

    def __init__(self, client: httpx.AsyncClient, reader: str, token: str = "") -> None:
        self._client = client
        self._reader = reader
        self._shown = {"Authorization": f"Bearer {token}"} if token else {}

    async def send(self, reads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Post `reads`, again until they are taken; returns the refusals as answered."""
        refused: list[dict[str, Any]] = []
        for start in range(0, len(reads), WINDOW):
            answer = await self.post({"reads": list(reads[start : start + WINDOW])})
            answer.raise_for_status()
            refused += answer.json()["rejected"]
        return refused

    async def post(self, body: Any) -> httpx.Response:
        """Post one body as it is: bytes, or what becomes JSON."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        while True:
            try:
                answer = await self._client.post(
                    "/ingest/v1/generic",
                    params={"reader": self._reader},
                    headers=self._shown,
                    **content,
                )
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code != 503:
                return answer
            await asyncio.sleep(RETRY_S)
