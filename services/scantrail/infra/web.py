"""An HTTP server inside a process that has its own loop and its own signals."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

STOP_S_MAX = 5


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process stops us; we do not stop the process."""
        yield


async def serve_http(app: Any, host: str, port: int) -> None:
    """Serve `app` (ASGI) until cancelled, then finish the requests in hand.

    SystemExit, with one sentence, where the port is taken.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="httptools",
        timeout_graceful_shutdown=STOP_S_MAX,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
