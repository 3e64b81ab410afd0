"""An app at an address of its own, for clients that need one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from scantrail.infra.child_processes import free_ports
from scantrail.infra.web import serve_http


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Where it is served, until the block ends."""
    (port,), listening = free_ports(1), asyncio.Event()
    task = asyncio.create_task(serve_http(app, "127.0.0.1", port, listening=listening.set))
    try:
        await asyncio.wait_for(listening.wait(), 10)
        yield f"http://127.0.0.1:{port}"
    finally:
        task.cancel()
        await asyncio.wait({task})
