"""What consumer groups have yet to do of what their topics had when the load was over."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

import psycopg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from scantrail.alerter.app import READ
from scantrail.contracts.topics import Topic
from scantrail.infra.connecting import begin
from scantrail.infra.credentials import kafka_access
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import partitions_of
from scantrail.projector.writing import TOPICS

#: What each group reads.
GROUPS: Mapping[str, tuple[Topic, ...]] = {
    "tracker": (Topic.SCANS,),
    "alerter": READ,
    "projector": TOPICS,
}

#: Everything that was accepted is in the database: what is left then is soon done.
DONE_S_MAX = 30.0

_LOOK_EVERY_S = 0.3

#: Records that a group has yet to do, by the group and the partition.
Lags = dict[tuple[str, TopicPartition], int]


async def lags_at_last(settings: Settings) -> Lags:
    """What is left in DONE_S_MAX; nothing where all is done, and then at once.

    Statuses of readers are told all the time: what comes from now on is not looked at.
    """
    partitions = await partitions_of(settings, *{each for some in GROUPS.values() for each in some})
    places = [place for some in partitions.values() for place in some]
    consumer = await connect_consumer(settings)
    try:
        begins = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
    finally:
        await consumer.stop()
    reads = {
        group: [place for topic in topics for place in partitions[topic]]
        for group, topics in GROUPS.items()
    }
    deadline = time.monotonic() + DONE_S_MAX
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings)
    )
    await begin(admin)
    try:
        left = lags(reads, begins, ends, {})
        while left:
            with contextlib.suppress(KafkaError, psycopg.Error):
                left = lags(reads, begins, ends, await _done(admin, settings))
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        return left
    finally:
        await admin.close()


def lags(
    reads: Mapping[str, list[TopicPartition]],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    done: Mapping[str, Mapping[TopicPartition, int]],
) -> Lags:
    """`reads`: the partitions of each group; `begins` and `ends`: the first offset of each, and the
    next; `done`: by group the first offset that is not done, of those that it told."""
    found: Lags = {}
    for group, places in reads.items():
        for place in places:
            left = ends[place] - max(done.get(group, {}).get(place, 0), begins[place])
            if left > 0:
                found[group, place] = left
    return found


async def _done(
    admin: AIOKafkaAdminClient, settings: Settings
) -> dict[str, dict[TopicPartition, int]]:
    """What each group told; the projector does so in the database, with its rows, and Kafka has a
    hint of it."""
    done = {}
    for group in GROUPS:
        told = await admin.list_consumer_group_offsets(f"{settings.topic_prefix}.{group}")
        done[group] = {place: each.offset for place, each in told.items()}
    with psycopg.connect(settings.database_url, autocommit=True) as database:
        rows = database.execute("SELECT topic, partition, next_offset FROM consumer_offset")
        done["projector"] = {TopicPartition(topic, number): next_ for topic, number, next_ in rows}
    return done
