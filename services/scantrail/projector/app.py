"""The projector's shell.

1. records are fetched, from where the database says, and made into rows while PostgreSQL writes the
   batch before them. Died here: they are fetched again.
2. rows and offsets are written together: see writing.py.

Kafka's own committed offset is only a hint for tools that show lag.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.infra.database import connect_database, until_answers
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector.rows import Rows, add_records
from scantrail.projector.writing import TOPICS, Batch, Writer

log = logger(__name__)

COMMIT_EVERY_S = 1.0

#: Records that are made into rows at once: what is being written waits for so many at most.
RECORDS_AT_ONCE = 200

#: Bytes of one partition that are fetched at once: of fewer, a batch would have one partition's.
FETCH_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch with its rows, and the assignment under which it was fetched."""

    batch: Batch
    rows: Rows
    assignment: int


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
        self._consumer = consumer
        self._topics = {name_of(settings, topic): topic for topic in TOPICS}
        self._writer = Writer(engine, self._topics)
        self._assignment = 0
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the batch that is being written before another takes over; forget the next one."""
        async with self._writing:
            self._writer.next.clear()
            self._assignment += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the rows end."""
        try:
            await self._writer.begin(assigned)
        except Exception as error:
            self._failure = error  # aiokafka would log it and go on
            raise
        for partition in assigned:
            self._consumer.seek(partition, self._writer.next[partition])
        self._assignment += 1  # what was fetched by now does not begin there
        log.info("assigned", partitions=len(self._writer.next))

    async def project(self, health: Health) -> None:
        """Write batch after batch until cancelled; waits while PostgreSQL is away."""
        committed_at = time.monotonic()
        ahead = asyncio.create_task(self._take())
        try:
            while True:
                taken = await ahead
                ahead = asyncio.create_task(self._take())
                async with self._writing:
                    if taken.batch and self._is_ours(taken):
                        await self._writer.write(taken.batch, taken.rows, health)
                if time.monotonic() - committed_at > COMMIT_EVERY_S:
                    committed_at = time.monotonic()
                    await self._hint()
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _is_ours(self, taken: Taken) -> bool:
        """Whether it begins where the rows end: what was fetched under another assignment, or
        before this one's places to begin were known, is fetched again from there."""
        is_known = taken.batch.keys() <= self._writer.next.keys()
        return is_known and taken.assignment == self._assignment

    async def _take(self) -> Taken:
        """The next batch, as soon as there is one; empty where none comes soon."""
        batch = await self._consumer.getmany(timeout_ms=200)
        if self._failure is not None:
            raise self._failure
        assignment, rows = self._assignment, Rows()
        for partition, records in batch.items():
            for begin in range(0, len(records), RECORDS_AT_ONCE):
                some = records[begin : begin + RECORDS_AT_ONCE]
                add_records(rows, self._topics[partition.topic], some)
                await asyncio.sleep(0)
        return Taken(batch, rows, assignment)

    async def _hint(self) -> None:
        offsets = {partition: offset for partition, offset in self._writer.next.items() if offset}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            log.debug("offsets not committed", reason=str(error))
