"""Copies of compacted topics, with a Kafka that only tells, and a disk that takes its time."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.errors import LeaderNotAvailableError

from scantrail.contracts.records import encode, products, stations
from scantrail.contracts.topics import Topic
from scantrail.domain.product import Product
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway import copies
from scantrail.gateway.copies import ENCODED_TOGETHER, Copy
from scantrail.gateway.notices import Notices
from scantrail.infra.kafka import APPLIED_TOGETHER, Mirror
from scantrail.infra.settings import Settings

SETTINGS = Settings()
FSYNC_S = 0.3


def station(name: str) -> Station:
    return Station(id=name, site="north", business_step=BusinessStep.SHIPPING, read_point=name)


class Told:
    """In a mirror's place: tells what it is told to."""

    before: tuple[str, ...] = ()
    is_away = False
    last: "Told"

    def __init__(self, _: Any, __: Any, apply: Callable[[str, bytes | None], None]) -> None:
        self._apply = apply
        Told.last = self

    async def start(self) -> None:
        self.tell(*self.before)

    def tell(self, *names: str) -> None:
        for name in names:
            self._apply(name, encode(station(name)))

    async def follow(self) -> None:
        await asyncio.Event().wait()

    async def confirm(self) -> None:
        if Told.is_away:
            raise LeaderNotAvailableError

    async def stop(self) -> None:
        pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "Mirror", Told)
    monkeypatch.setattr(Told, "before", ())


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a slow disk was asked for each fsync."""
    asked: list[float] = []

    def slow(_: int) -> None:
        asked.append(time.monotonic())
        time.sleep(FSYNC_S)

    monkeypatch.setattr(os, "fsync", slow)
    return asked


@contextlib.asynccontextmanager
async def following(folder: Path) -> AsyncIterator[Copy[Station]]:
    copy = Copy(Topic.STATIONS, stations, folder)
    task = asyncio.create_task(copy.follow(SETTINGS))
    try:
        await copy.loaded.wait()
        yield copy
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(told: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not told():
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("count", [0, 1, 2, ENCODED_TOGETHER, 2 * ENCODED_TOGETHER + 1])
async def test_another_start_finds_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(Told, "before", tuple(f'"{n}"' for n in range(count)))
    async with following(tmp_path) as copy:
        assert len(copy.by_id) == count
    again = Copy(Topic.STATIONS, stations, tmp_path)
    assert again.loaded.is_set()
    assert list(again.by_id.items()) == list(copy.by_id.items())


@pytest.mark.alone
@pytest.mark.usefixtures("told")
async def test_the_loop_does_not_wait_for_the_disk(tmp_path: Path, syncs: list[float]) -> None:
    async with following(tmp_path):
        began, waited = time.monotonic(), 0.0
        while len(syncs) < 2:  # the first may have been before we were asked
            await asyncio.sleep(0.01)
            now = time.monotonic()
            began, waited = now, max(waited, now - began)
            Told.last.tell("a")
        await asyncio.sleep(0.01)
        assert max(waited, time.monotonic() - began) < FSYNC_S / 2


@pytest.mark.usefixtures("told", "syncs")
@pytest.mark.parametrize("wait_s", [0.0, 0.05, FSYNC_S + 0.1])
async def test_at_the_end_the_newest_is_on_disk_whatever_is_being_written(
    tmp_path: Path, wait_s: float
) -> None:
    async with following(tmp_path) as copy:
        Told.last.tell("a")
        await asyncio.sleep(wait_s)
        Told.last.tell("b")
    await asyncio.sleep(2 * FSYNC_S)
    assert Copy(Topic.STATIONS, stations, tmp_path).by_id == copy.by_id
    assert set(copy.by_id) == {"a", "b"}


@pytest.mark.usefixtures("told")
async def test_a_change_whose_write_was_broken_off_is_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    async with following(tmp_path) as copy:
        await until((tmp_path / "stations.json").exists)
        await asyncio.sleep(0.05)
        monkeypatch.setattr(asyncio, "to_thread", never)
        Told.last.tell("a")
        await asyncio.sleep(0.05)
    assert Copy(Topic.STATIONS, stations, tmp_path).by_id == copy.by_id


@pytest.mark.usefixtures("told")
async def test_what_has_all_is_confirmed_and_what_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread = dict[str, bytes | None]()
    notices = Notices()
    for topic in (Topic.RECALLS, Topic.HOLDS, Topic.IDENTIFIERS):
        notices.confirm(topic, time.monotonic())
    copy = Copy(Topic.PRODUCTS, products, tmp_path, unread.__setitem__)
    monkeypatch.setattr(Told, "is_away", True)
    task = asyncio.create_task(copy.follow(SETTINGS, notices))
    await copy.loaded.wait()
    for value in (b"{", encode(Product(id="A", name="a")), b"{", None):
        Told.last._apply("A", value)
        assert unread == {"A": value if value == b"{" else None}
    await asyncio.sleep(0.05)
    assert notices.confirmed_s() is None
    monkeypatch.setattr(Told, "is_away", False)
    await until(lambda: notices.confirmed_s() is not None)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Fetched:
    """In a consumer's place: all records are there, and are given without a pause."""

    def __init__(self, count: int) -> None:
        self._left = count

    async def getmany(self, *, timeout_ms: int, max_records: int = 5_000) -> dict[str, list[Any]]:
        if not self._left:
            await asyncio.sleep(timeout_ms / 1000)
        count = min(self._left, max_records)
        self._left -= count
        return {"partition": [Record()] * count}


class Record:
    key = b"k"
    value = b"v"


async def test_a_mirror_lets_others_have_their_turn() -> None:
    applied = 0

    def apply(_: str, __: bytes | None) -> None:
        nonlocal applied
        applied += 1

    mirror = Mirror(SETTINGS, Topic.STATIONS, apply)
    mirror._consumer = cast(Any, Fetched(5_200))
    following = asyncio.create_task(mirror.follow())
    seen = [0]
    while seen[-1] < 5_200:
        await asyncio.sleep(0)
        seen.append(applied)
    following.cancel()
    assert max(b - a for a, b in pairwise(seen)) <= APPLIED_TOGETHER
