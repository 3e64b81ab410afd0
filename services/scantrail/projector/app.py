"""The projector's shell. Per batch, in one transaction: rows, then the next offsets.

1. records are fetched, from where the database says, and made into rows while PostgreSQL writes the
   batch before them. Died here: they are fetched again.
2. rows are copied into staging tables and merged, guarded by version. Died here: rolled back.
3. each partition's next offset replaces the one we started from; another writer's has moved it,
   and then everything is rolled back and the process ends. Died here: rolled back.
4. commit. Died here: done; the next start begins behind it.

Kafka's own committed offset is only a hint for tools that show lag.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.contracts.topics import Topic
from scantrail.infra import metrics, tables
from scantrail.infra.database import (
    DATABASE_ERRORS,
    connect_database,
    is_away,
    is_refusal,
    sqlstate_of,
    until_answers,
)
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector.alerts import write_alerts
from scantrail.projector.rows import Row, Rows, add_records, refused_row

log = logger(__name__)

TOPICS = (
    Topic.MOVEMENTS,
    Topic.ALERTS,
    Topic.SCANS_REJECTED,
    Topic.READS_REJECTED,
    Topic.READER_STATUS,
)
RETRY_S = 0.5
COMMIT_EVERY_S = 1.0

#: Records that are written in one transaction.
RECORDS_MAX = 5_000

#: Records that are made into rows at once: what is being written waits for so many at most.
RECORDS_AT_ONCE = 200

#: Bytes of one partition that are fetched at once: of fewer, a batch would have one partition's.
FETCH_BYTES_MAX = 4 << 20

Batch = dict[TopicPartition, list[Any]]


@dataclass(slots=True)
class Taken:
    """What is to be written next, with its rows, and the assignment under which it was fetched."""

    assignment: int
    batch: Batch = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)
    records: int = 0


class StaleWriter(Exception):
    """Another projector has written this partition since we read its offset."""


async def run_projector(settings: Settings, health: Health) -> None:
    """Project until cancelled."""
    engine = connect_database(settings)
    await until_answers(engine)
    health.has("database")
    consumer = await connect_consumer(settings, group="projector", fetch_bytes_max=FETCH_BYTES_MAX)
    projector = Projector(settings, engine, consumer)
    try:
        consumer.subscribe([name_of(settings, topic) for topic in TOPICS], listener=projector)
        health.has("kafka")
        await projector.project(health)
    finally:
        await consumer.stop()
        await engine.dispose()


class Projector(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads what it was assigned, from the offsets in the database, into the database."""

    def __init__(self, settings: Settings, engine: AsyncEngine, consumer: AIOKafkaConsumer) -> None:
        self._engine = engine
        self._consumer = consumer
        self._topics = {name_of(settings, topic): topic for topic in TOPICS}
        self._next: dict[TopicPartition, int] = {}
        self._assignment = 0
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the batch that is being written before another takes over; forget the next one."""
        async with self._writing:
            self._next = {}
            self._assignment += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the rows end."""
        try:
            stored = await self._stored_offsets()
        except Exception as error:
            self._failure = error  # aiokafka would log it and go on
            raise
        for partition in assigned:
            self._next[partition] = stored.get(partition, 0)
            self._consumer.seek(partition, self._next[partition])
        self._assignment += 1  # what was fetched by now does not begin there
        log.info("assigned", partitions=len(self._next))

    async def _stored_offsets(self) -> dict[TopicPartition, int]:
        """Waits while PostgreSQL is away; what waiting does not mend is raised."""
        while True:
            await until_answers(self._engine)
            try:
                async with self._engine.connect() as connection:
                    rows = await connection.execute(select(tables.consumer_offset))
                    return {TopicPartition(r.topic, r.partition): r.next_offset for r in rows}
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                log.warning("database is away", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def project(self, health: Health) -> None:
        """Write batch after batch until cancelled; waits while PostgreSQL is away.

        What comes while one is written is gathered for the next.
        """
        committed_at = time.monotonic()
        taken = Taken(self._assignment)
        fetching: asyncio.Task[tuple[Batch, int]] | None = None
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                if fetching is None and taken.records < RECORDS_MAX:
                    fetching = asyncio.create_task(self._fetch(RECORDS_MAX - taken.records))
                await asyncio.wait(
                    {task for task in (fetching, writing) if task is not None},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if fetching is not None and fetching.done():
                    taken = await self._gathered(taken, *fetching.result())
                    fetching = None
                if writing is not None and writing.done():
                    writing.result()
                    writing = None
                if writing is None and taken.records:
                    writing = asyncio.create_task(self._write_taken(taken, health))
                    taken = Taken(self._assignment)
                if time.monotonic() - committed_at > COMMIT_EVERY_S:
                    committed_at = time.monotonic()
                    await self._hint()
        finally:
            running = [task for task in (fetching, writing) if task is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _fetch(self, records_max: int) -> tuple[Batch, int]:
        """Records as soon as there are some, none where none come soon, and their assignment."""
        batch = await self._consumer.getmany(timeout_ms=200, max_records=records_max)
        if self._failure is not None:
            raise self._failure
        return batch, self._assignment

    async def _gathered(self, taken: Taken, batch: Batch, assignment: int) -> Taken:
        """`taken` with `batch`; without what was fetched under another assignment."""
        if taken.assignment != assignment:
            taken = Taken(assignment)
        for partition, records in batch.items():
            taken.batch.setdefault(partition, []).extend(records)
            taken.records += len(records)
            for begin in range(0, len(records), RECORDS_AT_ONCE):
                some = records[begin : begin + RECORDS_AT_ONCE]
                add_records(taken.rows, self._topics[partition.topic], some)
                await asyncio.sleep(0)
        return taken

    async def _write_taken(self, taken: Taken, health: Health) -> None:
        """Write it where it begins where the rows end: what was fetched under another assignment,
        or before this one's places to begin were known, is fetched again from there."""
        async with self._writing:
            is_ours = taken.batch.keys() <= self._next.keys()
            if is_ours and taken.assignment == self._assignment:
                await self._write_all(taken.batch, taken.rows, health)

    async def _write_all(self, batch: Batch, rows: Rows, health: Health) -> None:
        """Write a batch; where PostgreSQL refuses values, by halves, down to the guilty record."""
        nexts = {partition: records[-1].offset + 1 for partition, records in batch.items()}
        try:
            await self._write_patiently(rows, nexts, health)
        except DATABASE_ERRORS as error:
            if not is_refusal(error):
                raise
            halves = _halves(batch)
            if halves:
                for half in halves:
                    await self._write_all(half, self._rows_of(half), health)
                return
            ((record,),) = batch.values()
            log.error(
                "record refused by the database",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=str(error),
            )
            metrics.REJECTED.labels("movements", "refused_by_database").inc()
            refused = refused_row(record, sqlstate_of(error))
            await self._write_patiently(refused, nexts, health)

    def _rows_of(self, batch: Batch) -> Rows:
        rows = Rows()
        for partition, records in batch.items():
            add_records(rows, self._topics[partition.topic], records)
        return rows

    async def _write_patiently(
        self, rows: Rows, nexts: dict[TopicPartition, int], health: Health
    ) -> None:
        while True:
            started = time.monotonic()
            try:
                async with self._engine.begin() as connection:
                    await self._write(connection, rows, nexts)
                break
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                health.lacks("database")
                log.warning("database is away", reason=str(error))
                await asyncio.sleep(RETRY_S)
        health.has("database")
        self._next.update(nexts)
        metrics.DATABASE_WRITE_SECONDS.observe(time.monotonic() - started)
        metrics.LAST_PROCESSED.labels("projector").set_to_current_time()
        metrics.SCANS_PROCESSED.labels("projector", "written").inc(len(rows.movements))
        age_seconds, now = metrics.SCAN_AGE_SECONDS.labels("database"), datetime.now(UTC)
        for record_time in rows.record_times:
            age_seconds.observe(max((now - record_time).total_seconds(), 0.0))

    async def _write(
        self, connection: AsyncConnection, rows: Rows, nexts: dict[TopicPartition, int]
    ) -> None:
        await _merge(connection, tables.movement, rows.movements.values(), _BY_VERSION)
        await _merge(connection, tables.unit, rows.units.values(), _BY_VERSION, kept=_TOLD_ONCE)
        await write_alerts(connection, rows.alerts)
        await _merge(connection, tables.rejected, rows.rejected.values(), _REJECTED)
        await _merge(connection, tables.reader_status, rows.readers.values(), _LAST)
        for partition, offset in nexts.items():
            await _advance(connection, partition, self._next[partition], offset)

    async def _hint(self) -> None:
        offsets = {partition: offset for partition, offset in self._next.items() if offset}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            log.debug("offsets not committed", reason=str(error))


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
_TOLD_ONCE = frozenset({"lot", "produced_on"})

_BY_VERSION = "DO UPDATE SET {all} WHERE excluded.version > {table}.version"

#: A read that was replayed and is rejected again waits again; a record read twice changes nothing.
_REJECTED = "DO UPDATE SET {all} WHERE excluded.record_time > {table}.record_time"

#: One partition, and one gateway for a reader: what comes last is the newest, whatever its clock.
_LAST = "DO UPDATE SET {all}"


async def _merge(
    connection: AsyncConnection,
    table: Table,
    rows: Iterable[Row],
    on_conflict: str,
    kept: frozenset[str] = frozenset(),
) -> None:
    """Copy `rows` into a staging table of this transaction and merge it into `table`, where the
    columns `kept` are not emptied."""
    rows = list(rows)
    if not rows:
        return
    staging = f"staging_{table.name}"
    columns = [column.name for column in table.columns]
    await connection.execute(
        text(f"CREATE TEMP TABLE IF NOT EXISTS {staging} (LIKE {table.name}) ON COMMIT DELETE ROWS")
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {staging} ({', '.join(columns)}) FROM STDIN") as copy,
    ):
        for row in rows:
            await copy.write_row(row)
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
            f"INSERT INTO {table.name} SELECT * FROM {staging} ORDER BY {keys}"
            f" ON CONFLICT ({keys}) {resolution}"
        )
    )


async def _advance(
    connection: AsyncConnection, partition: TopicPartition, expected: int, offset: int
) -> None:
    """Replace the stored offset, which must be the one we started from. Raises StaleWriter."""
    first = (
        "INSERT INTO consumer_offset VALUES (:topic, :partition, :offset) ON CONFLICT DO NOTHING"
    )
    next_ = (
        "UPDATE consumer_offset SET next_offset = :offset WHERE topic = :topic"
        " AND partition = :partition AND next_offset = :expected"
    )
    advanced = await connection.execute(
        text(next_ if expected else first),
        {
            "topic": partition.topic,
            "partition": partition.partition,
            "offset": offset,
            "expected": expected,
        },
    )
    if advanced.rowcount != 1:
        raise StaleWriter(f"{partition} was written by another projector: offset is not {expected}")
