"""The spool on a real disk: nothing that was acknowledged is lost, in the order it came."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scantrail.gateway.spool import EMPTY_BYTES_MAX, Change, Outgoing, Spool, SpoolFull

#: Appends for ever, one line on stdout for each record whose append has returned.
WRITER = """
import asyncio, sys
from pathlib import Path
from scantrail.gateway.spool import Outgoing, Spool

async def main():
    spool = Spool(Path(sys.argv[1]), bytes_max=1 << 30)
    async def one(lane):
        number = 0
        while True:
            value = f"{lane}/{number}".encode()
            await spool.append([Outgoing("scans", b"key", value, [])])
            print(value.decode(), flush=True)
            number += 1
    await asyncio.gather(*(one(lane) for lane in range(4)))

asyncio.run(main())
"""


def record(number: int, size: int = 0) -> Outgoing:
    return Outgoing("scans", b"unit", f"{number}".encode().ljust(size, b"."), [("ce_id", b"1")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway" / "spool.db"


@pytest.fixture
async def spool(path: Path) -> AsyncIterator[Spool]:
    spool = Spool(path, bytes_max=1 << 20)
    yield spool
    await spool.close()


async def values(spool: Spool) -> list[bytes]:
    return [kept.value for _, kept in await spool.oldest(10_000)]


async def test_records_come_back_whole_and_oldest_first(spool: Spool) -> None:
    first = Outgoing("a.v1", b"\x00\xff", b"value", [("ce_id", b"1"), ("empty", b"")])
    second = Outgoing("b.v1", b"key", b"", [])
    await spool.append([first, second])
    await spool.append([record(3)])
    assert [kept for _, kept in await spool.oldest(10)] == [first, second, record(3)]
    assert [kept for _, kept in await spool.oldest(1)] == [first]


@pytest.mark.parametrize("value", [b"a=b", b"line\nbreak", b"\n", b"=", b"\x00\xff", b"a\nce_id=b"])
async def test_headers_come_back_byte_for_byte(spool: Spool, value: bytes) -> None:
    kept = Outgoing("scans", b"key", b"value", [("ce_id", value), ("ce_type", b"scan")])
    await spool.append([kept])
    ((_, found),) = await spool.oldest(1)
    assert found == kept


async def test_what_was_removed_is_gone_and_the_rest_stays_in_order(spool: Spool) -> None:
    for number in range(5):
        await spool.append([record(number)])
    size = spool.bytes
    await spool.remove(await spool.oldest(3))
    assert await values(spool) == [b"3", b"4"]
    assert (spool.count, spool.bytes) == (2, size * 2 // 5)
    await spool.append([record(5)])
    assert await values(spool) == [b"3", b"4", b"5"]


async def test_records_that_come_while_the_oldest_are_sent_are_not_removed(spool: Spool) -> None:
    await spool.append([record(0), record(1)])
    oldest = await spool.oldest(10)
    await spool.append([record(2)])
    await spool.remove(oldest)
    assert await values(spool) == [b"2"]
    assert spool.count == 1


async def test_a_new_start_finds_records_count_and_bytes(path: Path) -> None:
    spool = Spool(path, bytes_max=1 << 20)
    await spool.append([record(1), record(2)])
    before = (spool.count, spool.bytes)
    await spool.close()
    again = Spool(path, bytes_max=1 << 20)
    try:
        assert (again.count, again.bytes) == before
        await again.append([record(3)])
        assert await values(again) == [b"1", b"2", b"3"]
    finally:
        await again.close()


async def test_close_finishes_what_is_being_written(path: Path) -> None:
    spool = Spool(path, bytes_max=1 << 20)
    appends = [asyncio.create_task(spool.append([record(n)])) for n in range(20)]
    while spool.count < 20:
        await asyncio.sleep(0)
    await spool.close()
    await asyncio.gather(*appends)
    again = Spool(path, bytes_max=1 << 20)
    try:
        assert again.count == 20
    finally:
        await again.close()


def test_a_killed_writer_loses_no_acknowledged_record(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = []
    try:
        while len(told) < 200:
            line = writer.stdout.readline()
            assert line, "the writer ended by itself"
            told.append(line)
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
    acknowledged = [line.strip() for line in told if line.endswith("\n")]

    async def found() -> list[str]:
        spool = Spool(path, bytes_max=1 << 30)
        try:
            kept = [value.decode() for value in await values(spool)]
            assert spool.count == len(kept)
            return kept
        finally:
            await spool.close()

    kept = asyncio.run(found())
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(acknowledged) + 4  # one in hand for each lane
    for lane in range(4):
        numbers = [int(each.split("/")[1]) for each in kept if each.startswith(f"{lane}/")]
        assert numbers == list(range(len(numbers)))


async def test_the_limit_refuses_a_group_as_a_whole_and_room_is_found_again(path: Path) -> None:
    spool = Spool(path, bytes_max=1_000)
    try:
        await spool.append([record(1, 400)])
        before = (spool.count, spool.bytes)
        with pytest.raises(SpoolFull, match=f"the spool has {spool.bytes} of 1000 bytes"):
            await spool.append([record(2, 300), record(3, 400)])
        assert (spool.count, spool.bytes) == before
        await spool.append([record(4, 400)])
        assert [value[:1] for value in await values(spool)] == [b"1", b"4"]
        await spool.remove(await spool.oldest(1))
        await spool.append([record(5, 400)])
        assert [value[:1] for value in await values(spool)] == [b"4", b"5"]
    finally:
        await spool.close()


async def test_the_limit_counts_records_that_are_still_being_written(path: Path) -> None:
    spool = Spool(path, bytes_max=1_000)
    try:
        told = await asyncio.gather(
            *(spool.append([record(n, 300)]) for n in range(8)), return_exceptions=True
        )
        assert [type(each) for each in told] == [type(None)] * 3 + [SpoolFull] * 5
        assert [value[:1] for value in await values(spool)] == [b"0", b"1", b"2"]
    finally:
        await spool.close()


async def test_appends_that_wait_together_share_a_transaction_and_keep_their_order(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    insert = spool._insert

    def counted(records: list[Outgoing], changes: list[Change]) -> None:
        groups.append(len(records))
        insert(records, changes)

    monkeypatch.setattr(spool, "_insert", counted)
    await asyncio.gather(*(spool.append([record(number)]) for number in range(100)))
    assert await values(spool) == [f"{number}".encode() for number in range(100)]
    assert sum(groups) == 100
    assert len(groups) < 10


async def test_an_append_returns_only_when_another_connection_sees_the_record(
    spool: Spool, path: Path
) -> None:
    for number in range(20):
        await spool.append([record(number)])
        with sqlite3.connect(path) as other:
            (count,) = other.execute("SELECT count(*) FROM spool").fetchone()
        other.close()
        assert count == number + 1


@pytest.fixture
def broken_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A disk that is full until the patch is undone."""

    def refuse(records: list[Outgoing], changes: list[Change]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(spool, "_insert", refuse)
    return monkeypatch


async def test_a_disk_error_refuses_all_that_waited_and_the_counts_stay_right(
    spool: Spool, broken_disk: pytest.MonkeyPatch
) -> None:
    told = await asyncio.gather(
        *(spool.append([record(number)]) for number in range(3)), return_exceptions=True
    )
    assert [str(each) for each in told] == [
        "the spool cannot be written: database or disk is full"
    ] * 3
    assert all(isinstance(each, SpoolFull) for each in told)
    assert (spool.count, spool.bytes) == (0, 0)
    broken_disk.undo()
    await spool.append([record(7)])
    assert await values(spool) == [b"7"]
    assert spool.count == 1


async def test_a_full_page_limit_of_the_database_is_a_full_spool(spool: Spool) -> None:
    await spool.append([record(1)])
    before = (spool.count, spool.bytes)
    await spool._run(spool._db.execute, "PRAGMA max_page_count = 4")
    with pytest.raises(SpoolFull, match="cannot be written"):
        await spool.append([record(2, 100_000)])
    assert (spool.count, spool.bytes) == before
    assert await values(spool) == [b"1"]


async def test_the_counts_stay_right_when_the_sender_left_before_the_disk_error(
    spool: Spool, broken_disk: pytest.MonkeyPatch
) -> None:
    sender = asyncio.create_task(spool.append([record(1)]))
    while not spool.count:
        await asyncio.sleep(0)
    sender.cancel()
    await asyncio.wait({sender})
    with pytest.raises(SpoolFull):
        await spool.append([record(2)])
    assert (spool.count, spool.bytes) == (0, 0)


async def test_any_failure_of_the_writer_is_told_and_the_next_append_is_tried(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(records: list[Outgoing], changes: list[Change]) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "_insert", refuse)
        with pytest.raises(SpoolFull, match="no memory"):
            await spool.append([record(1)])
    await spool.append([record(2)])
    assert await values(spool) == [b"2"]


async def test_what_is_set_aside_is_out_of_the_way_and_still_on_disk(spool: Spool) -> None:
    await spool.append([record(number) for number in range(3)])
    _, guilty, _ = await spool.oldest(3)
    await spool.set_aside(guilty, "too large")
    assert await values(spool) == [b"0", b"2"]
    assert spool.count == 2
    refused = await spool._run(spool._db.execute, "SELECT value, reason FROM refused")
    assert await spool._run(refused.fetchall) == [(b"1", "too large")]


class FullDisk:
    """A spool's connection on a disk without room for statements that begin so, as long as the
    reserve is there, or for ever."""

    def __init__(self, db: sqlite3.Connection, begin: str, reserve: Path | None) -> None:
        self._db = db
        self._begin = begin
        self._reserve = reserve

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        has_no_room = self._reserve is None or self._reserve.exists()
        if statement.startswith(self._begin) and has_no_room:
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(statement, *values)

    def __enter__(self) -> None:
        self._db.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._db.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize("begin", ["INSERT INTO refused", "DELETE"])
@pytest.mark.parametrize("left", [0, 2])
async def test_on_a_full_disk_a_record_is_set_aside_into_the_reserves_room(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch, begin: str, left: int
) -> None:
    await spool.append([record(number) for number in range(1 + left)])
    monkeypatch.setattr(spool, "_db", FullDisk(spool._db, begin, path.with_suffix(".reserve")))
    guilty, *_ = await spool.oldest(1)
    await spool.set_aside(guilty, "too large")
    assert await values(spool) == [b"1", b"2"][:left]
    assert spool.count == left
    refused = await spool._run(spool._db.execute, "SELECT value, reason FROM refused")
    assert await spool._run(refused.fetchall) == [(b"0", "too large")]
    assert path.with_suffix(".reserve").exists() == (not left)  # taken anew once it is empty


@pytest.mark.parametrize("left", [0, 2])
async def test_on_a_full_disk_records_are_removed_into_the_reserves_room(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    await spool.append([record(number) for number in range(1 + left)])
    monkeypatch.setattr(spool, "_db", FullDisk(spool._db, "DELETE", path.with_suffix(".reserve")))
    await spool.remove(await spool.oldest(1))
    assert await values(spool) == [b"1", b"2"][:left]
    assert spool.count == left
    assert path.with_suffix(".reserve").exists() == (not left)


async def test_a_file_that_cannot_be_made_small_holds_nothing_up(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spool.append([record(1)])
    path.with_suffix(".reserve").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(spool, "_db", FullDisk(spool._db, "VACUUM", None))
        await spool.remove(await spool.oldest(1))
    await spool.append([record(2)])
    assert (await values(spool), spool.count) == ([b"2"], 1)


async def test_a_sender_that_left_takes_nothing_back(spool: Spool) -> None:
    sender = asyncio.create_task(spool.append([record(1)]))
    while not spool.count:
        await asyncio.sleep(0)
    sender.cancel()
    await asyncio.wait({sender})
    await spool.append([record(2)])
    assert await values(spool) == [b"1", b"2"]
    assert spool.count == 2


async def test_what_stands_beside_the_records_is_changed_with_them_or_not_at_all(
    path: Path,
) -> None:
    spool = Spool(path, bytes_max=1 << 20)
    spool.make_tables("CREATE TABLE IF NOT EXISTS beside (name TEXT PRIMARY KEY)")
    put = "INSERT INTO beside VALUES (?)"
    await spool.append([record(1)], [(put, ("a",)), (put, ("b",))])
    with pytest.raises(SpoolFull, match="UNIQUE constraint"):
        await spool.append([record(2)], [(put, ("c",)), (put, ("a",))])
    assert (await values(spool), spool.count) == ([b"1"], 1)
    await spool.close()
    again = Spool(path, bytes_max=1 << 20)
    again.make_tables("CREATE TABLE IF NOT EXISTS beside (name TEXT PRIMARY KEY)")
    assert again.rows("SELECT name FROM beside ORDER BY name") == [("a",), ("b",)]
    await again.close()


@pytest.mark.parametrize("owned", [0, EMPTY_BYTES_MAX + 1], ids=["alone", "beside-a-large-table"])
async def test_an_empty_spool_gives_back_what_it_has_to_spare_and_counts_no_table_of_its_owner(
    path: Path, owned: int
) -> None:
    """Else each question at a conveyor would write the whole table anew."""
    spool = Spool(path, bytes_max=1 << 30)
    spool.make_tables("CREATE TABLE beside (value BLOB)")
    await spool.append([record(0)], [("INSERT INTO beside VALUES (?)", (bytes(owned),))])
    await spool.append([record(1, size=1 << 20)])

    def spare() -> int:
        ((pages,),) = spool.rows("PRAGMA freelist_count")
        return int(pages) * 4096

    await spool.remove(await spool.oldest(10))
    assert (1 << 19) < spare() < EMPTY_BYTES_MAX
    await spool.append([record(2, size=2 * EMPTY_BYTES_MAX)])
    await spool.remove(await spool.oldest(10))
    assert spare() == 0
    ((pages,),) = spool.rows("PRAGMA page_count")
    assert owned <= pages * 4096 < owned + (1 << 20)
    await spool.close()
