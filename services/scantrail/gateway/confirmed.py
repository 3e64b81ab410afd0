"""A compacted topic as it stands now: each change as it comes, and since when none is missing."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka.errors import KafkaError

from scantrail.contracts.topics import Topic
from scantrail.infra.kafka import Mirror
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

#: So often Kafka is asked whether there is more than is known; changes come at once.
CONFIRM_EVERY_S: Final = 1.0


async def follow_confirmed(
    settings: Settings,
    topic: Topic,
    take: Callable[[str, bytes | None], None],
    confirm: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    """Read `topic` until cancelled; waits for Kafka, at the start and whenever it is away.

    `take` is told each record, and raises what ends this; `confirm` that all which the topic had
    when `clock` showed that time were told.
    """
    mirror = Mirror(settings, topic, take)
    try:
        await mirror.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mirror.follow())
            await keep_confirming(mirror, topic, confirm, clock)
    finally:
        await mirror.stop()


async def keep_confirming(
    mirror: Mirror, topic: Topic, confirm: Callable[[float], None], clock: Callable[[], float]
) -> None:
    """While `mirror` follows `topic`: confirm as follow_confirmed does, until cancelled."""
    while True:
        asked_at = clock()
        try:
            await mirror.confirm()
        except KafkaError as error:  # whatever it is, reads go on being taken
            log.warning("not confirmed", topic=topic.value, reason=repr(error))
        else:
            confirm(asked_at)
        await asyncio.sleep(CONFIRM_EVERY_S)
