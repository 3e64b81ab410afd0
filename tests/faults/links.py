"""TCP links between processes that can be cut, hung, slowed, or lose the answers."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Self

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class Mode(StrEnum):
    OPEN = "open"
    #: connections end, and new ones at once
    CUT = "cut"
    #: nothing passes and nothing ends: as where packets are lost
    HUNG = "hung"
    #: what clients send arrives, and no answer comes back
    MUTE = "mute"


class Link:
    """From a port of ours to the port of a server."""

    def __init__(self, network: "Network", port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._network = network
        self._mode, self._delay_s = Mode.OPEN, 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._writers = set[asyncio.StreamWriter]()
        self._tasks = set[asyncio.Task[None]]()
        self._server: asyncio.Server | None = None

    def set(self, mode: Mode, delay_s: float = 0.0) -> None:
        """From any thread. What was lost while answers were, is lost: those connections end."""
        self._network.run(self._set(mode, delay_s))

    async def _set(self, mode: Mode, delay_s: float) -> None:
        ends = mode is Mode.CUT or self._mode is Mode.MUTE
        self._mode, self._delay_s = mode, delay_s
        if mode is Mode.HUNG:
            self._open.clear()
        else:
            self._open.set()
        if ends:
            for writer in list(self._writers):
                writer.transport.abort()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def stop(self) -> None:
        await self._set(Mode.CUT, 0.0)
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._open.wait()
            if self._mode is Mode.CUT:
                return
            up = await asyncio.open_connection(HOST, self._target)
            self._writers.add(up[1])
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up[1], is_answer=False))
                both.create_task(self._pump(up[0], writer, is_answer=True))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            for each in (writer, *(() if "up" not in locals() else (up[1],))):
                self._writers.discard(each)
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._open.wait()
            if is_answer and self._mode is Mode.MUTE:
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # the other direction ends too


class Network:
    """All links, in a thread of their own: what they do goes on whatever the test waits for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            with contextlib.suppress(Exception):
                self.run(link.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def link(self, port: int, target: int) -> Link:
        """A new one, open."""
        made = Link(self, port, target)
        self.run(made.start())
        self._links.append(made)
        return made

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in the links' thread; returns once it is done."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)
