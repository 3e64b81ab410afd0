"""The outbox: what is entered leaves for its topic exactly as committed.

1. a change and its outbox row are committed together. Died here: the row waits.
2. the relay sends the oldest rows, one of each entity at most, and awaits every acknowledgement.
   Died here: they are sent again, same key and value: of no entity anything later was sent, so
   that readers never see it go back. Without an answer in time the producer is dropped with what it
   has, before another relay may send: it would send that behind later versions.
3. the rows are deleted.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import Float, Row, Select, cast, delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.contracts.topics import Topic
from scantrail.infra import metrics
from scantrail.infra.failpoints import passing
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_producer, drop_producer, stop_producer
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.tables import outbox
from scantrail.infra.topic_admin import name_of

log = logger(__name__)

POLL_S = 0.5

#: How often it is told for how long the oldest row waits.
LOOK_S = 5.0

#: So long an answer waits for Kafka to have the change; it is committed in any case.
PUBLISH_S_MAX = 3.0

#: With Kafka away the transaction is given up after so long, and begun again.
SEND_S_MAX = 10.0
ROWS = 500

#: More than one record of a long recall is not read at once.
BYTES = 4 << 20

#: One relay at a time sends, or a later version could be overtaken by an earlier one.
RELAY_LOCK = 7_264_502


#: For how long the oldest row waits, in seconds; no row where none does.
_AGE_S = (
    select(cast(func.extract("epoch", func.clock_timestamp() - outbox.c.entered_at), Float))
    .order_by(outbox.c.id)
    .limit(1)
)


class Outbox:
    """Adds rows to a caller's transaction, and relays them to Kafka."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._settings = settings
        self._engine = engine
        self._kick = asyncio.Event()

    async def add(
        self, connection: AsyncConnection, topic: Topic, key: str, value: bytes | None
    ) -> int:
        """Let a record leave with the transaction of `connection`; returns the row's number.

        Without a value it says that the entity is gone.
        """
        name = name_of(self._settings, topic)
        row = insert(outbox).values(topic=name, key=key, value=value).returning(outbox.c.id)
        number: int = (await connection.execute(row)).scalar_one()
        return number

    async def add_all(
        self,
        connection: AsyncConnection,
        topic: Topic,
        records: Sequence[tuple[str, bytes | None]],
    ) -> None:
        """Let many leave with the transaction, in their order."""
        name = name_of(self._settings, topic)
        rows = [{"topic": name, "key": key, "value": value} for key, value in records]
        if rows:
            await connection.execute(insert(outbox), rows)

    async def waiting(self, connection: AsyncConnection, topic: Topic) -> set[str]:
        """The keys of records that have yet to leave for `topic`."""
        name = name_of(self._settings, topic)
        rows = await connection.execute(select(outbox.c.key).where(outbox.c.topic == name))
        return set(rows.scalars())

    async def published(self, number: int, *, within_s: float) -> bool:
        """Whether the committed row has left by `within_s` seconds from now."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self._kick.set()
            await asyncio.sleep(0.01)
            try:
                async with self._engine.connect() as connection:
                    row = await connection.execute(select(outbox.c.id).where(outbox.c.id == number))
                    if row.first() is None:
                        return True
            except DBAPIError as error:  # it is committed: the caller must not think otherwise
                log.warning("database is away", reason=str(error.orig))
                return False
        return False

    async def tell_oldest(self, engine: AsyncEngine) -> None:
        """Tell every LOOK_S until cancelled for how long the oldest row waits, by PostgreSQL's
        clock, asked over `engine`; what was told last stands while PostgreSQL is away."""
        while True:
            try:
                async with engine.connect() as connection:
                    age_s = (await connection.execute(_AGE_S)).scalar_one_or_none()
                metrics.OUTBOX_OLDEST.set(max(age_s or 0.0, 0.0))
            except (DBAPIError, PoolTimeoutError) as error:
                log.warning("the outbox is not looked at anew", reason=str(error))
            await asyncio.sleep(LOOK_S)

    async def relay(self, health: Health) -> None:
        """Send rows until cancelled; waits while Kafka or PostgreSQL is away."""
        producer = await connect_producer(self._settings)
        health.has("kafka")
        try:
            while True:
                try:
                    sent = await self._send_oldest(producer)
                except (KafkaError, TimeoutError) as error:
                    log.warning("kafka is away or refused: the outbox waits", reason=repr(error))
                    await self._wait()
                    producer = await connect_producer(self._settings)
                    continue
                except DBAPIError as error:
                    log.warning("database is away", reason=str(error.orig))
                    sent = 0
                if not sent:
                    await self._wait()
        finally:
            await stop_producer(producer)

    async def _send_oldest(self, producer: AIOKafkaProducer) -> int:
        async with self._engine.begin() as connection:
            locked = await connection.execute(
                text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": RELAY_LOCK}
            )
            if not locked.scalar_one():
                return 0
            rows = _one_of_each((await connection.execute(_oldest())).all())
            if rows:
                passing("outbox_read")
                await _send(producer, rows)
                passing("outbox_published")
                ids = [row.id for row in rows]
                await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
        if rows:
            metrics.LAST_PROCESSED.labels("api").set_to_current_time()
        return len(rows)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._kick.wait()
        self._kick.clear()


async def _send(producer: AIOKafkaProducer, rows: Sequence[Row[Any]]) -> None:
    """Send rows, and await every acknowledgement. Whatever comes instead, the producer sends no
    more."""
    try:
        async with asyncio.timeout(SEND_S_MAX):
            futures = [
                await producer.send(row.topic, row.value, key=row.key.encode()) for row in rows
            ]
            await asyncio.gather(*futures)
    except BaseException:
        await drop_producer(producer)
        raise


def _one_of_each(rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The first rows, up to the one that tells of an entity for the second time."""
    seen = set[tuple[str, str]]()
    for number, row in enumerate(rows):
        if (row.topic, row.key) in seen:
            return list(rows[:number])
        seen.add((row.topic, row.key))
    return list(rows)


def _oldest() -> Select[Any]:
    """The oldest rows, of few bytes together; the first whatever it has."""
    first = select(outbox).order_by(outbox.c.id).limit(ROWS).subquery()
    size = func.coalesce(func.octet_length(first.c.value), 0)
    summed = select(
        first.c.id,
        (func.sum(size).over(order_by=first.c.id) - size).label("before"),
    ).subquery()
    return (
        select(outbox)
        .join(summed, summed.c.id == outbox.c.id)
        .where(summed.c.before < BYTES)
        .order_by(outbox.c.id)
    )
