"""What is counted over all units: seldom, and told with its age.

An index that answered such questions at once would be written for each scan of each unit. So one
question counts all, at most a twentieth of the time, and whoever looks is told the last answer.
Such a question takes one core (`max_parallel_workers_per_gather = 0`): it must not keep those
waiting who ask for something else.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from scantrail.infra.logs import logger

log = logger(__name__)

T = TypeVar("T")

#: An answer younger than this is not asked for anew, however fast that was.
FRESH_S: Final = 5.0

#: An answer is so many times as old as it took, at least, before it is asked for anew.
TIMES_ITS_COST: Final = 20.0


class Seldom(Generic[T]):
    """Asks by `ask`, not too often. `of` is what is counted, for the log."""

    def __init__(self, ask: Callable[[], Awaitable[T]], of: str) -> None:
        self._ask = ask
        self._of = of
        self._counted: T | None = None
        self._again_at = 0.0
        self._counting: asyncio.Task[T] | None = None

    async def told(self) -> T:
        """The last count; the first is waited for."""
        self._go_on()
        if self._counted is not None:
            return self._counted
        assert self._counting is not None
        return await asyncio.shield(self._counting)

    def known(self) -> T | None:
        """The last count, without waiting for the first."""
        self._go_on()
        return self._counted

    def _go_on(self) -> None:
        """Count anew where it is time."""
        is_due = self._counted is None or time.monotonic() >= self._again_at
        if is_due and self._counting is None:
            self._counting = asyncio.create_task(self._count())
            self._counting.add_done_callback(_heard)

    async def _count(self) -> T:
        started = time.monotonic()
        try:
            self._counted = await self._ask()
        except (DBAPIError, PoolTimeoutError) as error:
            log.warning(f"{self._of} are not counted anew", reason=str(error))
            if self._counted is None:
                raise
        finally:
            took_s = time.monotonic() - started
            self._again_at = time.monotonic() + max(FRESH_S, TIMES_ITS_COST * took_s)
            self._counting = None
        return self._counted


def _heard(counting: "asyncio.Task[T]") -> None:
    """Nobody may wait for it: what it failed by is in the log."""
    if not counting.cancelled():
        counting.exception()
