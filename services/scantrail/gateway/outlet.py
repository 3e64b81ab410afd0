"""From the gateway to Kafka, or to disk while Kafka is away: kept means durable."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from scantrail.gateway.spool import Kept, Outgoing, Spool, SpoolFull
from scantrail.infra import metrics
from scantrail.infra.health import Health
from scantrail.infra.kafka import RETRY_S, connect_producer, stop_producer
from scantrail.infra.logs import logger
from scantrail.infra.partitions import PartitionsDiffer
from scantrail.infra.settings import Settings

log = logger(__name__)

DRAIN_RECORDS = 500

#: What the gateway lacks, and so is not ready, while it must refuse reads.
ROOM = "room for reads: Kafka is away and the spool takes no more"

#: What it lacks while Kafka's topics are not those of its settings: reads are kept on disk.
TOPICS = "topics with as many partitions as they must have"
TOPICS_AGAIN_S = 5.0

#: What Kafka says of a record, or of the batch it is in, that it will never take.
REFUSALS = (
    CorruptRecordException,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

T = TypeVar("T")


class Outlet:
    """`keep` returns once Kafka has acknowledged the records, or they are on disk.

    While anything is on disk everything goes there, so that each reader's reads keep their order;
    `drain` sends the oldest first, and live sending begins again when the spool is empty. A record
    whose acknowledgement was waited for too long may reach Kafka twice: by its id it counts once.
    One that Kafka will never take stays on disk, and holds up no other.
    """

    def __init__(self, settings: Settings, spool: Spool, health: Health) -> None:
        self._settings = settings
        self._spool = spool
        self._health = health
        self._producer: AIOKafkaProducer | None = None
        self._live = False
        self._away = asyncio.Event()
        self._away.set()
        self._overdue = set[asyncio.Task[None]]()
        metrics.SPOOL_BYTES_MAX.set(settings.spool_bytes_max)
        self._tell_spool()

    async def keep(self, records: Sequence[Outgoing]) -> None:
        """Make `records` durable. Raises SpoolFull where neither Kafka nor the disk takes them."""
        started = time.monotonic()
        if not (self._live and await self._sent_in_time(records)):
            await self._to_disk(records)
            self._tell_spool()
        metrics.PRODUCE_SECONDS.observe(time.monotonic() - started)
        metrics.LAST_PROCESSED.labels("gateway").set_to_current_time()

    async def offer(self, records: Sequence[Outgoing]) -> bool:
        """Send `records` where Kafka takes them now; False where it does not, and they are gone."""
        return self._live and await self._sent_in_time(records)

    async def drain(self) -> None:
        """Connect, send what is on disk, go live, and again when Kafka was away."""
        while True:
            await self._away.wait()
            try:
                while kept := await insistently(self._spool.oldest, DRAIN_RECORDS):
                    await self._send_kept(kept)
                    self._tell_spool()
                await self._connected()
            except KafkaError as error:
                await self._renew(error)
                continue
            except PartitionsDiffer as error:  # to end would lose the reads that still come
                self._health.lacks(TOPICS)
                log.error("nothing is sent: reads go to disk", reason=str(error))
                await asyncio.sleep(TOPICS_AGAIN_S)
                continue
            self._health.has(ROOM)
            self._health.has(TOPICS)
            if self._spool.count == 0:  # else some are being written at this moment
                self._away.clear()
                self._live = True
                log.info("live: Kafka takes the reads")

    async def stop(self) -> None:
        """Stop sending; what Kafka has not acknowledged is on disk."""
        for task in self._overdue:
            task.cancel()
        if self._producer is not None:
            await stop_producer(self._producer)

    def _tell_spool(self) -> None:
        metrics.SPOOL_SCANS.set(self._spool.count)
        metrics.SPOOL_BYTES.set(self._spool.bytes)

    async def _to_disk(self, records: Sequence[Outgoing]) -> None:
        try:
            await self._spool.append(records)
        except SpoolFull:
            self._health.lacks(ROOM)
            raise
        self._health.has(ROOM)

    async def _send_kept(self, kept: Sequence[Kept]) -> None:
        """Send records of the spool; one by one where Kafka refuses one of them."""
        try:
            await _send(await self._connected(), [record for _, record in kept])
        except REFUSALS as error:
            await self._renew(error)
            if len(kept) > 1:
                for one in kept:
                    await self._send_kept([one])
                return
            ((_, record),) = kept
            log.error("kafka will not take a record", topic=record.topic, reason=repr(error))
            metrics.SPOOL_REFUSED.inc()
            await insistently(self._spool.set_aside, kept[0], repr(error))
        else:
            await insistently(self._spool.remove, kept)
            self._health.has(ROOM)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await connect_producer(self._settings)
        return self._producer

    async def _sent_in_time(self, records: Sequence[Outgoing]) -> bool:
        producer = self._producer
        if producer is None:
            return False
        sending = asyncio.create_task(_send(producer, records))
        done, _ = await asyncio.wait({sending}, timeout=self._settings.ack_limit_s)
        if done and sending.exception() is None:
            return True
        if done:
            log.warning("kafka refused", reason=repr(sending.exception()))
        else:  # it may yet arrive
            self._overdue.add(sending)
            sending.add_done_callback(self._forget)
        if self._live:
            self._live = False
            self._away.set()
            log.warning("kafka is away: reads go to disk")
        return False

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._overdue.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("an overdue record was refused; it is on disk", reason=repr(error))

    async def _renew(self, error: KafkaError) -> None:
        """An idempotent producer that failed cannot go on; a new one can."""
        log.warning("kafka refused, connecting anew", reason=repr(error))
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)
        await asyncio.sleep(RETRY_S)


async def insistently(work: "Callable[..., Awaitable[T]]", *arguments: object) -> T:
    """What the disk is asked for, again until it does it: what Kafka has must not stay there."""
    while True:
        try:
            return await work(*arguments)
        except sqlite3.Error as error:
            log.error("the spool's disk fails", reason=str(error))
            await asyncio.sleep(RETRY_S)


async def _send(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
    futures = [
        await producer.send(record.topic, record.value, key=record.key, headers=record.headers)
        for record in records
    ]
    await asyncio.gather(*futures)
