"""The spool: records on disk that Kafka has not taken yet. SQLite keeps them (decision 0004)."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from scantrail.contracts.records import Headers
from scantrail.infra.logs import logger

log = logger(__name__)

T = TypeVar("T")

#: Bytes kept free beside the database: on a full disk not even a removal has room otherwise. It is
#: more than the log ever has, for what is in the log needs that room in the database's file.
RESERVE_BYTES = 8 << 20

#: Bytes of appends that share a transaction; bytes of the log that are written to the file at once.
GROUP_BYTES = 1 << 20
LOG_BYTES = 1 << 20

#: An empty database that has more to spare gives them back to the disk.
EMPTY_BYTES_MAX = 8 << 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, headers BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, headers BLOB NOT NULL,
    reason TEXT NOT NULL
);
"""


class Outgoing(NamedTuple):
    """A record on its way to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


#: SQL, and its values, that is done in the transaction of an append: with it, or not at all.
Change = tuple[str, tuple[Any, ...]]


class _Append(NamedTuple):
    records: Sequence[Outgoing]
    changes: Sequence[Change]
    kept: asyncio.Future[None]


#: A record with its number on disk.
Kept = tuple[int, Outgoing]


class SpoolFull(Exception):
    """The disk, or the limit that was set for the spool, has no room. Nothing was kept."""


class Spool:
    """Records in the order they came, each on disk before `append` returns.

    One thread owns the connection; appends that wait together share one fsync. Limits are bytes of
    keys, values and headers.
    """

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[_Append] = []
        self._writer: asyncio.Task[None] | None = None
        self._db = self._thread.submit(_open, path).result()
        self._reserve = path.with_suffix(".reserve")
        self._thread.submit(self._keep_reserve).result()
        self.count, self.bytes = self._thread.submit(self._measure).result()

    async def append(self, records: Sequence[Outgoing], changes: Sequence[Change] = ()) -> None:
        """Keep `records`, and change what stands beside them; SpoolFull where there is no room for
        all of it."""
        size = sum(map(_size, records))
        if self.bytes + size > self._bytes_max:
            raise SpoolFull(f"the spool has {self.bytes} of {self._bytes_max} bytes")
        # Counted at once, so that nobody overtakes records that are still being written.
        self.count += len(records)
        self.bytes += size
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(records, changes, kept))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        # Whoever waits may leave; what was begun is finished, and the counts stay right.
        await asyncio.shield(kept)

    async def oldest(self, count: int) -> list[Kept]:
        """Up to `count` records, oldest first, with the numbers that `remove` takes."""
        return await self._run(self._oldest, count)

    async def remove(self, kept: Sequence[Kept]) -> None:
        """Kafka has these, which followed each other."""
        await self._run(self._remove, kept[0][0], kept[-1][0])
        self.count -= len(kept)
        self.bytes -= sum(_size(record) for _, record in kept)

    async def set_aside(self, kept: Kept, reason: str) -> None:
        """Kafka will never take this one: it is kept in table `refused`, for a person."""
        await self._run(self._set_aside, kept[0], reason)
        self.count -= 1
        self.bytes -= _size(kept[1])

    def make_tables(self, script: str) -> None:
        """At the start: tables of the owner's beside the records, for the changes of `append`. They
        count for no limit."""
        self._thread.submit(self._db.executescript, script).result()

    def rows(self, query: str) -> list[Any]:
        """At the start: what such tables hold."""
        return self._thread.submit(lambda: self._db.execute(query).fetchall()).result()

    async def close(self) -> None:
        """Finish what is being written, and close."""
        if self._writer is not None:
            await self._writer
        await self._run(self._db.close)
        self._thread.shutdown()

    async def _write(self) -> None:
        while self._waiting:
            waiting = self._next_group()
            records = [record for each in waiting for record in each.records]
            changes = [change for each in waiting for change in each.changes]
            writing = self._run(self._insert, records, changes)
            (error,) = await asyncio.gather(writing, return_exceptions=True)
            if error is None:
                for each in waiting:
                    each.kept.set_result(None)
                continue
            # Whatever it was, nobody is left waiting.
            full = SpoolFull(f"the spool cannot be written: {error}")
            self.count -= len(records)
            self.bytes -= sum(map(_size, records))
            for each in waiting:
                each.kept.set_exception(full)
                each.kept.exception()  # the one who asked may be gone
        self._writer = None

    def _next_group(self) -> list[_Append]:
        size, count = 0, 0
        while count < len(self._waiting) and size < GROUP_BYTES:
            size += sum(map(_size, self._waiting[count].records))
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _measure(self) -> tuple[int, int]:
        query = "SELECT count(*), sum(length(key) + length(value) + length(headers)) FROM spool"
        count, size = self._db.execute(query).fetchone()
        return count, size or 0

    def _insert(self, records: Sequence[Outgoing], changes: Sequence[Change]) -> None:
        with self._db:  # one transaction, one fsync
            self._db.executemany(
                "INSERT INTO spool (topic, key, value, headers) VALUES (?, ?, ?, ?)",
                [(r.topic, r.key, r.value, _packed(r.headers)) for r in records],
            )
            for statement, values in changes:
                self._db.execute(statement, values)

    def _oldest(self, count: int) -> list[Kept]:
        rows = self._db.execute(
            "SELECT id, topic, key, value, headers FROM spool ORDER BY id LIMIT ?", (count,)
        )
        return [(row[0], Outgoing(row[1], row[2], row[3], _unpacked(row[4]))) for row in rows]

    def _remove(self, first: int, last: int) -> None:
        self._make_room(self._delete, first, last)

    def _set_aside(self, number: int, reason: str) -> None:
        self._make_room(self._refuse, number, reason)

    def _make_room(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do what takes records out of the spool, also on a full disk."""
        try:
            work(*arguments)
        except sqlite3.OperationalError as error:
            log.warning("the spool's disk has no room: its reserve is used", reason=str(error))
            self._reserve.unlink(missing_ok=True)
            self._to_the_file()
            work(*arguments)
        if not self._reserve.exists():
            self._to_the_file()
        if self._db.execute("SELECT 1 FROM spool LIMIT 1").fetchone() is None:
            self._emptied()

    def _delete(self, first: int, last: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM spool WHERE id BETWEEN ? AND ?", (first, last))

    def _refuse(self, number: int, reason: str) -> None:
        with self._db:
            self._db.execute(
                "INSERT INTO refused (topic, key, value, headers, reason)"
                " SELECT topic, key, value, headers, ? FROM spool WHERE id = ?",
                (reason, number),
            )
            self._db.execute("DELETE FROM spool WHERE id = ?", (number,))

    def _emptied(self) -> None:
        ((pages,),) = self._db.execute("PRAGMA freelist_count").fetchall()
        ((page_bytes,),) = self._db.execute("PRAGMA page_size").fetchall()
        try:
            if pages * page_bytes > EMPTY_BYTES_MAX or not self._reserve.exists():
                self._db.execute("VACUUM")
            self._to_the_file()  # of what was sent nothing is left on this disk
        except sqlite3.OperationalError as error:  # it is tried again when it is empty again
            log.warning("no room to make the spool's file small", reason=str(error))
        self._keep_reserve()

    def _to_the_file(self) -> None:
        """What stands in the log goes into the database's file, and the log's room is free."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _keep_reserve(self) -> None:
        """Take the reserve's room where there is some; else again when the spool is empty."""
        try:
            with self._reserve.open("ab") as file:
                file.write(bytes(max(0, RESERVE_BYTES - file.tell())))
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            log.warning("no room for the spool's reserve", reason=str(error))


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # each commit is on disk
    db.execute("PRAGMA secure_delete = ON")  # zeros stand in place of what was sent
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    db.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // 4096}")
    db.executescript(_SCHEMA)
    return db


def _size(record: Outgoing) -> int:
    return len(record.key) + len(record.value) + len(_packed(record.headers))


def _packed(headers: Headers) -> bytes:
    return msgspec.msgpack.encode(headers)


_unpacked = msgspec.msgpack.Decoder(Headers).decode
