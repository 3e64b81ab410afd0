"""Units are restored from their changelog, whole runs of records at a time.

Of the records of one unit the one that has folded the most of the log counts, not the last: a
worker that was paused and overtaken may write an older state after a newer one. Where the last
is not the one that counts, that one is written again at the end, so that compaction cannot take it.
Died here: all is done again from the stored position, which stays before what was not yet
written again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from scantrail.contracts.records import Headers
from scantrail.infra.connecting import begin
from scantrail.infra.logs import logger

log = logger(__name__)

Record = tuple[bytes | None, bytes | None, Headers]

RECORDS_PER_RUN = 20_000
FETCH_BYTES = 8 << 20

#: The offset in `scans` up to which a state has folded, None for bytes that are no state.
OffsetOf = Callable[[bytes], int | None]


class StoreAhead(Exception):
    """The local store has more than its changelog. The text names both and the mend."""


class Overtaken(Exception):
    """Another worker wrote to the changelog of a partition that is ours."""


class Store(Protocol):
    """The units of one partition, and the changelog offset up to which they are stored."""

    def get(self, key: bytes, /) -> bytes | None:
        """The state of one unit."""

    def write(self, states: Sequence[tuple[bytes, bytes]], position: int) -> None:
        """Both together, or neither."""

    def position(self) -> int | None:
        """None where nothing is stored."""


class Restored:
    """One partition while it is restored."""

    def __init__(self, store: Store, offset_of: OffsetOf) -> None:
        self._store = store
        self._offset_of = offset_of
        #: units whose last record is not the one that counts -> offset of that last record
        self._stale: dict[bytes, int] = {}

    def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Take over what counts of `records`, which follow the last ones taken."""
        counts: dict[bytes, bytes] = {}
        for record in records:
            known = counts.get(record.key) or self._store.get(record.key)
            ours = -1 if known is None else self._folded(known)
            theirs = self._offset_of(record.value) if record.value is not None else None
            if theirs is not None and theirs >= ours:
                counts[record.key] = record.value
                self._stale.pop(record.key, None)
                continue
            log.warning(
                "a record of the changelog does not count",
                partition=record.partition,
                offset=record.offset,
                folded=theirs,
                known=ours,
            )
            if known is not None:
                self._stale[record.key] = record.offset
        last = records[-1].offset
        self._store.write(list(counts.items()), min(self._stale.values(), default=last + 1) - 1)

    def _folded(self, state: bytes) -> int:
        folded = self._offset_of(state)
        return -1 if folded is None else folded

    def to_write_again(self) -> list[Record]:
        """The states that count, of units whose last record is another."""
        return [(key, self._store.get(key), []) for key in self._stale]

    def written_again(self, position: int) -> None:
        """`to_write_again` is durable, and ends at `position`."""
        self._stale.clear()
        self._store.write([], position)


async def restore(
    brokers: Mapping[str, Any],
    changelog: str,
    stores: Mapping[int, Store],
    *,
    offset_of: OffsetOf,
    send: Callable[[int, Sequence[Record]], Awaitable[tuple[int, int]]],
    is_current: Callable[[], bool],
    on_progress: Callable[[int, int], None],
    on_remaining: Callable[[int], None] = lambda records: None,
) -> dict[int, int] | None:
    """Restore `stores` by partition; return each one's last changelog offset.

    `brokers` is what aiokafka's clients are told of them. `send` writes records to a partition of
    the changelog. None as soon as `is_current` denies: the partitions are another generation's
    business. Raises StoreAhead, Overtaken and KafkaError. `on_remaining` is told how many records
    have yet to be read.
    """
    consumer = AIOKafkaConsumer(
        **brokers,
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
        fetch_max_wait_ms=100,
    )
    await begin(consumer)
    try:
        partitions = {TopicPartition(changelog, number): store for number, store in stores.items()}
        if not partitions:
            return {}
        consumer.assign(list(partitions))
        begins = await consumer.beginning_offsets(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
        nexts = dict[TopicPartition, int]()
        for tp, store in partitions.items():
            stored = store.position()
            if stored is not None and stored >= ends[tp]:
                raise StoreAhead(
                    f"the store of partition {tp.partition} has changelog offset {stored}, and"
                    f" {changelog} ends at {ends[tp]}: if the topic was made anew, remove the"
                    " store's folder, and the units are restored from it"
                )
            nexts[tp] = max(begins[tp], -1 if stored is None else stored + 1)
            consumer.seek(tp, nexts[tp])
        on_remaining(sum(max(ends[tp] - nexts[tp], 0) for tp in partitions))
        taking = {tp: Restored(store, offset_of) for tp, store in partitions.items()}
        behind = set(partitions)
        while behind:
            for tp in list(behind):
                if await consumer.position(tp) >= ends[tp]:
                    behind.discard(tp)
                    consumer.pause(tp)
            if not behind:
                break
            runs = await consumer.getmany(*behind, timeout_ms=200, max_records=RECORDS_PER_RUN)
            if not is_current():
                return None
            for tp, records in runs.items():
                taking[tp].take(records)
                on_progress(tp.partition, records[-1].offset)
                nexts[tp] = records[-1].offset + 1
            on_remaining(sum(max(ends[tp] - nexts[tp], 0) for tp in partitions))
        on_remaining(0)  # what compaction left out at the end never comes
        positions = {tp.partition: await consumer.position(tp) - 1 for tp in partitions}
    finally:
        await consumer.stop()
    for tp, restored in taking.items():
        again = restored.to_write_again()
        if not again:
            continue
        if not is_current():
            return None
        first, last = await send(tp.partition, again)
        if not follows(positions[tp.partition], first, last, len(again)):
            raise Overtaken(
                f"changelog offset {first} follows {positions[tp.partition]} of partition"
                f" {tp.partition}"
            )
        log.warning("states were written again", partition=tp.partition, states=len(again))
        restored.written_again(last)
        positions[tp.partition] = last
    return positions


def follows(position: int, first: int, last: int, count: int) -> bool:
    """Whether `count` records, from `first` to `last`, stand right behind `position` and together:
    else another worker wrote before or between them."""
    return first == position + 1 and last == position + count


async def produce_by_key(producer: AIOKafkaProducer, topic: str, records: Sequence[Record]) -> None:
    """Send each record to the partition of its key; returns once the broker has them all."""
    sent = [
        await producer.send(topic, value, key=key, headers=headers)
        for key, value, headers in records
    ]
    await asyncio.gather(*sent)


async def produce(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    stamp_ms: int | None = None,
) -> tuple[int, int]:
    """Send whole record batches; return the first and last offset once the broker has them all.

    A future for each record, as `send` makes them, costs more than all the rest. `records` must
    not be empty. `stamp_ms` is the time that each carries, in ms since 1970, None for now.
    """
    sent, batch, count = [], producer.create_batch(), 0
    for key, value, headers in records:
        if batch.append(key=key, value=value, timestamp=stamp_ms, headers=headers) is None:  # full
            batch.close()
            sent.append((await producer.send_batch(batch, topic, partition=partition), count))
            batch, count = producer.create_batch(), 0
            batch.append(key=key, value=value, timestamp=stamp_ms, headers=headers)
        count += 1
    batch.close()
    sent.append((await producer.send_batch(batch, topic, partition=partition), count))
    firsts = [(await future).offset for future, _ in sent]
    return firsts[0], firsts[-1] + sent[-1][1] - 1
