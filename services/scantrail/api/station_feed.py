"""What came last at each station, from the end of `movements`: for those who look on.

Nothing is read while nobody asks. Nothing here is durable, nor needs to be: who asks first is told
of the last records of each partition.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka.errors import KafkaError

from scantrail.contracts.records import Movement, UnreadableRecord, movements
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

#: Of each partition so many records before its end are told.
RECORDS_BEFORE: Final = 2_000

#: Of each station so many are kept.
KEPT: Final = 100

#: Of each station so many minutes' reads are counted.
MINUTES_KEPT: Final = 5

#: Nobody asked for so long: it is read no more.
IDLE_S: Final = 120.0

#: Who asks first waits so long at most.
READY_S_MAX: Final = 3.0

#: Derived from a parent's scan, or told of no visit: nobody held it before a reader there.
_NOT_READ = (Outcome.NOT_INSIDE, Outcome.JOINED, Outcome.RELEASED, Outcome.REFOLDED)


@dataclass(frozen=True, slots=True)
class Seen:
    """One scan at a station, as it came."""

    unit: str
    event_id: str
    outcome: Outcome
    business_step: str
    event_time: datetime
    came_at: datetime
    site: str
    reader: str
    order: str | None


class StationFeed:
    """The last scans of each station, newest last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._of = defaultdict[str, deque[Seen]](lambda: deque(maxlen=KEPT))
        self._minutes = defaultdict[str, Counter[int]](Counter)
        self._asked_at = 0.0
        self._asked = asyncio.Event()
        self._ready = asyncio.Event()

    async def at(self, station: str) -> list[Seen]:
        """What came last there, newest first."""
        await self._followed()
        return list(reversed(self._of.get(station, ())))

    async def per_minute(self, stations: Iterable[str]) -> dict[str, float]:
        """Of each station how many reads came in the last minute, the one before weighed in."""
        await self._followed()
        minute, second = divmod(time.time(), 60.0)
        return {
            station: per_minute(self._minutes.get(station, {}), int(minute), second / 60.0)
            for station in stations
        }

    async def _followed(self) -> None:
        """Returns once the end of the topic was reached, or READY_S_MAX has passed."""
        self._asked_at = time.monotonic()
        self._asked.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S_MAX):
                await self._ready.wait()

    async def run(self) -> None:
        """Read while somebody asks, until cancelled."""
        while True:
            await self._asked.wait()
            try:
                await self._follow()
            except KafkaError as error:
                log.warning("kafka is away", reason=repr(error))
                await asyncio.sleep(1.0)

    async def _follow(self) -> None:
        consumer = await connect_consumer(self._settings, Topic.MOVEMENTS)
        try:
            partitions = consumer.assignment()
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition, end in ends.items():
                consumer.seek(partition, max(begins[partition], end - RECORDS_BEFORE))
            self._of.clear()
            self._minutes.clear()
            while time.monotonic() - self._asked_at < IDLE_S:
                batch = await consumer.getmany(timeout_ms=200, max_records=500)
                for records in batch.values():
                    self._add(records)
                    await asyncio.sleep(0)
                if not self._ready.is_set():
                    positions = {each: await consumer.position(each) for each in ends}
                    if all(positions[each] >= end for each, end in ends.items()):
                        self._ready.set()
            self._asked.clear()
        finally:
            self._ready.clear()
            await consumer.stop()

    def _add(self, records: list[Any]) -> None:
        for record in records:
            try:
                movement = movements.decode(record.value)
            except UnreadableRecord:
                continue  # the projector sets it aside
            if is_read(movement):
                station = movement.scan.station
                self._of[station].append(seen(movement, record.timestamp))
                minutes = self._minutes[station]
                minutes[record.timestamp // 60_000] += 1
                while len(minutes) > MINUTES_KEPT:
                    del minutes[min(minutes)]


def per_minute(minutes: Mapping[int, int], minute: int, passed: float) -> float:
    """Reads in the last 60 seconds, where of `minute` the share `passed` is over. Pure."""
    return minutes.get(minute, 0) + minutes.get(minute - 1, 0) * (1.0 - passed)


def is_read(movement: Movement) -> bool:
    """Whether somebody or something read the unit there."""
    scan = movement.scan
    return movement.outcome not in _NOT_READ and scan.derived_from is None and scan.corrects is None


def seen(movement: Movement, timestamp_ms: int) -> Seen:
    """A movement as its station's feed tells it."""
    scan = movement.scan
    orders = [each.id for each in scan.transactions if each.type == "order"]
    return Seen(
        unit=movement.unit,
        event_id=scan.event_id,
        outcome=movement.outcome,
        business_step=scan.business_step.value,
        event_time=scan.event_time,
        came_at=datetime.fromtimestamp(timestamp_ms / 1000, UTC),
        site=scan.site,
        reader=scan.reader,
        order=orders[0] if orders else None,
    )
