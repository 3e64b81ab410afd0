"""The projector's loop: while a batch is written the next is made ready, and none too many."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from psycopg import OperationalError
from sqlalchemy import Table

from scantrail.contracts.topics import Topic
from scantrail.infra import tables
from scantrail.infra.health import Health
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector import app
from scantrail.projector.app import Projector
from scantrail.projector.rows import Rows
from scantrail.projector.writing import Batch, Copied, Writer

SETTINGS = Settings()
PARTITION = TopicPartition(name_of(SETTINGS, Topic.MOVEMENTS), 0)


class Log:
    """A partition as a consumer gives it: two records at a time, from the last seek on."""

    def __init__(self, records: int) -> None:
        self.end = records
        self.position = 0
        self.given: list[int] = []

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0 if self.position < self.end else timeout_ms / 1000)
        offsets = range(self.position, min(self.position + min(2, max_records), self.end))
        self.position = offsets.stop
        self.given += offsets
        return {PARTITION: [unreadable(offset) for offset in offsets]} if offsets else {}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.position = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        pass


def unreadable(offset: int) -> Any:
    """A record that makes one row."""
    return SimpleNamespace(
        topic=PARTITION.topic, partition=0, offset=offset, value=b"{", timestamp=0, headers=()
    )


class Written(Writer):
    """Writes into a list; each write begins when it is let go."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(), {})  # type: ignore[arg-type]
        self.written: list[str] = []
        self.writes: list[int] = []
        self.may_write = asyncio.Event()
        self.fails_with: Exception | None = None
        #: for each write the rows that came with it in the words of COPY
        self.came_copied: list[list[str]] = []
        self.copying_fails_with: Exception | None = None

    async def begin(self, assigned: Iterable[TopicPartition]) -> None:
        self.next = {PARTITION: len(self.written)}

    async def copied(self, rows: Rows) -> dict[Table, Copied]:
        if self.copying_fails_with is not None:
            raise self.copying_fails_with
        return {tables.rejected: [place.encode() for place in rows.rejected]}

    async def write(
        self,
        batch: Batch,
        rows: Rows,
        health: Health,
        copied: Mapping[Table, Copied] | None = None,
    ) -> None:
        await self.may_write.wait()
        told = (copied or {}).get(tables.rejected, [])
        self.came_copied.append([bytes(place).decode().rpartition("/")[2] for place in told])
        if self.fails_with is not None:
            raise self.fails_with
        self.written += [place.rpartition("/")[2] for place in rows.rejected]
        self.writes.append(len(rows.rejected))
        self.next = {PARTITION: batch[PARTITION][-1].offset + 1}


@asynccontextmanager
async def projecting(
    log: Log,
) -> AsyncIterator[tuple[Projector, Written, asyncio.Task[None]]]:
    projector, writer = Projector(SETTINGS, SimpleNamespace(), log), Written()  # type: ignore[arg-type]
    projector._writer = writer
    await projector.on_partitions_assigned([PARTITION])
    task = asyncio.create_task(projector.project(Health()))
    try:
        yield projector, writer, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_what_comes_while_a_batch_is_written_is_gathered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "RECORDS_MAX", 5)
    log = Log(records=9)
    async with projecting(log) as (_, writer, _):
        await until(lambda: log.given == list(range(7)))
        await asyncio.sleep(0.02)
        assert (log.given, writer.written) == (list(range(7)), [])
        writer.may_write.set()
        await until(lambda: len(writer.written) == 9)
    assert writer.written == [str(n) for n in range(9)]
    assert writer.writes == [2, 5, 2]
    assert writer.came_copied == [[], ["2", "3", "4", "5", "6"], []], "the full one was ready"


async def test_a_batch_that_could_not_be_copied_ahead_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "RECORDS_MAX", 5)
    async with projecting(Log(records=9)) as (projector, writer, _):
        writer.copying_fails_with = OperationalError("no connection")
        await until(lambda: projector._consumer.given == list(range(7)))
        writer.may_write.set()
        await until(lambda: len(writer.written) == 9)
    assert writer.written == [str(n) for n in range(9)]
    assert writer.came_copied == [[], [], []]


async def test_what_was_fetched_before_partitions_came_anew_is_fetched_and_written_once() -> None:
    log = Log(records=6)
    async with projecting(log) as (projector, writer, _):
        await until(lambda: log.given == list(range(6)))
        revoked = asyncio.create_task(projector.on_partitions_revoked([PARTITION]))
        await asyncio.sleep(0.01)
        assert not revoked.done(), "the batch that is being written is finished first"
        writer.may_write.set()
        await revoked
        await projector.on_partitions_assigned([PARTITION])
        await until(lambda: len(writer.written) == 6)
    assert writer.written == [str(n) for n in range(6)]
    assert log.given == [*range(6), *range(2, 6)]


async def test_what_was_fetched_before_the_place_to_begin_was_known_is_not_written() -> None:
    log = Log(records=4)
    async with projecting(log) as (projector, writer, _):
        writer.may_write.set()
        await until(lambda: len(writer.written) == 4)
        await projector.on_partitions_revoked([PARTITION])
        log.end, log.position = 8, 1  # as aiokafka would begin where Kafka's committed offset is
        await until(lambda: 7 in log.given)
        assert len(writer.written) == 4
        await projector.on_partitions_assigned([PARTITION])
        await until(lambda: len(writer.written) == 8)
    assert writer.written == [str(n) for n in range(8)]


async def test_a_failed_write_ends_the_projector_and_its_look_ahead() -> None:
    async with projecting(Log(records=100)) as (_, writer, task):
        writer.fails_with = RuntimeError("no such column")
        writer.may_write.set()
        with pytest.raises(RuntimeError, match="no such column"):
            await task
        left = [t for t in asyncio.all_tasks() if "Projector" in repr(t.get_coro())]
        assert left == []
