"""The gateway's copy of `identifiers`, and the scans by which the tracker learns of each link.

1. a record is taken over, and its scan waits, in one transaction. Died before: Kafka has it.
2. the scan is kept, by Kafka or the spool. Died before: it waits on disk.
3. it waits no longer. Died before: it is kept again, under the same event id, and counts once.

A gateway that begins with an empty disk tells of every link once more; so does each of several.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scantrail.contracts.records import (
    UnreadableRecord,
    cloud_event_headers,
    encode,
    identifiers,
)
from scantrail.contracts.topics import Topic, topic_name
from scantrail.domain.unit_ids import TOLD_BY, Identifier, told_scan
from scantrail.gateway.notices import Notices
from scantrail.gateway.outlet import Outlet
from scantrail.gateway.spool import Outgoing, SpoolFull
from scantrail.infra.kafka import Mirror
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

RETRY_S = 2.0

#: Changes that come within so long are one transaction.
SAVE_EVERY_S = 0.05

#: Scans of links that are kept together.
TOLD_TOGETHER = 500

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS link (
    id TEXT PRIMARY KEY, unit TEXT NOT NULL, version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS link_by_unit ON link (unit);
CREATE TABLE IF NOT EXISTS untold (number INTEGER PRIMARY KEY, link BLOB NOT NULL);
"""

_TAKE: Final = (
    "INSERT INTO link VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
    " SET unit = excluded.unit, version = excluded.version WHERE excluded.version > link.version"
)

_UNIT: Final = "SELECT unit FROM link WHERE id = ?"

#: UNION: a key that was found is not looked for again, so that a ring of links comes to an end.
_KEYS: Final = (
    "WITH RECURSIVE of_unit (id) AS (VALUES (?) UNION"
    " SELECT link.id FROM of_unit JOIN link ON link.unit = of_unit.id) SELECT id FROM of_unit"
)

#: PRAGMA user_version of a copy that was read to the topic's end once.
_WHOLE: Final = 1


class Identifiers:
    """`unit_of` changes while `follow` runs; `loaded` is set once there is something to go by.

    On disk and not in memory: a million links would be some 200 MB, and each change of one of them
    would write all anew. `notices` are told of each link that cannot be read.
    """

    topic = Topic.IDENTIFIERS

    def __init__(self, prefix: str, folder: Path, notices: Notices) -> None:
        self._notices = notices
        self._scans = topic_name(prefix, Topic.SCANS)
        self._source = f"/{prefix}/gateway/{TOLD_BY}"
        self._db = _opened(folder / "identifiers.db")
        self._changed = asyncio.Event()
        self._untold = asyncio.Event()
        self._untold.set()
        self._is_lost = False  # what was taken and not saved was rolled back
        self.loaded = asyncio.Event()
        if self._db.execute("PRAGMA user_version").fetchone() == (_WHOLE,):
            self.loaded.set()

    def unit_of(self, key: str) -> str:
        """The key under which the unit of `key` is kept: `key` itself where nothing is known.

        So too where the disk fails: the tracker forwards what comes under another key. Links point
        at links only between the records of a merge.
        """
        passed = [key]
        try:
            while (found := self._db.execute(_UNIT, (passed[-1],)).fetchone()) is not None:
                if found[0] in passed:
                    break
                passed.append(found[0])
        except sqlite3.Error as error:
            log.error("identifiers cannot be read", reason=str(error))
            return key
        return passed[-1]

    def keys_of(self, unit: str) -> tuple[str, ...] | None:
        """`unit` and all ids that are linked to it, over links too; None where the disk fails."""
        try:
            rows = self._db.execute(_KEYS, (unit,)).fetchall()
        except sqlite3.Error as error:
            log.error("identifiers cannot be read", reason=str(error))
            return None
        return unit, *sorted(id_ for (id_,) in rows if id_ != unit)

    async def follow(self, settings: Settings) -> None:
        """Take over each change until cancelled; from the beginning again where the disk failed.

        The notices are told up to when nothing is missing.
        """
        while True:
            mirror = Mirror(settings, self.topic, self._take)
            try:
                await mirror.start()
                self._save()
                self._db.execute(f"PRAGMA user_version = {_WHOLE}")
                self.loaded.set()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(mirror.follow())
                    tasks.create_task(self._save_changes())
                    tasks.create_task(self._notices.keep_confirming(self.topic, mirror))
            except* sqlite3.Error as errors:
                log.error("identifiers cannot be written", reason=str(errors.exceptions[0]))
                self._notices.doubt(self.topic)
                self._db.rollback()
                self._changed.clear()
                self._is_lost = False
                await asyncio.sleep(RETRY_S)
            finally:
                await mirror.stop()

    async def tell(
        self, outlet: Outlet, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Send the scans of new links until cancelled."""
        while True:
            await self._untold.wait()
            self._untold.clear()
            try:
                while await self._tell_some(outlet, now()):
                    pass
            except (sqlite3.Error, SpoolFull) as error:
                log.warning("links are told later", reason=str(error))
                if isinstance(error, sqlite3.Error) and self._changed.is_set():
                    self._is_lost = True  # `follow` reads them again
                self._untold.set()
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    async def _tell_some(self, outlet: Outlet, record_time: datetime) -> bool:
        query = "SELECT number, link FROM untold ORDER BY number LIMIT ?"
        rows = self._db.execute(query, (TOLD_TOGETHER,)).fetchall()
        if not rows:
            return False
        made = [self._outgoing(identifiers.decode(link), record_time) for _, link in rows]
        await outlet.keep([record for record in made if record is not None])
        if self._changed.is_set():
            self._save()  # or a removal that fails would take back what waits to be saved
        with self._db:
            self._db.execute("DELETE FROM untold WHERE number <= ?", (rows[-1][0],))
        return True

    def _outgoing(self, link: Identifier, record_time: datetime) -> Outgoing | None:
        scan = told_scan(link, record_time)
        if scan is None:
            return None
        headers = cloud_event_headers(
            id=scan.event_id,
            source=self._source,
            type="scantrail.scan.v1",
            subject=scan.unit,
            time=scan.event_time,
        )
        return Outgoing(self._scans, scan.unit.encode(), encode(scan), headers)

    def _take(self, key: str, value: bytes | None) -> None:
        """Of a link whose newest record cannot be read the last version stands: no unit that it
        may be of is released."""
        if value is None:
            self._db.execute("DELETE FROM link WHERE id = ?", (key,))
            self._notices.note_link(key, None)
        else:
            try:
                link = identifiers.decode(value)
            except UnreadableRecord as error:
                topic = self.topic.value
                log.error("record cannot be read", topic=topic, key=key, reason=str(error))
                self._notices.note_link(key, value)
                return
            self._notices.note_link(key, None)
            if not self._db.execute(_TAKE, (link.id, link.unit, link.version)).rowcount:
                return  # read before, when this or an earlier process began
            self._db.execute("INSERT INTO untold (link) VALUES (?)", (value,))
        self._changed.set()

    async def _save_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._save()
            await asyncio.sleep(SAVE_EVERY_S)

    def _save(self) -> None:
        if self._is_lost:
            raise sqlite3.OperationalError("changes were lost before they were saved")
        self._db.commit()
        self._changed.clear()
        self._untold.set()


def _opened(path: Path) -> sqlite3.Connection:
    """The file; made anew where it is none, since Kafka has all that was in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        log.error("identifiers cannot be read, waiting for Kafka", reason=str(error))
        for broken in path.parent.glob(f"{path.name}*"):
            broken.unlink()
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes, Kafka gives again
        db.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db
