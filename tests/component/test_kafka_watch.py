"""What a consumer has in hand is not done; and a process is not ready while no broker answers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from prometheus_client import REGISTRY

from scantrail.infra import kafka_watch
from scantrail.infra.health import Health
from scantrail.infra.kafka_watch import InHand, watch_kafka
from scantrail.infra.settings import Settings

FIRST, SECOND = TopicPartition("movements", 0), TopicPartition("movements", 1)


class Consumer:
    """It has fetched up to offset 9 of both."""

    def assignment(self) -> set[TopicPartition]:
        return {FIRST, SECOND}

    async def position(self, place: TopicPartition) -> int:
        return 9


def record(offset: int) -> Any:
    return SimpleNamespace(offset=offset)


async def test_what_is_fetched_waits_until_it_is_done() -> None:
    in_hand = InHand()
    assert await in_hand.positions() == {}, "nobody has subscribed"
    in_hand.of = Consumer()
    first = in_hand.take({FIRST: [record(4), record(8)]})
    assert await in_hand.positions() == {FIRST: 4, SECOND: 9}
    empty, second = in_hand.take({}), in_hand.take({FIRST: [record(9)]})
    in_hand.done(empty)
    assert await in_hand.positions() == {FIRST: 4, SECOND: 9}, "it waits still"
    in_hand.done(first)
    assert await in_hand.positions() == {FIRST: 9, SECOND: 9}
    in_hand.done(second)
    in_hand.take({SECOND: [record(7)]})
    assert await in_hand.positions() == {FIRST: 9, SECOND: 7}


class Asker:
    async def stop(self) -> None:
        """It has nothing."""


@pytest.mark.parametrize("is_refused", [False, True], ids=["no broker answers", "it raises"])
async def test_a_process_is_ready_again_once_a_broker_answers(
    monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """Of what the brokers told at each look, and whether the process was ready after it."""
    health = Health()
    looks = iter([2, 0, 0, 1, 0, 0, 0, 0, 3])
    told: list[tuple[int, bool, float | None]] = []
    ended = asyncio.Event()
    live = 0

    async def connected(settings: Settings) -> Any:
        return Asker()

    async def brokers(asker: Any) -> int:
        if is_refused and not live:
            raise KafkaConnectionError("nobody listens")
        return live

    async def next_look(seconds: float) -> None:
        nonlocal live
        told.append((live, not health.lacking, REGISTRY.get_sample_value(NAME)))
        live = next(looks, -1)
        if live < 0:
            ended.set()
            await asyncio.Event().wait()

    live = next(looks)
    monkeypatch.setattr(kafka_watch, "_connected", connected)
    monkeypatch.setattr(kafka_watch, "_brokers", brokers)
    monkeypatch.setattr(kafka_watch, "asyncio", _Paced(next_look))
    watching = asyncio.create_task(watch_kafka(Settings(), health=health))
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [is_ready for _, is_ready, _ in told] == [True] * 6 + [False, False, True]
    assert [metric for _, _, metric in told] == [2, 0, 0, 1, 0, 0, 0, 0, 3]


NAME = "scantrail_kafka_brokers"


class _Paced:
    """asyncio, but for how one waits between two looks."""

    def __init__(self, sleep: Any) -> None:
        self.sleep = sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)
