"""The gateway's copies of compacted topics: from Kafka, and on disk for a start without it."""

import asyncio
import os
from pathlib import Path
from typing import Generic, TypeVar

from scantrail.contracts.records import Codec, UnreadableRecord, encode
from scantrail.contracts.topics import Topic
from scantrail.infra.kafka import Mirror
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

T = TypeVar("T")

#: Changes that come within so long are written to disk together.
SAVE_EVERY_S = 1.0


class Copy(Generic[T]):
    """`by_id` changes while `follow` runs; `loaded` is set once there is something to go by.

    Of an entity whose newest record cannot be read the last version stands.
    """

    def __init__(self, topic: Topic, codec: Codec[T], folder: Path) -> None:
        self.topic = topic
        self._codec = codec
        self._path = folder / f"{topic.value}.json"
        self._changed = asyncio.Event()
        self.loaded = asyncio.Event()
        self.by_id: dict[str, T] = {}
        try:
            self.by_id |= codec.decode_all(self._path.read_bytes())
            self.loaded.set()
        except FileNotFoundError:
            pass
        except UnreadableRecord as error:
            log.error(
                "snapshot cannot be read, waiting for Kafka", topic=topic.value, reason=str(error)
            )

    async def follow(self, settings: Settings) -> None:
        """Take over each change until cancelled; a snapshot is behind by SAVE_EVERY_S at most."""
        mirror = Mirror(settings, self.topic, self._take)
        try:
            await mirror.start()
            self.loaded.set()
            self._save()
            saving = asyncio.create_task(self._save_changes())
            try:
                await mirror.follow()
            finally:
                saving.cancel()
                if self._changed.is_set():
                    self._save()
        finally:
            await mirror.stop()

    def _take(self, key: str, value: bytes | None) -> None:
        self._changed.set()
        if value is None:
            self.by_id.pop(key, None)
            return
        try:
            self.by_id[key] = self._codec.decode(value)
        except UnreadableRecord as error:
            log.error("record cannot be read", topic=self.topic.value, key=key, reason=str(error))

    async def _save_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._save()
            await asyncio.sleep(SAVE_EVERY_S)

    def _save(self) -> None:
        self._changed.clear()
        new = self._path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                file.write(encode(self.by_id))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:  # Kafka has them; only a start without Kafka would miss them
            log.error("snapshot cannot be written", topic=self.topic.value, reason=str(error))
