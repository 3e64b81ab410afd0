"""The projector's shell.

1. records are fetched, from where the database says, and made into rows and these into the words of
   COPY while PostgreSQL writes the batch before them. Died here: they are fetched again.
2. rows and offsets are written together: see writing.py. Where another has written, as one to whom
   our partitions went before we were told, or the database was restored, we go on where rows end.

Kafka's own committed offset is only a hint for tools that show lag.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.infra import metrics
from scantrail.infra.beside import beside
from scantrail.infra.database import DATABASE_ERRORS, connect_database, until_answers
from scantrail.infra.database_watch import watch_database
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.kafka_watch import watch_kafka
from scantrail.infra.logs import logger
from scantrail.infra.months import AHEAD, ANALYZE, MAKE_MONTHS
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector.rows import Rows, add_records
from scantrail.projector.writing import TOPICS, Batch, Copied, StaleWriter, Writer

log = logger(__name__)

COMMIT_EVERY_S = 1.0

#: Records that are written in one transaction.
RECORDS_MAX = 5_000

#: Records that are made into rows at once: what is being written waits for so many at most. Each of
#: its dozen statements waits once.
RECORDS_AT_ONCE = 50

#: Records that are taken out of what was fetched at once: it goes as fast, and is one piece too.
RECORDS_FETCHED = 500

#: Bytes of one partition that are fetched at once: of fewer, a batch would have one partition's.
FETCH_BYTES_MAX = 4 << 20

#: From the beginning of one transaction to that of the next, where few records come: each costs as
#: much as some dozens of scans, in PostgreSQL too. What comes after a pause is written at once.
APART_S = 0.1
RECORDS_FEW = 500

#: How often it is looked whether a month has to be made, when again where that failed, and how long
#: PostgreSQL may look at the whole history for its plans.
MONTHS_EVERY_S = 3600.0
MONTHS_RETRY_S = 60.0
MONTHS_S_MAX = 600.0


@dataclass(slots=True)
class Taken:
    """What is to be written next, with its rows, and the assignment under which it was fetched."""

    assignment: int
    batch: Batch = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)
    records: int = 0
    #: the rows in the words of COPY, where there was time
    copied: Mapping[Table, Copied] | None = None


async def run_projector(settings: Settings, health: Health) -> None:
    """Project until cancelled."""
    metrics.MONTHS_MADE.set_to_current_time()
    engine = connect_database(settings)
    consumer: AIOKafkaConsumer | None = None
    projector: Projector | None = None

    async def positions() -> Mapping[TopicPartition, int]:
        return {} if projector is None else await projector.positions()

    try:
        async with beside(
            watch_kafka(settings, "projector", positions, health), watch_database(settings, health)
        ):
            await until_answers(engine)
            health.has("database")
            consumer = await connect_consumer(
                settings, group="projector", fetch_bytes_max=FETCH_BYTES_MAX
            )
            projector = Projector(settings, engine, consumer)
            async with beside(keep_months(settings)):
                topics = [name_of(settings, topic) for topic in TOPICS]
                consumer.subscribe(topics, listener=projector)
                health.has("kafka")
                await projector.project(health)
    finally:
        if consumer is not None:
            await consumer.stop()
        await engine.dispose()


async def keep_months(settings: Settings) -> None:
    """See to it until cancelled that the months to come have their parts of the history. Where they
    cannot be made now, they are later; the part for all others takes what has none."""
    engine = connect_database(settings, statement_timeout_s=MONTHS_S_MAX)
    try:
        while True:
            wait_s = MONTHS_EVERY_S
            try:
                async with engine.begin() as connection:
                    made = (await connection.execute(MAKE_MONTHS, {"months": AHEAD})).scalar_one()
                async with engine.begin() as connection:
                    await connection.execute(ANALYZE, {"again": made > 0})
                metrics.MONTHS_MADE.set_to_current_time()
                if made:
                    log.info("months made", months=made)
            except DATABASE_ERRORS as error:
                wait_s = MONTHS_RETRY_S
                log.warning("months not made", reason=str(error))
            await asyncio.sleep(wait_s)
    finally:
        await engine.dispose()


class Projector(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads what it was assigned, from the offsets in the database, into the database."""

    def __init__(self, settings: Settings, engine: AsyncEngine, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._topics = {name_of(settings, topic): topic for topic in TOPICS}
        self._writer = Writer(engine, self._topics)
        self._assignment = 0
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    async def positions(self) -> Mapping[TopicPartition, int]:
        """The first record that is not written of each partition that is ours."""
        return dict(self._writer.next)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the batch that is being written before another takes over; forget the next one."""
        async with self._writing:
            self._writer.next.clear()
            self._assignment += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the rows end."""
        try:
            await self._begin(assigned)
        except Exception as error:
            self._failure = error  # aiokafka would log it and go on
            raise
        log.info("assigned", partitions=len(self._writer.next))

    async def _begin(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch them from where their rows end."""
        await self._writer.begin(partitions)
        for partition in partitions:
            self._consumer.seek(partition, self._writer.next[partition])
        self._assignment += 1  # what was fetched by now does not begin there

    async def project(self, health: Health) -> None:
        """Write batch after batch until cancelled; waits while PostgreSQL is away.

        What comes while one is written, or soon after, is gathered for the next.
        """
        committed_at = time.monotonic()
        due = 0.0  # when the next is written, if there are few records until then
        taken = Taken(self._assignment)
        fetching: asyncio.Task[tuple[Batch, int]] | None = None
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                if fetching is None and taken.records < RECORDS_MAX:
                    fetching = asyncio.create_task(
                        self._fetch(min(RECORDS_FETCHED, RECORDS_MAX - taken.records))
                    )
                may_write = writing is None and taken.records
                await asyncio.wait(
                    {task for task in (fetching, writing) if task is not None},
                    timeout=max(0.0, due - time.monotonic()) if may_write else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if fetching is not None and fetching.done():
                    taken = await self._gathered(taken, *fetching.result())
                    fetching = None
                if writing is not None and writing.done():
                    writing.result()
                    writing = None
                is_due = taken.records >= min(RECORDS_FEW, RECORDS_MAX) or time.monotonic() >= due
                if writing is None and taken.records and is_due:
                    due = time.monotonic() + APART_S
                    writing = asyncio.create_task(self._write_taken(taken, health))
                    taken = Taken(self._assignment)
                elif taken.records >= RECORDS_MAX and taken.copied is None:
                    taken.copied = await self._copied(taken.rows)
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

    async def _copied(self, rows: Rows) -> Mapping[Table, Copied]:
        """Nothing where that fails: whoever writes meets the same, and knows what to do."""
        with contextlib.suppress(*DATABASE_ERRORS):
            return await self._writer.copied(rows)
        return {}

    async def _write_taken(self, taken: Taken, health: Health) -> None:
        """Write it where it begins where the rows end: what was fetched under another assignment,
        or before this one's places to begin were known, is fetched again from there."""
        async with self._writing:
            is_ours = taken.batch.keys() <= self._writer.next.keys()
            if is_ours and taken.assignment == self._assignment:
                try:
                    await self._writer.write(taken.batch, taken.rows, health, taken.copied)
                except StaleWriter as error:
                    log.warning("going on where the rows end", reason=str(error))
                    await self._begin(list(self._writer.next))

    async def _hint(self) -> None:
        offsets = {partition: offset for partition, offset in self._writer.next.items() if offset}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            log.debug("offsets not committed", reason=str(error))
