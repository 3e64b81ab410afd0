"""The gateway's copies of compacted topics: from Kafka, and on disk for a start without it."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from scantrail.contracts.records import Codec, UnreadableRecord, encode
from scantrail.contracts.topics import Topic
from scantrail.gateway.notices import Notices
from scantrail.infra.kafka import Mirror
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

T = TypeVar("T")

#: Changes that come within so long are written to disk together.
SAVE_EVERY_S = 1.0

#: Entities that are encoded at once: the event loop waits for so many at most.
ENCODED_TOGETHER = 500


class Copy(Generic[T]):
    """`by_id` changes while `follow` runs; `loaded` is set once there is something to go by.

    Of an entity whose newest record cannot be read the last version stands. `unreadable` is told of
    it by its key and record, and of every other one by its key and None.
    """

    def __init__(
        self,
        topic: Topic,
        codec: Codec[T],
        folder: Path,
        unreadable: Callable[[str, bytes | None], None] = lambda key, value: None,
    ) -> None:
        self.topic = topic
        self._codec = codec
        self._unreadable = unreadable
        self._path = folder / f"{topic.value}.json"
        self._changed = asyncio.Event()
        self._changes, self._written = 0, -1
        self._writing = threading.Lock()
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

    async def follow(self, settings: Settings, notices: Notices | None = None) -> None:
        """Take over each change until cancelled; a snapshot is behind by SAVE_EVERY_S at most.

        `notices` are told up to when nothing is missing.
        """
        mirror = Mirror(settings, self.topic, self._take)
        try:
            await mirror.start()
            self.loaded.set()
            saving = asyncio.create_task(self._save_changes())
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(mirror.follow())
                    if notices is not None:
                        tasks.create_task(notices.keep_confirming(self.topic, mirror))
            finally:
                saving.cancel()
                self._write(self.by_id, self._changes)
        finally:
            await mirror.stop()

    def _take(self, key: str, value: bytes | None) -> None:
        self._changes += 1
        self._changed.set()
        if value is None:
            self.by_id.pop(key, None)
        else:
            try:
                self.by_id[key] = self._codec.decode(value)
            except UnreadableRecord as error:
                topic = self.topic.value
                log.error("record cannot be read", topic=topic, key=key, reason=str(error))
                self._unreadable(key, value)
                return
        self._unreadable(key, None)

    async def _save_changes(self) -> None:
        while True:
            self._changed.clear()
            await asyncio.to_thread(self._write, dict(self.by_id), self._changes)
            await asyncio.sleep(SAVE_EVERY_S)
            await self._changed.wait()

    def _write(self, by_id: Mapping[str, T], changes: int) -> None:
        """Put on disk what was there after so many changes, unless it has as many."""
        new = self._path.with_suffix(".new")
        with self._writing:
            if changes <= self._written:
                return
            try:
                with new.open("wb") as file:
                    file.writelines(_encoded(by_id))
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(self._path)
                self._written = changes
            except OSError as error:  # Kafka has them; only a start without Kafka would miss them
                log.error("snapshot cannot be written", topic=self.topic.value, reason=str(error))


def _encoded(by_id: Mapping[str, object]) -> Iterator[bytes]:
    """As `encode` does it, in parts between which other threads have their turn."""
    yield b"{"
    items, between = list(by_id.items()), b""
    for first in range(0, len(items), ENCODED_TOGETHER):
        yield between + encode(dict(items[first : first + ENCODED_TOGETHER]))[1:-1]
        between = b","
    yield b"}"
