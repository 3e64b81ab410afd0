"""Batches of records into PostgreSQL: per batch, in one transaction, rows and then next offsets.

1. rows are copied into staging tables and merged, guarded by version. Died here: rolled back.
2. each partition's next offset replaces the one we started from; another writer's has moved it,
   and then everything is rolled back and StaleWriter is raised. Died here: rolled back.
3. commit. Died here: done; the next start begins behind it.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from aiokafka import TopicPartition
from psycopg.copy import AsyncWriter
from sqlalchemy import Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.contracts.topics import Topic
from scantrail.infra import metrics, tables
from scantrail.infra.database import (
    DATABASE_ERRORS,
    is_away,
    is_full,
    is_refusal,
    sqlstate_of,
    until_answers,
)
from scantrail.infra.health import Health
from scantrail.infra.logs import logger
from scantrail.infra.regulated import tell_written
from scantrail.projector.alerts import write_alerts
from scantrail.projector.corrected import tell_marks_anew
from scantrail.projector.recalled import mark_recalled
from scantrail.projector.rows import Row, Rows, add_records, refused_row

log = logger(__name__)

#: What is projected; every row that comes of these can be made anew.
TOPICS = (
    Topic.MOVEMENTS,
    Topic.ALERTS,
    Topic.SCANS_REJECTED,
    Topic.READS_REJECTED,
    Topic.READER_STATUS,
    Topic.RECALL_WATCH,
)
RETRY_S = 0.5

#: Why a record became a row of `rejected` whose values PostgreSQL never takes.
REFUSED_BY_DATABASE = "refused_by_database"

#: Rows that are put into words at once: what is being written waits for so many at most.
ROWS_AT_ONCE = 50

Batch = dict[TopicPartition, list[Any]]

#: Rows in the words of COPY.
Copied = list[bytes | bytearray | memoryview]


class StaleWriter(Exception):
    """Another projector has written this partition since we read its offset."""


class Writer:
    """Writes batches from the offsets on that are stored with the rows. `topics`: by their names.

    `tells_webhooks` is denied where alerts are written that were told before; `waits_for_room`
    where a full disk is raised, as what is written may be what fills it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        topics: Mapping[str, Topic],
        *,
        tells_webhooks: bool = True,
        waits_for_room: bool = True,
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._tells_webhooks = tells_webhooks
        self._waits_for_room = waits_for_room
        #: where each partition goes on
        self.next: dict[TopicPartition, int] = {}
        metrics.SCANS_PROCESSED.labels("projector", "written")
        for topic in topics.values():
            metrics.REJECTED.labels(topic.value, metrics.UNREADABLE)
            metrics.REJECTED.labels(topic.value, REFUSED_BY_DATABASE)

    async def begin(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin where the rows of `partitions` end."""
        stored = await self._stored_offsets()
        self.next.update({partition: stored.get(partition, 0) for partition in partitions})

    async def _stored_offsets(self) -> dict[TopicPartition, int]:
        """Waits while PostgreSQL is away; what waiting does not mend is raised."""
        while True:
            await until_answers(self._engine)
            try:
                async with self._engine.connect() as connection:
                    return await stored_offsets(connection)
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                log.warning("database is away", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def take(self, batch: Batch, health: Health) -> None:
        """Write a batch."""
        rows = Rows()
        for partition, records in batch.items():
            add_records(rows, self._topics[partition.topic], records)
        await self.write(batch, rows, health)

    async def copied(self, rows: Rows) -> dict[Table, Copied]:
        """What is written of most records, in the words of COPY: it may be made while a batch is
        written. Raises what writing would raise."""
        async with self._engine.connect() as connection:
            return {
                table: await _copied(connection, some.values())
                for table, some in ((tables.movement, rows.movements), (tables.unit, rows.units))
            }

    async def write(
        self,
        batch: Batch,
        rows: Rows,
        health: Health,
        copied: Mapping[Table, Copied] | None = None,
    ) -> None:
        """Write a batch, of which `rows` were made, and `copied` of these; where PostgreSQL refuses
        values, by halves, down to the guilty record."""
        nexts = {partition: records[-1].offset + 1 for partition, records in batch.items()}
        try:
            await self._write_patiently(rows, nexts, health, copied or {})
            for topic, place in rows.unreadable:
                log.error("record cannot be read", topic=topic.value, place=place)
                metrics.REJECTED.labels(topic.value, metrics.UNREADABLE).inc()
        except DATABASE_ERRORS as error:
            if not is_refusal(error):
                raise
            halves = _halves(batch)
            if halves:
                for half in halves:
                    await self.take(half, health)
                return
            ((record,),) = batch.values()
            log.error(
                "record refused by the database",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=str(error),
            )
            topic = self._topics[record.topic]
            metrics.REJECTED.labels(topic.value, REFUSED_BY_DATABASE).inc()
            refused = refused_row(record, sqlstate_of(error))
            await self._write_patiently(refused, nexts, health, {})

    async def _write_patiently(
        self,
        rows: Rows,
        nexts: dict[TopicPartition, int],
        health: Health,
        copied: Mapping[Table, Copied],
    ) -> None:
        while True:
            started = time.monotonic()
            try:
                async with self._engine.begin() as connection:
                    await self._write(connection, rows, nexts, copied)
                break
            except DATABASE_ERRORS as error:
                if not is_away(error) or (is_full(error) and not self._waits_for_room):
                    raise
                health.lacks("database")
                log.warning("database is away", reason=str(error))
                await asyncio.sleep(RETRY_S)
        health.has("database")
        self.next.update(nexts)
        metrics.DATABASE_WRITE_SECONDS.observe(time.monotonic() - started)
        metrics.LAST_PROCESSED.labels("projector").set_to_current_time()
        metrics.SCANS_PROCESSED.labels("projector", "written").inc(len(rows.movements))
        age_seconds, now = metrics.SCAN_AGE_SECONDS.labels("database"), datetime.now(UTC)
        for at in rows.read_at:
            age_seconds.observe(max((now - at).total_seconds(), 0.0))

    async def _write(
        self,
        connection: AsyncConnection,
        rows: Rows,
        nexts: dict[TopicPartition, int],
        copied: Mapping[Table, Copied],
    ) -> None:
        async def merge(
            table: Table,
            some: Mapping[Any, Row],
            on_conflict: str,
            kept: frozenset[str] = frozenset(),
        ) -> None:
            if some:
                told = copied.get(table) or await _copied(connection, some.values())
                await _merge(connection, table, told, on_conflict, kept)

        await merge(tables.movement, rows.movements, _BY_VERSION)
        await merge(tables.unit, rows.units, _BY_VERSION, TOLD_ONCE)
        await tell_marks_anew(connection, rows.corrected)
        if rows.units:
            await tell_written(connection)
        await write_alerts(connection, rows.alerts, tells_webhooks=self._tells_webhooks)
        await merge(tables.rejected, rows.rejected, _REJECTED)
        await merge(tables.reader_status, rows.readers, _LAST)
        await merge(tables.recall_position, rows.recall_positions, _LATEST)
        await mark_recalled(connection, rows.recall_hits, rows.units)
        await _advance(connection, self.next, nexts)


async def stored_offsets(connection: AsyncConnection) -> dict[TopicPartition, int]:
    """Up to where each partition is in the rows."""
    rows = await connection.execute(select(tables.consumer_offset))
    return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}


def _halves(batch: Batch) -> list[Batch]:
    """Two smaller batches, in whose order all records keep theirs; none where there is but one."""
    records = [(partition, record) for partition, some in batch.items() for record in some]
    middle = len(records) // 2
    halves = []
    for part in (records[:middle], records[middle:]) if middle else ():
        half: Batch = {}
        for partition, record in part:
            half.setdefault(partition, []).append(record)
        halves.append(half)
    return halves


#: What the scans of a unit tell now and then: what is not told again stays.
TOLD_ONCE = frozenset({"lot", "produced_on"})

_BY_VERSION = "DO UPDATE SET {all} WHERE excluded.version > {table}.version"

#: A read that was replayed and is rejected again waits again; a record read twice changes nothing.
_REJECTED = "DO UPDATE SET {all} WHERE excluded.record_time > {table}.record_time"

#: One partition, and one gateway for a reader: what comes last is the newest, whatever its clock.
_LAST = "DO UPDATE SET {all}"

#: Each position is true from when it was told; a later one only lets the sweep wait.
_LATEST = (
    "DO UPDATE SET {all} WHERE (excluded.version, excluded.position)"
    " > ({table}.version, {table}.position)"
)


class _Words(AsyncWriter):
    """Keeps what a COPY would send."""

    def __init__(self) -> None:
        self.told: Copied = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(data)


async def _copied(connection: AsyncConnection, rows: Iterable[Row]) -> Copied:
    """`rows` as COPY takes them. Of `connection` only the way is used in which it tells values."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    words = _Words()
    async with psycopg.AsyncCopy(driver.cursor(), writer=words) as copy:
        for number, row in enumerate(rows):
            await copy.write_row(row)
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
    return words.told


async def _merge(
    connection: AsyncConnection, table: Table, told: Copied, on_conflict: str, kept: frozenset[str]
) -> None:
    """Copy what is `told` into a staging table of this transaction and merge it into `table`, where
    the columns `kept` are not emptied."""
    staging = f"staging_{table.name}"
    columns = [column.name for column in table.columns]
    names = ", ".join(columns)
    await connection.execute(
        text(f"CREATE TEMP TABLE IF NOT EXISTS {staging} (LIKE {table.name}) ON COMMIT DELETE ROWS")
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {staging} ({names}) FROM STDIN") as copy,
    ):
        for some in told:
            await copy.write(some)
    keys = ", ".join(column.name for column in table.primary_key)
    update = ", ".join(
        f"{name} = coalesce(excluded.{name}, {table.name}.{name})"
        if name in kept
        else f"{name} = excluded.{name}"
        for name in columns
    )
    resolution = on_conflict.format(all=update, table=table.name)
    await connection.execute(
        text(
            f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {staging} ORDER BY {keys}"
            f" ON CONFLICT ({keys}) {resolution}"
        )
    )


#: Of each partition the offset at which it goes on, and the one from which we went on, which must
#: be what is stored; 0 where nothing is.
_ADVANCE = text(
    """
    WITH wanted AS (
        SELECT * FROM unnest(
            CAST(:topics AS text[]), CAST(:partitions AS int[]),
            CAST(:offsets AS bigint[]), CAST(:expected AS bigint[])
        ) AS wanted (topic, partition, next_offset, expected)
    ), moved AS (
        UPDATE consumer_offset SET next_offset = wanted.next_offset FROM wanted
        WHERE consumer_offset.topic = wanted.topic AND consumer_offset.partition = wanted.partition
        AND wanted.expected > 0 AND consumer_offset.next_offset = wanted.expected
        RETURNING consumer_offset.topic, consumer_offset.partition
    ), begun AS (
        INSERT INTO consumer_offset SELECT topic, partition, next_offset FROM wanted
        WHERE expected = 0 ON CONFLICT DO NOTHING RETURNING topic, partition
    )
    SELECT * FROM moved UNION ALL SELECT * FROM begun
    """
)


async def _advance(
    connection: AsyncConnection,
    expected: Mapping[TopicPartition, int],
    nexts: Mapping[TopicPartition, int],
) -> None:
    """Replace the stored offsets, which must be those from which we went on. Raises StaleWriter."""
    places = sorted(nexts)
    advanced = await connection.execute(
        _ADVANCE,
        {
            "topics": [place.topic for place in places],
            "partitions": [place.partition for place in places],
            "offsets": [nexts[place] for place in places],
            "expected": [expected[place] for place in places],
        },
    )
    done = {TopicPartition(*row) for row in advanced}
    for place in places:
        if place not in done:
            raise StaleWriter(
                f"{place} was written by another projector: offset is not {expected[place]}"
            )
