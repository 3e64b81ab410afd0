"""The projector's shell.

1. records are fetched, from where the database says. Died here: they are fetched again.
2. rows and offsets are written together: see writing.py.

Kafka's own committed offset is only a hint for tools that show lag.
"""

import asyncio
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.infra.database import connect_database, until_answers
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector.writing import TOPICS, Writer

log = logger(__name__)

COMMIT_EVERY_S = 1.0


async def run_projector(settings: Settings, health: Health) -> None:
    """Project until cancelled."""
    engine = connect_database(settings)
    await until_answers(engine)
    health.has("database")
    consumer = await connect_consumer(settings, group="projector")
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
        self._writer = Writer(engine, {name_of(settings, topic): topic for topic in TOPICS})
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the batch in hand before another takes over."""
        async with self._writing:
            self._writer.next.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the rows end."""
        try:
            await self._writer.begin(assigned)
        except Exception as error:
            self._failure = error  # aiokafka would log it and go on
            raise
        for partition in assigned:
            self._consumer.seek(partition, self._writer.next[partition])
        log.info("assigned", partitions=len(self._writer.next))

    async def project(self, health: Health) -> None:
        """Write batch after batch until cancelled; waits while PostgreSQL is away."""
        committed_at = time.monotonic()
        while True:
            batch = await self._consumer.getmany(timeout_ms=200)
            if self._failure is not None:
                raise self._failure
            if batch:
                async with self._writing:
                    known = self._writer.next
                    batch = {tp: records for tp, records in batch.items() if tp in known}
                    await self._writer.take(batch, health)
            if time.monotonic() - committed_at > COMMIT_EVERY_S:
                committed_at = time.monotonic()
                await self._hint()

    async def _hint(self) -> None:
        offsets = {partition: offset for partition, offset in self._writer.next.items() if offset}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            log.debug("offsets not committed", reason=str(error))
