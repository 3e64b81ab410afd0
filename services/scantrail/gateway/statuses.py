"""Readers' statuses: gathered as reads come, and published when something changed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic, topic_name
from scantrail.domain.reader import ReaderStatus
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.outlet import Outlet
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.spool import Outgoing
from scantrail.infra import metrics

#: A change of connection or context is told within so long; counts so often.
LOOK_S = 1.0
COUNTS_EVERY_S = 15.0

#: As which reader, at which station, by which protocol reads of readers are counted that the file
#: does not name.
_UNKNOWN = ("unknown", "unknown", "unknown")

#: What becomes of a read. Each is counted from 0 on: a rule that looks for a rise would not see a
#: count that begins with 1.
OUTCOMES = (
    "accepted",
    "repeat",
    "no_read",
    "control",
    "invalid",
    "context",
    "stray",
    "unserialised",
)
LOST = "lost"


@dataclass(slots=True)
class _Known:
    connections: int = 0
    since: datetime | None = None
    heard_at: datetime | None = None
    clock_ahead_s: float | None = None
    counts: Counter[str] = field(default_factory=Counter)


class Statuses:
    """What is known of the readers of the file; of others nothing is kept, whoever they say they
    are."""

    def __init__(
        self,
        prefix: str,
        readers: Mapping[str, ReaderSettings],
        contexts: Contexts,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._topic = topic_name(prefix, Topic.READER_STATUS)
        self._readers = readers
        self._contexts = contexts
        self._now = now
        self._started_at = now()
        self._known = {reader_id: _Known() for reader_id in readers}
        self._told: dict[str, ReaderStatus] = {}
        for reader in readers.values():
            if _has_connection(reader):
                metrics.READER_UP.labels(reader.id).set(0)
            metrics.READER_LOST.labels(reader.id)
        for counted_as in (_UNKNOWN, *map(_counted_as, readers.values())):
            for outcome in OUTCOMES:
                metrics.READS.labels(*counted_as, outcome)

    @contextmanager
    def connected(self, reader_id: str) -> Iterator[None]:
        """While a connection of the reader is open."""
        self._connections(reader_id, +1)
        try:
            yield
        finally:
            self._connections(reader_id, -1)

    def set_up(self, reader_id: str, is_up: bool) -> None:
        """Whether a reader is there, where something else than its connection to us tells."""
        self._connections(reader_id, int(is_up) - self._known[reader_id].connections)

    def _connections(self, reader_id: str, change: int) -> None:
        known = self._known[reader_id]
        was_up = known.connections > 0
        known.connections += change
        is_up = known.connections > 0
        metrics.READER_UP.labels(reader_id).set(is_up)
        if is_up != was_up:
            known.since = self._now()

    def heard(
        self, reader_id: str, counts: Mapping[str, int], newest_event_time: datetime | None
    ) -> None:
        """What came of a delivery."""
        known = self._known.get(reader_id)
        reader = self._readers.get(reader_id)
        counted_as = _counted_as(reader) if reader else _UNKNOWN
        for word, count in counts.items():
            if word == LOST:
                metrics.READER_LOST.labels(counted_as[0]).inc(count)
            else:
                metrics.READS.labels(*counted_as, word).inc(count)
        if known is None:
            return
        known.heard_at = self._now()
        known.counts.update(counts)
        metrics.READER_LAST_SEEN.labels(reader_id).set(known.heard_at.timestamp())
        if newest_event_time is not None:
            known.clock_ahead_s = (newest_event_time - known.heard_at).total_seconds()
            metrics.READER_CLOCK_AHEAD.labels(reader_id).set(known.clock_ahead_s)

    async def tell(self, outlet: Outlet) -> None:
        """Publish what changed until cancelled. What Kafka does not take at once is told later."""
        while True:
            due = [status for status in self.now() if self._is_due(status)]
            records = [
                Outgoing(self._topic, status.id.encode(), encode(status), []) for status in due
            ]
            if records and await outlet.offer(records):
                self._told |= {status.id: status for status in due}
            await asyncio.sleep(LOOK_S)

    def now(self) -> list[ReaderStatus]:
        """Each reader's status at this moment."""
        now = self._now()
        return [
            ReaderStatus(
                id=reader.id,
                station=reader.station,
                protocol=reader.protocol,
                started_at=self._started_at,
                told_at=now,
                is_up=known.connections > 0 if _has_connection(reader) else None,
                since=known.since or (self._started_at if _has_connection(reader) else None),
                heard_at=known.heard_at,
                clock_ahead_s=known.clock_ahead_s,
                counts=dict(sorted(known.counts.items())),
                context=self._contexts.standing(reader.id, reader.context, now),
            )
            for reader, known in (
                (self._readers[reader_id], known) for reader_id, known in self._known.items()
            )
        ]

    def _is_due(self, status: ReaderStatus) -> bool:
        told = self._told.get(status.id)
        if told is None:
            return True
        if (told.is_up, told.since, told.context) != (status.is_up, status.since, status.context):
            return True
        is_old = status.told_at - told.told_at >= timedelta(seconds=COUNTS_EVERY_S)
        return is_old and (told.counts, told.heard_at) != (status.counts, status.heard_at)


def _counted_as(reader: ReaderSettings) -> tuple[str, str, str]:
    return reader.id, reader.station, reader.protocol


def _has_connection(reader: ReaderSettings) -> bool:
    return not reader.protocol.startswith("http-")
