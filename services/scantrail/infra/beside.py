"""Work that goes on beside a service's own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from scantrail.infra.logs import logger

log = logger(__name__)

#: Work that does not end when it is told to is left after so long.
END_S_MAX: Final = 10.0


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They go on while the body does, and are cancelled at its end. Where one fails the body is
    cancelled, and what it failed by is raised: nobody believes that it goes on. What others failed
    by is in the log, and that one has ended by itself."""
    owner = asyncio.current_task()
    assert owner is not None
    is_over = was_told = False

    def ended(task: "asyncio.Task[None]") -> None:
        nonlocal was_told
        if is_over:
            return
        if _failure(task) is None:
            log.warning("work beside has ended", work=getattr(task.get_coro(), "__qualname__", ""))
        elif not was_told:
            was_told = True
            owner.cancel()

    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        is_over = True
        cancelled = None
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks, timeout=END_S_MAX)
        except asyncio.CancelledError as error:  # by us, when the body was at its end, or by others
            cancelled = error
        if was_told:
            owner.uncancel()
        failures = list(filter(None, map(_failure, tasks)))
        for other in failures[1:]:
            log.error("work beside failed too", reason=repr(other))
        if failures:
            raise failures[0]
        if cancelled is not None:
            raise cancelled


def _failure(task: "asyncio.Task[None]") -> BaseException | None:
    """What it failed by; None while it goes on, and where it ended or was cancelled."""
    return task.exception() if task.done() and not task.cancelled() else None
