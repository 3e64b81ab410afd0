"""What a consumer has in hand is not done."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from scantrail.infra.kafka_watch import InHand

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
