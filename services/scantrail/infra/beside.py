"""Work that goes on beside a service's own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They go on while the body does, and are cancelled at its end. Where one fails the body is
    cancelled, and what it failed by is raised: nobody believes that it goes on."""
    owner = asyncio.current_task()
    assert owner is not None

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            owner.cancel()

    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
