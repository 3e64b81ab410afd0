"""What the alerter has still to do of batches whose alerts are sent, on a consumer in memory."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from scantrail.alerter import ending as module
from scantrail.alerter.ending import Ending, Judged

PLACE = TopicPartition("movements", 0)


class Kafka:
    """The consumer, the watch for recalls and what is in hand; `done` is what became of them."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.refuses = False
        self.waits: asyncio.Event | None = None

    async def commit(self, nexts: Mapping[TopicPartition, int]) -> None:
        if self.waits is not None:
            await self.waits.wait()
        if self.refuses:
            raise CommitFailedError
        self.done.append(nexts[PLACE])

    async def tell_begins(self, _: Any, begins: Mapping[TopicPartition, int]) -> None:
        self.done.append(f"told {begins[PLACE]}")


class Hand:
    def done(self, firsts: Mapping[TopicPartition, int]) -> None:
        """One batch less."""


def judged(
    up_to: int, *sent: "asyncio.Future[None]", begins: int | None = None, assignment: int = 0
) -> Judged:
    return Judged(
        sent=sent,
        movements=[],
        nexts={PLACE: up_to},
        begins={} if begins is None else {PLACE: begins},
        assignment=assignment,
        firsts={PLACE: up_to},
    )


def ending_of(kafka: Kafka) -> Ending:
    return Ending(kafka, kafka, Hand())  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first commit none is due for the length of a test."""
    monkeypatch.setattr(module, "COMMIT_APART_S", 3600.0)


async def test_a_batch_waits_for_the_end_of_the_one_before_it_and_is_committed_after_both() -> None:
    kafka, loop = Kafka(), asyncio.get_running_loop()
    ending = ending_of(kafka)
    first, second = loop.create_future(), loop.create_future()
    await ending.take(judged(5, first))
    taking = asyncio.create_task(ending.take(judged(9, second)))
    second.set_result(None)  # acknowledged out of turn
    for _ in range(5):
        await asyncio.sleep(0)
    assert not taking.done()
    assert kafka.done == []
    first.set_result(None)
    await taking
    assert kafka.done == [5]
    await ending.stop()
    assert kafka.done == [5, 9]


async def test_commits_are_gathered_until_nothing_moves_or_there_is_something_to_tell() -> None:
    kafka = Kafka()
    ending = ending_of(kafka)
    for up_to in (1, 2, 3):
        await ending.take(judged(up_to))
    await ending.take(judged(4, begins=3))
    assert kafka.done == [1, 4, "told 3"], "all that was judged, and only then what is told of it"
    await ending.take(judged(5))
    await asyncio.sleep(0.01)
    await ending.idle()
    assert kafka.done == [1, 4, "told 3", 5]
    await ending.idle()
    await ending.stop()
    assert kafka.done == [1, 4, "told 3", 5], "there is nothing left to commit"


async def test_of_an_assignment_that_has_passed_nothing_is_committed_or_told() -> None:
    kafka = Kafka()
    ending = ending_of(kafka)
    await ending.take(judged(1))
    await ending.take(judged(2))
    await ending.assignments.on_partitions_revoked([])
    await asyncio.sleep(0.01)
    await ending.idle()
    await ending.take(judged(7, begins=7, assignment=0))
    assert kafka.done == [1], "another may be further, and have told"
    await ending.take(judged(3, begins=3, assignment=1))
    assert kafka.done == [1, 3, "told 3"]


async def test_what_the_group_does_not_take_from_us_is_not_told() -> None:
    kafka = Kafka()
    ending = ending_of(kafka)
    kafka.refuses = True
    await ending.take(judged(4, begins=3))
    assert kafka.done == []
    await ending.stop()
    assert kafka.done == []


async def test_what_a_batch_fails_by_is_raised_and_it_is_not_committed() -> None:
    kafka = Kafka()
    ending = ending_of(kafka)
    lost = asyncio.get_running_loop().create_future()
    await ending.take(judged(4, lost))
    lost.set_exception(ConnectionAbortedError("not acknowledged"))
    await asyncio.sleep(0.01)
    with pytest.raises(ConnectionAbortedError):
        await ending.idle()
    with structlog.testing.capture_logs() as logs:
        await ending.stop()
    assert kafka.done == []
    (line,) = logs
    assert "not acknowledged" in line["reason"]


async def test_what_is_not_committed_when_it_is_cancelled_is_committed_at_the_stop() -> None:
    kafka = Kafka()
    ending = ending_of(kafka)
    await ending.take(judged(1))
    await ending.take(judged(2))
    await asyncio.sleep(0.01)
    kafka.waits = asyncio.Event()
    idle = asyncio.create_task(ending.idle())
    await asyncio.sleep(0.01)
    idle.cancel()
    await asyncio.wait({idle})
    kafka.waits = None
    await ending.stop()
    assert kafka.done == [1, 2]


async def test_a_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_S_MAX", 0.05)
    kafka = Kafka()
    ending = ending_of(kafka)
    await ending.take(judged(4, asyncio.get_running_loop().create_future()))
    async with asyncio.timeout(5):
        await ending.stop()
    assert kafka.done == []
