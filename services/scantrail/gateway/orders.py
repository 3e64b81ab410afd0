"""The gateway's copy of `orders`, and how sure it is that none is missing.

On disk and not in memory, since a closed order stays in its topic: a million orders of three lines
are some 230 MB, found in 10 µs each. The file is made anew at every start: what it held may be old,
and a gateway that does not reach Kafka releases nothing anyway.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scantrail.contracts.records import UnreadableRecord, orders
from scantrail.contracts.topics import Topic
from scantrail.domain.order import Order
from scantrail.gateway.confirmed import follow_confirmed
from scantrail.infra import metrics
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

RETRY_S: Final = 2.0

#: A file that is never read by another process or another start needs no log and no fsync.
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE known (ref TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
"""

_TAKE: Final = "INSERT OR REPLACE INTO known VALUES (?, ?)"


class Orders:
    """What is known of orders; each change is taken over as it comes while `follow` runs."""

    topic: Final = Topic.ORDERS

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / "orders.db"
        self._clock = clock
        self._confirmed: float | None = None
        self._unreadable = set[str]()
        self._unreadable_count = metrics.RECORDS_UNREADABLE.labels(self.topic.value)
        self._begin()

    def find(self, reference: str) -> Order | None:
        """The order of that reference, None where there is none.

        So too where the disk fails; then confirmed_s() says at once that something may be missing.
        """
        query = "SELECT record FROM known WHERE ref = ?"
        try:
            found = self._db.execute(query, (reference,)).fetchone()
        except sqlite3.Error as error:
            log.error("orders cannot be read", reason=str(error))
            self._confirmed = None
            return None
        return None if found is None else orders.decode(found[0])

    def is_unreadable(self, reference: str) -> bool:
        """Whether the newest record of that order cannot be read: `find` has one before it."""
        return reference in self._unreadable

    def take(self, key: str, value: bytes | None) -> None:
        """Take over one record of `orders`; of one that cannot be read the version before stands.

        Raises sqlite3.Error where the disk fails.
        """
        try:
            if value is None:
                self._db.execute("DELETE FROM known WHERE ref = ?", (key,))
            else:
                orders.decode(value)
                self._db.execute(_TAKE, (key, value))
        except UnreadableRecord as error:
            log.error("record cannot be read", topic=self.topic.value, key=key, reason=str(error))
            self._unreadable.add(key)
        else:
            self._unreadable.discard(key)
        self._unreadable_count.set(len(self._unreadable))

    def confirm(self, at: float) -> None:
        """All records that the topic had when the clock showed `at` were taken."""
        self._confirmed = at

    def confirmed_s(self) -> float | None:
        """Seconds since when something may be missing; None until the topic was read once."""
        return None if self._confirmed is None else self._clock() - self._confirmed

    async def follow(self, settings: Settings) -> None:
        """Read the topic until cancelled; from the beginning again where the disk failed."""
        while True:
            try:
                self._db.close()
                self._begin()
                await follow_confirmed(settings, self.topic, self.take, self.confirm, self._clock)
            except* sqlite3.Error as errors:
                self._confirmed = None
                log.error("orders cannot be written", reason=repr(errors.exceptions[0]))
                await asyncio.sleep(RETRY_S)

    def _begin(self) -> None:
        """With nothing read yet."""
        self._db = _made_anew(self._path)
        self._unreadable.clear()
        self._unreadable_count.set(0)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _made_anew(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
