"""Events for open pages: something moved, an alert came, a recall was swept, somebody changed
something.

One question to PostgreSQL every LOOK_EVERY_S while anybody listens, whoever and however many they
are. An event says only that there is news: the page asks for it as for anything else. Each page is
told at once, then at its pace, and of the last news always: what is seen is never older than that.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from litestar import Request, get
from litestar.response import ServerSentEvent, ServerSentEventMessage
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.problems import Problem
from scantrail.contracts.topics import Topic
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

log = logger(__name__)

AnyRequest = Request[Any, Any, Any]

#: A scan is to be seen a second after it was made; it is a row after some tenths.
LOOK_EVERY_S = 0.1

#: A page is told of the same event so often at most.
APART_S = 0.3

#: Each event has a second name, by which those are told at most so often who ask for much.
SELDOM = "-seldom"
SELDOM_APART_S = 1.0

#: So long nothing is sent at most: proxies end connections on which nothing is said.
QUIET_S = 15.0

LISTENERS_MAX = 500

_NEWS = text(
    "SELECT topic, sum(next_offset)::bigint FROM consumer_offset GROUP BY topic"
    " UNION ALL SELECT 'audit', coalesce(max(number), 0) FROM audit"
    " UNION ALL SELECT 'sweep', coalesce(sum(version), 0)::bigint FROM recall_sweep"
)

_EVENTS = {
    Topic.MOVEMENTS: "moved",
    Topic.ALERTS: "alerts",
    Topic.READER_STATUS: "readers",
    Topic.SCANS_REJECTED: "rejected",
    Topic.READS_REJECTED: "rejected",
}


class Listener:
    """One open page: what it has not been told of yet, and when it was told last."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue[str | None]()
        self._waiting = set[str]()
        self._told_at = dict[str, float]()

    def tell(self, news: Iterable[str], now: float) -> None:
        """Hand over what is new, and what had to wait, as far as it is time; `now` in s."""
        for event in news:
            self._waiting |= {event, event + SELDOM}
        if self.queue.qsize() > len(self._waiting):
            return  # it does not keep up, and is told later
        for event in sorted(self._waiting):
            apart = SELDOM_APART_S if event.endswith(SELDOM) else APART_S
            if now - self._told_at.get(event, -apart) >= apart:
                self._told_at[event] = now
                self._waiting.discard(event)
                self.queue.put_nowait(event)


class Live:
    """Looks for news while anybody listens, until cancelled."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._engine = engine
        self._events = {name_of(settings, topic): event for topic, event in _EVENTS.items()}
        self._events |= {"audit": "changed", "sweep": "swept"}
        self._listeners = set[Listener]()
        self._listening = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled; then the pages that listen are told to go."""
        known: dict[str, int] = {}
        try:
            while True:
                await self._listening.wait()
                news = set[str]()
                with contextlib.suppress(DBAPIError, PoolTimeoutError):
                    now = await self._look()
                    if known:
                        changed = [name for name, to in now.items() if known.get(name) != to]
                        news = {self._events[name] for name in changed}
                    known = now
                for listener in self._listeners:
                    listener.tell(news, time.monotonic())
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for listener in self._listeners:
                listener.queue.put_nowait(None)

    async def _look(self) -> dict[str, int]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(_NEWS)
            return {name: to for name, to in rows if name in self._events}

    async def events(self) -> AsyncIterator[ServerSentEventMessage]:
        """What is new from now on."""
        listener = Listener()
        self._listeners.add(listener)
        self._listening.set()
        try:
            yield ServerSentEventMessage(event="open", data="", retry=2000)
            while True:
                try:
                    async with asyncio.timeout(QUIET_S):
                        event = await listener.queue.get()
                except TimeoutError:
                    yield ServerSentEventMessage(comment="still there")
                    continue
                if event is None:
                    return
                yield ServerSentEventMessage(event=event, data="")
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._listening.clear()

    @property
    def is_full(self) -> bool:
        """Whether no more can listen."""
        return len(self._listeners) >= LISTENERS_MAX


def build_live(live: Live) -> list[Any]:
    """The route handlers."""

    @get("/page/live", role=Role.READ, include_in_schema=False)
    async def listen() -> ServerSentEvent:
        """Events: moved, alerts, readers, rejected, swept, changed, and each with -seldom."""
        if live.is_full:
            told = f"{LISTENERS_MAX} pages are told of news at once: this one is tried again"
            raise Problem(503, "Too many listen", told, headers={"Retry-After": "30"})
        return ServerSentEvent(live.events())

    return [listen]
