"""What is still to be done of a batch whose alerts are sent: steps 3 to 5 of the shell."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from scantrail.alerter.watching import RecallWatch
from scantrail.contracts.ages import read_at
from scantrail.contracts.records import Movement
from scantrail.infra import metrics
from scantrail.infra.failpoints import passing
from scantrail.infra.kafka import FLUSH_S_MAX, patiently
from scantrail.infra.kafka_watch import InHand
from scantrail.infra.logs import logger

log = logger(__name__)

#: From one commit to the next, where nothing hangs on it: each costs as much as judging a batch.
COMMIT_APART_S: Final = 0.1


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts how often partitions were taken from us or given to us."""

    def __init__(self) -> None:
        self.changes = 0

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What is in hand may be another's from here on."""
        self.changes += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """We begin at what was committed, wherever we were."""
        self.changes += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A batch of which everything was sent."""

    #: what was sent, by the acknowledgements to come
    sent: Sequence[Awaitable[Any]]
    movements: Sequence[Movement]
    #: up to where the batch goes
    nexts: Mapping[TopicPartition, int]
    #: from where on recalls that are new were judged
    begins: Mapping[TopicPartition, int]
    #: Assignments.changes when it was fetched
    assignment: int
    #: by which it is known to be in hand
    firsts: Mapping[TopicPartition, int]


@dataclass(slots=True)
class _Uncommitted:
    """Up to where it is judged, and under which assignment that was fetched."""

    assignment: int = 0
    nexts: dict[TopicPartition, int] = field(default_factory=dict)


class Ending:
    """Ends one batch after another, each while the next is judged. Offsets are committed some times
    a second: who takes over judges again what is not, and tells the same alerts. But where there is
    something to tell of recalls nobody may begin before that, so it is committed at once.
    """

    def __init__(self, consumer: AIOKafkaConsumer, watch: RecallWatch, in_hand: InHand) -> None:
        self.assignments = Assignments()
        self._consumer, self._watch, self._in_hand = consumer, watch, in_hand
        self._running: asyncio.Task[None] | None = None
        self._left = _Uncommitted()
        self._due = 0.0

    async def take(self, judged: Judged) -> None:
        """End this batch once the one before it is; returns when that is, and of a batch with
        something to tell of recalls when all is done. Raises what either failed by."""
        if self._running is not None:
            await asyncio.shield(self._running)
        self._running = asyncio.create_task(self._end(judged))
        if judged.begins:
            await asyncio.shield(self._running)

    async def idle(self) -> None:
        """Nothing moves: commit what is left, if the last batch is at its end."""
        if self._running is not None and self._running.done():
            self._running.result()
            await self._commit_left()

    async def stop(self) -> None:
        """End what can be ended soon: what is not committed by then is judged again."""
        if self._running is None:
            return
        try:
            async with asyncio.timeout(FLUSH_S_MAX):
                await asyncio.wait({self._running})
                self._running.result()
                await self._commit_left()
        except Exception as error:  # noqa: BLE001  whatever it is, nothing more can be done
            log.warning("stopped within a batch: it is judged again", reason=repr(error))
        if not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _end(self, judged: Judged) -> None:
        await asyncio.gather(*judged.sent)
        passing("judged")
        if self._left.assignment != judged.assignment:
            self._left = _Uncommitted(judged.assignment)
        self._left.nexts |= judged.nexts
        is_ours = True
        if judged.begins or time.monotonic() >= self._due:
            is_ours = await self._commit_left()
        self._in_hand.done(judged.firsts)
        if not is_ours:
            return
        _count(judged.movements)
        # What we do not judge, another may have judged by now, without the recall.
        if judged.begins and judged.assignment == self.assignments.changes:
            await self._watch.tell_begins(self._consumer, judged.begins)

    async def _commit_left(self) -> bool:
        """Whether the group takes it from us: then nobody else begins before that."""
        if not self._left.nexts:
            return True
        self._due = time.monotonic() + COMMIT_APART_S
        is_ours = await patiently(self._commit)
        self._left.nexts = {}
        if is_ours:
            passing("committed")
        return is_ours

    async def _commit(self) -> bool:
        # Others may be further by now, and have told so of recalls: we begin where they are.
        if self._left.assignment != self.assignments.changes:
            return False
        try:
            await self._consumer.commit(self._left.nexts)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("rebalanced: the batch is judged again", reason=str(error))
            return False
        return True


def _count(judged: Sequence[Movement]) -> None:
    """Movements of which all alerts are sent."""
    metrics.SCANS_PROCESSED.labels("alerter", "judged").inc(len(judged))
    age_seconds, now = metrics.SCAN_AGE_SECONDS.labels("alert"), datetime.now(UTC)
    for movement in judged:
        if (at := read_at(movement.scan)) is not None:
            age_seconds.observe(max((now - at).total_seconds(), 0.0))
    metrics.LAST_PROCESSED.labels("alerter").set_to_current_time()
