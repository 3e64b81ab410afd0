"""The gateway's copy of the stations: from their topic, and on disk for a start without Kafka."""

import asyncio
import os
from pathlib import Path

import msgspec

from scantrail.contracts.records import UnreadableRecord, encode, stations
from scantrail.contracts.topics import Topic
from scantrail.domain.station import Station
from scantrail.infra.kafka import Mirror
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

_snapshot = msgspec.json.Decoder(dict[str, Station])


class KnownStations:
    """`by_id` changes while `follow` runs; `loaded` is set once there is something to go by."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.loaded = asyncio.Event()
        self.by_id: dict[str, Station] = {}
        try:
            self.by_id |= _snapshot.decode(path.read_bytes())
            self.loaded.set()
        except FileNotFoundError:
            pass
        except msgspec.MsgspecError as error:
            log.error("snapshot of stations cannot be read, waiting for Kafka", reason=str(error))

    async def follow(self, settings: Settings) -> None:
        """Take over each change until cancelled."""
        mirror = Mirror(settings, Topic.STATIONS, self._take)
        try:
            await mirror.start()
            self.loaded.set()
            self._save()
            await mirror.follow()
        finally:
            await mirror.stop()

    def _take(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.by_id.pop(key, None)
        else:
            try:
                self.by_id[key] = stations.decode(value)
            except UnreadableRecord as error:
                log.error("station cannot be read", station=key, reason=str(error))
        if self.loaded.is_set():
            self._save()

    def _save(self) -> None:
        new = self._path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                file.write(encode(self.by_id))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:  # Kafka has them; only a start without Kafka would miss them
            log.error("snapshot of stations cannot be written", reason=str(error))
