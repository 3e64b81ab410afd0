"""What the alerter tells the desk of recalls, for the sweep (domain.recall_watch)."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalStateError

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import Recall
from scantrail.domain.recall_watch import Due, TakingOver, Watched
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of


class Hit(NamedTuple):
    """A movement, as Kafka's `record`, whose unit a recall means or may mean."""

    recall: Recall
    unit: str
    record: Any


class RecallWatch:
    """Knows which recalls are new, and tells from where on movements are judged with them.

    Per batch: `begins` before it is judged, `tell_begins` once its offsets are committed, and where
    there is something to tell, `begins` of the next only after that. This order makes what is told
    true whoever judges next, and whoever judged before, dead or paused.
    """

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._movements = name_of(settings, Topic.MOVEMENTS)
        self._topic = name_of(settings, Topic.RECALL_WATCH)
        self._producer = producer
        self._taking_over = TakingOver()
        self._due: list[Due] = []

    def follow(self, recall_id: str, in_force: Recall | None) -> None:
        """The version of a recall by which movements are judged from now on."""
        if in_force is None:
            self._taking_over.remove(recall_id)
        else:
            self._taking_over.take(in_force)

    async def begins(
        self, consumer: AIOKafkaConsumer, batch: Mapping[TopicPartition, list[Any]]
    ) -> dict[TopicPartition, int]:
        """From where on each partition is judged with the recalls that are new: the batch in hand,
        or what comes next. Empty where none is new."""
        places = {each.partition: each for each in consumer.assignment() if self._is_of(each)}
        self._due = self._taking_over.due(places)
        found = {}
        for partition in sorted({each.partition for each in self._due}):
            place = places[partition]
            if place in batch:
                found[place] = batch[place][0].offset
                continue
            try:
                found[place] = await consumer.position(place)
            except IllegalStateError:  # it was taken from us: whoever has it tells
                continue
        return found

    async def tell_begins(
        self, consumer: AIOKafkaConsumer, begins: Mapping[TopicPartition, int]
    ) -> None:
        """Tell what `begins` found; every acknowledgement is awaited."""
        positions = {place.partition: offset for place, offset in begins.items()}
        told = [each for each in self._due if each.partition in positions]
        sent = await self._send(
            (
                each.recall,
                Watched(
                    recall=each.recall,
                    version=each.version,
                    partition=each.partition,
                    partitions=self._count(consumer),
                    position=positions[each.partition],
                ),
            )
            for each in told
        )
        await asyncio.gather(*sent)
        self._taking_over.told(told)

    async def send_hits(
        self, consumer: AIOKafkaConsumer, hits: Iterable[Hit]
    ) -> list[Awaitable[Any]]:
        """Tell of units that recalls mean or may mean; the acknowledgements, to be awaited."""
        return await self._send(
            (
                hit.unit,
                Watched(
                    recall=hit.recall.id,
                    version=hit.recall.version,
                    partition=hit.record.partition,
                    partitions=self._count(consumer),
                    position=hit.record.offset,
                    unit=hit.unit,
                ),
            )
            for hit in hits
        )

    def _is_of(self, place: TopicPartition) -> bool:
        return bool(place.topic == self._movements)

    def _count(self, consumer: AIOKafkaConsumer) -> int:
        return len(consumer.partitions_for_topic(self._movements))

    async def _send(self, told: Iterable[tuple[str, Watched]]) -> list[Awaitable[Any]]:
        return [
            await self._producer.send(self._topic, encode(watched), key=key.encode())
            for key, watched in told
        ]
