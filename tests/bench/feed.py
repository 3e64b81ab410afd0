"""Movements of a large site, as its trackers would send them: all at once, or at a pace."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaProducer

from bench import inventory
from bench.measure import Unfinished, say
from bench.workload import Record, publish, send
from scantrail.contracts.topics import Topic
from scantrail.infra.kafka import connect_producer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

#: Of ten scans so many are of units that are there; the others are first ones.
KNOWN_OF_TEN = 8
SEED = 1
TICK_S = 0.05


class Feed:
    """Movements of random units of the first `units`, and of new ones."""

    def __init__(self, settings: Settings, units: int) -> None:
        self.units = units
        #: the version of each unit that it told of
        self.seen: dict[int, int] = {}
        self.new = 0
        self.published = 0
        self._settings = settings
        self._topic = name_of(settings, Topic.MOVEMENTS)
        self._chosen = random.Random(SEED)
        self._stopped = asyncio.Event()
        #: made and not sent yet: what a flow did not need, the next one sends
        self._ready: deque[dict[int, list[Record]]] = deque()

    async def publish(self, scans: int) -> None:
        """Let Kafka have the next movements."""
        await publish(self._settings, self._topic, self.make(scans))
        self.published += scans
        say(f"{self.published:,} movements are there")

    @asynccontextmanager
    async def flow(self, per_s: int, seconds: float) -> AsyncIterator[None]:
        """Send so many a second while the body runs, which takes `seconds` or less."""
        for _ in range(int(seconds / TICK_S) - len(self._ready)):
            self._ready.append(self.make(int(per_s * TICK_S)))
        producer = await connect_producer(self._settings)
        sending = asyncio.create_task(self._send(producer))
        try:
            yield
            if sending.done():
                sending.result()
                raise Unfinished(f"the feed of {seconds} s was used up")
        finally:
            self._stopped.set()
            await asyncio.wait({sending})
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        due = asyncio.get_running_loop().time()
        self._stopped.clear()
        while self._ready:
            records = self._ready.popleft()
            await send(producer, self._topic, records)
            self.published += sum(map(len, records.values()))
            due += TICK_S
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stopped.wait()
                    return

    def make(self, scans: int) -> dict[int, list[Record]]:
        return inventory.movements(self._numbers(scans), self._settings.partitions, self.seen)

    def _numbers(self, scans: int) -> Iterator[int]:
        for turn in range(scans):
            if turn % 10 < KNOWN_OF_TEN:
                yield self._chosen.randrange(self.units)
            else:
                number = inventory.FIRST_NEW + self.new
                self.seen[number] = 0
                self.new += 1
                yield number
