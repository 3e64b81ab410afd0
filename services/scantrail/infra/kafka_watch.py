"""What a process knows of Kafka, as metrics: the brokers that live, and what it has yet to do.

Asked on a connection of its own: on the one that reads, a question would wait behind a long poll.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from scantrail.contracts.topics import Topic
from scantrail.infra import metrics
from scantrail.infra.connecting import begin
from scantrail.infra.credentials import kafka_access
from scantrail.infra.health import Health, Looks
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

log = logger(__name__)

#: How often it is asked.
LOOK_EVERY_S = 5.0

#: How long an answer is waited for.
ANSWER_S_MAX = 5.0

#: The first record that is not done of each partition that is ours.
Positions = Callable[[], Awaitable[Mapping[TopicPartition, int]]]


async def _of_nothing() -> Mapping[TopicPartition, int]:
    return {}


async def watch_kafka(
    settings: Settings,
    group: str = "",
    positions: Positions = _of_nothing,
    health: Health | None = None,
) -> None:
    """Tell it every LOOK_EVERY_S until cancelled. `group` is a label: the name of the process.

    What is not known is not told: while Kafka is away there is no lag. Of a partition that is taken
    from us nothing more is told. `health` lacks `kafka` while no broker answers; without it the
    process is as ready as before (docs/decisions/0043).
    """
    asker: AIOKafkaConsumer | None = None
    looks = None if health is None else Looks(health, "kafka")
    lags = _Lags(settings, group)
    metrics.KAFKA_BROKERS.set(0)
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    if asker is None:
                        asker = await _connected(settings)
                    brokers = await _brokers(asker)
                    lags.tell(*await _asked(asker, await positions()))
            except (KafkaError, TimeoutError) as error:
                lags.tell({}, {})
                brokers = 0 if asker is None else await _brokers_in_time(asker)
                log.debug("kafka does not tell how far it is", reason=repr(error))
            metrics.KAFKA_BROKERS.set(brokers)
            if looks is not None:
                looks.found(brokers > 0)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        lags.tell({}, {})
        if asker is not None:
            await asker.stop()


async def _connected(settings: Settings) -> AIOKafkaConsumer:
    asker = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        **kafka_access(settings),
        enable_auto_commit=False,
    )
    await begin(asker)
    return asker


async def _brokers_in_time(asker: AIOKafkaConsumer) -> int:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await _brokers(asker)
    except (KafkaError, TimeoutError):
        return 0


async def _brokers(asker: AIOKafkaConsumer) -> int:
    """How many live, as the first of them tells that answers; 0 where none does."""
    client = asker._client
    for broker in client.cluster.brokers():
        with contextlib.suppress(KafkaError):
            told = await client.send(broker.nodeId, MetadataRequest([]))
            return len(told.brokers)
    return 0


async def _asked(
    asker: AIOKafkaConsumer, positions: Mapping[TopicPartition, int]
) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
    """The first record that is there and not done of each partition, and where each ends."""
    if not positions:
        return {}, {}
    begins = await asker.beginning_offsets(list(positions))
    ends = await asker.end_offsets(list(positions))
    return {place: max(done, begins[place]) for place, done in positions.items()}, ends


class _Lags:
    """The metrics of the partitions that are ours at the moment."""

    def __init__(self, settings: Settings, group: str) -> None:
        self._group = group
        self._topics = {name_of(settings, topic): topic.value for topic in Topic}
        self._told = set[tuple[str, str, str]]()

    def tell(self, nexts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        labels = {
            place: (self._group, self._topics[place.topic], str(place.partition)) for place in nexts
        }
        for gone in self._told - set(labels.values()):
            metrics.CONSUMER_LAG.remove(*gone)
            metrics.CONSUMER_NEXT.remove(*gone)
        self._told = set(labels.values())
        for place, done in nexts.items():
            metrics.CONSUMER_NEXT.labels(*labels[place]).set(done)
            metrics.CONSUMER_LAG.labels(*labels[place]).set(max(ends[place] - done, 0))


class InHand:
    """How far a consumer is that ends one batch after another: what it has fetched and not done yet
    counts as waiting."""

    def __init__(self) -> None:
        #: None until it has subscribed
        self.of: AIOKafkaConsumer | None = None
        self._firsts: list[dict[TopicPartition, int]] = []

    def take(self, batch: Mapping[TopicPartition, list[Any]]) -> dict[TopicPartition, int]:
        """Work on this batch begins: its first offsets, by which it is known."""
        firsts = {place: records[0].offset for place, records in batch.items()}
        self._firsts.append(firsts)
        return firsts

    def done(self, firsts: Mapping[TopicPartition, int]) -> None:
        """That batch is done, or was given up."""
        self._firsts = [each for each in self._firsts if each is not firsts]

    async def positions(self) -> Mapping[TopicPartition, int]:
        """The first record that is not done of each partition that is assigned."""
        if self.of is None:
            return {}
        found = {}
        for place in self.of.assignment():
            firsts = [each[place] for each in self._firsts if place in each]
            found[place] = firsts[0] if firsts else await self.of.position(place)
        return found
