"""Kafka clients as this project uses them: patient at start, durable when sending."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from scantrail.contracts.topics import Topic
from scantrail.infra.connecting import begin
from scantrail.infra.credentials import kafka_access
from scantrail.infra.logs import logger
from scantrail.infra.partitions import FixedPartitioner, partitions_of_topics
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import check_partitions, name_of

log = logger(__name__)

T = TypeVar("T")

RETRY_S = 0.5
FLUSH_S_MAX = 5.0

#: Records that a mirror applies at once: the event loop waits for so many at most.
APPLIED_TOGETHER = 500

#: A recall may list a million serials of 20 characters, or as many IMEIs in both their forms; the
#: topic that carries such records allows it too.
RECORD_BYTES_MAX = 40 << 20


async def connect_producer(settings: Settings) -> AIOKafkaProducer:
    """A producer whose records are acknowledged by all replicas, each written once, and go where
    the number of partitions says that the installation has.

    Waits for as long as no broker answers. Raises PartitionsDiffer where the topics have another
    number; where it changes later, what is sent raises PartitionsChanged.
    """
    await until_partitions_fit(settings)
    while True:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap,
            **kafka_access(settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=2,
            max_batch_size=1 << 18,
            max_request_size=RECORD_BYTES_MAX,
            request_timeout_ms=10_000,
            partitioner=FixedPartitioner(partitions_of_topics(settings).values()),
        )
        try:
            await begin(producer)
            return producer
        except KafkaError as error:
            log.warning("kafka is away", reason=str(error))
            await asyncio.sleep(RETRY_S)


async def until_partitions_fit(
    settings: Settings, on_wait: Callable[[], None] = lambda: None
) -> None:
    """Return once Kafka answers and its topics have the partitions that they must have.

    Raises PartitionsDiffer. `on_wait` is called every RETRY_S.
    """
    while True:
        try:
            return await check_partitions(settings)
        except KafkaError as error:
            log.warning("kafka is away", reason=str(error))
            on_wait()
            await asyncio.sleep(RETRY_S)


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop within FLUSH_S_MAX: aiokafka flushes for ever where no broker answers.

    What is not flushed by then must be durable elsewhere.
    """
    try:
        async with asyncio.timeout(FLUSH_S_MAX):
            await producer.stop()
    except (TimeoutError, KafkaError) as error:
        log.warning("producer did not stop cleanly", reason=repr(error))
        await drop_producer(producer)


async def drop_producer(producer: AIOKafkaProducer) -> None:
    """End it with what it has not sent yet: that would go out when the broker is back, behind
    whatever was sent meanwhile."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()


async def connect_consumer(
    settings: Settings,
    *topics: Topic,
    group: str | None = None,
    fetch_bytes_max: int = 1 << 20,
) -> AIOKafkaConsumer:
    """A consumer from the earliest record on, which commits only what it is told to.

    Without `group` it reads every partition of its topics, `fetch_bytes_max` of each at once. Waits
    for as long as no broker answers. A group's raises PartitionsDiffer, as connect_producer does.
    """
    if group:
        await until_partitions_fit(settings)
    while True:
        consumer = AIOKafkaConsumer(
            *(name_of(settings, topic) for topic in topics),
            bootstrap_servers=settings.kafka_bootstrap,
            **kafka_access(settings),
            group_id=f"{settings.topic_prefix}.{group}" if group else None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1_000,
            max_poll_records=5_000,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=fetch_bytes_max,
            metadata_max_age_ms=30_000,
        )
        try:
            await begin(consumer)
            return consumer
        except KafkaError as error:
            log.warning("kafka is away", reason=str(error))
            await asyncio.sleep(RETRY_S)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask Kafka until it answers. Refusals that will not pass are raised."""
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable and not isinstance(error, KafkaTimeoutError):
                raise
            log.warning("kafka is away", reason=repr(error))
            await asyncio.sleep(RETRY_S)


class Mirror:
    """A local copy of a compacted topic: each record is told to `apply(key, value or None)`."""

    def __init__(
        self, settings: Settings, topic: Topic, apply: Callable[[str, bytes | None], None]
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._apply = apply
        self._consumer: AIOKafkaConsumer | None = None
        self._asker: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._moved = asyncio.Event()

    async def start(self) -> None:
        """Connect, and read all that is there. Waits for Kafka and for the topic."""
        self._consumer = await connect_consumer(self._settings, self._topic)
        while not self._consumer.assignment():  # without a group: every partition
            await self._read(timeout_ms=50)
        self._partitions = sorted(self._consumer.assignment())
        # On the reading connection, a question for the end would wait behind a long poll.
        self._asker = await connect_consumer(self._settings)
        await patiently(self.catch_up)

    async def catch_up(self, *others: "Mirror") -> None:
        """Read to the end, as it is at the time of the call; `others` too, by the same question."""
        mirrors = (self, *others)
        partitions = [tp for mirror in mirrors for tp in mirror._partitions]
        ends = await _started(self._asker).end_offsets(partitions)
        for mirror in mirrors:
            await mirror._read_to(ends)

    async def _read_to(self, ends: Mapping[TopicPartition, int]) -> None:
        consumer = _started(self._consumer)
        while any([await consumer.position(tp) < ends[tp] for tp in self._partitions]):
            await self._read(timeout_ms=100)

    async def confirm(self) -> None:
        """While follow() reads: return once all that was there at the call was applied."""
        consumer = _started(self._consumer)
        ends = await _started(self._asker).end_offsets(self._partitions)
        while True:
            self._moved.clear()
            if not any([await consumer.position(tp) < end for tp, end in ends.items()]):
                return
            await self._moved.wait()

    async def follow(self) -> None:
        """Read on for ever; returns only by being cancelled."""
        while True:
            await self._read(timeout_ms=1000)

    async def stop(self) -> None:
        """Close both connections, whatever state they are in."""
        consumers = [c for c in (self._consumer, self._asker) if c is not None]
        await asyncio.gather(*(consumer.stop() for consumer in consumers), return_exceptions=True)

    async def _read(self, *, timeout_ms: int) -> None:
        """Some of what is there. All of it is applied before anybody sees the new positions."""
        told = await _started(self._consumer).getmany(
            timeout_ms=timeout_ms, max_records=APPLIED_TOGETHER
        )
        for records in told.values():
            for record in records:
                self._apply((record.key or b"").decode(errors="replace"), record.value)
        self._moved.set()
        await asyncio.sleep(0)  # what was fetched before, aiokafka gives without a pause


def _started(consumer: AIOKafkaConsumer | None) -> AIOKafkaConsumer:
    if consumer is None:
        raise RuntimeError("the mirror was not started")
    return consumer
