"""`scantrail refold UNIT`: fold a unit anew, from its whole history.

The history is read from `movements`, the state from the tracker's changelog; what is made of them
goes to the tracker as a record of `scans`. Where a scan comes in between, all is done again.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from scantrail.cli.folding import folded_by_topic
from scantrail.contracts.records import (
    REFOLD_READER,
    Movement,
    Place,
    UnreadableRecord,
    cloud_event_headers,
    decode_state,
    encode_refold,
    facts,
    folded_up_to,
    movements,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome, Position, Rebase, UnitState
from scantrail.domain.refolding import CannotRefold, Told, refold, refold_id
from scantrail.domain.scan import Scan
from scantrail.infra.kafka import connect_consumer, connect_producer, stop_producer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

#: How long a tracker may need to take the new base over.
TAKEN_S_MAX = 60.0

#: A unit that is scanned while it is folded is folded again so many times.
TRIES = 5


@dataclass(frozen=True, slots=True)
class Refolded:
    """What came of it. `movement` is None where the unit was as its history says already."""

    unit: str
    scans: int
    before: Position | None
    movement: Movement | None


async def refold_unit(settings: Settings, unit: str) -> Refolded:
    """Fold `unit`, a key in whatever case, anew. Raises CannotRefold."""
    unit = await folded_by_topic(settings, unit)
    consumer = await connect_consumer(settings)
    producer = await connect_producer(settings)
    try:
        log = _Log(settings, consumer, await producer.partitions_for(_scans(settings)))
        overtaken = -1
        for _ in range(TRIES):
            state = await log.state(unit, newer_than=overtaken)
            done = await _refold_once(settings, log, producer, state)
            if done is not None:
                return done
            overtaken = state.version
    finally:
        await consumer.stop()
        await stop_producer(producer)
    raise CannotRefold(
        f"{unit} was scanned while it was folded, {TRIES} times: try when it stands still"
    )


async def _refold_once(
    settings: Settings, log: "_Log", producer: AIOKafkaProducer, state: UnitState
) -> Refolded | None:
    """None where a scan came in between."""
    unit = state.unit
    own = await log.history(unit)
    others = [told for key in _others(state, own) for told in await log.whole_history(key)]
    anew = refold(state, own, others)
    scans = len(own) + len(others)
    if anew == Rebase(state.version, state.base, state.base_key, (), ()):
        return Refolded(unit, scans, state.current, None)
    newest = max(own, key=lambda told: told.version).scan
    now = datetime.now(UTC)
    cause = Scan(
        event_id=refold_id(unit, state.version),
        unit=unit,
        event_time=now,
        record_time=now,
        reader=REFOLD_READER,
        sequence=0,
        station=newest.station,
        site=newest.site,
        read_point=newest.read_point,
        business_step=newest.business_step,
    )
    ends = await log.ends(unit)
    headers = cloud_event_headers(
        id=cause.event_id,
        source=f"/{settings.topic_prefix}/refold",
        type="scantrail.refold.v1",
        subject=unit,
        time=now,
    )
    sent = await producer.send_and_wait(
        _scans(settings), encode_refold(cause, anew), key=unit.encode(), headers=headers
    )
    movement = await log.answer(unit, cause.event_id, sent.offset, ends)
    return None if movement is None else Refolded(unit, scans, state.current, movement)


def told_of_refold(done: Refolded) -> str:
    """What came of it, in words."""
    if done.movement is None:
        return f"{done.unit} is as its {_scans_of(done.scans)} say: nothing was changed"
    lines = [
        f"{done.unit} was folded anew from {_scans_of(done.scans)}; it has version"
        f" {done.movement.version}",
        f"  before: {_place(done.before)}",
        f"  after:  {_place(done.movement.after)}",
    ]
    lines += [
        f"  contradiction {word}: {fact.rule.value} by {fact.event_id}"
        for word, some in (
            ("found", done.movement.facts_added),
            ("withdrawn", done.movement.facts_withdrawn),
        )
        for fact in some
    ]
    return "\n".join(lines)


def _scans_of(count: int) -> str:
    return "1 scan" if count == 1 else f"{count} scans"


def _place(at: Position | Place | None) -> str:
    if at is None:
        return "nowhere: no scan of it counts"
    told = [
        at.phase.value,
        at.business_location or at.read_point,
        f"site {at.site}",
        at.possessing_party and f"in custody of {at.possessing_party}",
        at.order and f"order {at.order}",
        at.disposition,
        at.parent and f"inside {at.parent}",
        f"since {at.since.isoformat()}",
    ]
    return ", ".join(filter(None, told))


def _scans(settings: Settings) -> str:
    return name_of(settings, Topic.SCANS)


class _Log:
    """The topics, of which one partition after another is read from its beginning."""

    def __init__(
        self, settings: Settings, consumer: AIOKafkaConsumer, partitions: set[int]
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._partitions = sorted(partitions)

    async def state(self, unit: str, *, newer_than: int) -> UnitState:
        """The newest state in the changelog: of several the one that folded most.

        Waits until its version is above `newer_than`: what the tracker did is told before it is
        there. Raises CannotRefold for a unit that has none.
        """
        deadline = time.monotonic() + TAKEN_S_MAX
        while True:
            records = await self._all_of(Topic.UNITS, unit)
            states = [record.value for record in records if record.value is not None]
            if not states:
                raise CannotRefold(f"{unit} was never scanned here")
            state = decode_state(max(states, key=lambda each: folded_up_to(each) or -1))
            if state.version > newer_than:
                return state
            if time.monotonic() > deadline:
                raise CannotRefold(f"the tracker did not go on from version {newer_than} of {unit}")

    async def history(self, unit: str) -> list[Told]:
        """The unit's accepted scans, each once. Raises CannotRefold for one that cannot be read."""
        told = {
            movement.version: Told(
                movement.version,
                movement.outcome,
                movement.scan,
                tuple(facts(movement.facts_added, movement.scan)),
                tuple(facts(movement.facts_withdrawn, movement.scan)),
            )
            for movement in map(_movement, await self._all_of(Topic.MOVEMENTS, unit))
        }
        return list(told.values())

    async def whole_history(self, unit: str) -> list[Told]:
        """Of another key. Raises CannotRefold where its newest scan is not there."""
        told = await self.history(unit)
        state = await self.state(unit, newer_than=-1)
        if max((each.version for each in told), default=0) < state.version:
            raise CannotRefold(f"version {state.version} of {unit} is not in `movements`")
        return told

    async def ends(self, unit: str) -> dict[TopicPartition, int]:
        """Where answers about the unit will be written from now on."""
        topics = (Topic.MOVEMENTS, Topic.SCANS_REJECTED)
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(
            [self._place(topic, unit) for topic in topics]
        )
        return ends

    async def answer(
        self, unit: str, event_id: str, offset: int, ends: dict[TopicPartition, int]
    ) -> Movement | None:
        """The movement of event `event_id`, None where the record at `offset` was set aside, for
        another had come first. Raises CannotRefold where neither is to be seen."""
        self._consumer.assign(list(ends))
        for tp, end in ends.items():
            self._consumer.seek(tp, end)
        deadline = time.monotonic() + TAKEN_S_MAX
        while time.monotonic() < deadline:
            for tp, records in (await self._consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    if record.key != unit.encode():
                        continue
                    if tp.topic == name_of(self._settings, Topic.SCANS_REJECTED):
                        if _header(record, "offset") == str(offset):
                            _raise_unless_overtaken(record)
                            return None
                    elif (movement := _movement(record)).scan.event_id == event_id:
                        return movement
        raise CannotRefold(
            f"no tracker took the new base of {unit} within {TAKEN_S_MAX:.0f} s: is one running? It"
            " takes it when it does, unless the unit is scanned first"
        )

    async def _all_of(self, topic: Topic, unit: str) -> list[ConsumerRecord]:
        """Every record of the unit, up to the end as it is now."""
        tp = self._place(topic, unit)
        self._consumer.assign([tp])
        await self._consumer.seek_to_beginning(tp)
        end = (await self._consumer.end_offsets([tp]))[tp]
        found: list[ConsumerRecord] = []
        while await self._consumer.position(tp) < end:
            for records in (await self._consumer.getmany(tp, timeout_ms=500)).values():
                found += [record for record in records if record.key == unit.encode()]
        return found

    def _place(self, topic: Topic, unit: str) -> TopicPartition:
        """The tracker writes of a unit into the partition in which its scans are."""
        partition = DefaultPartitioner()(unit.encode(), self._partitions, self._partitions)
        return TopicPartition(name_of(self._settings, topic), partition)


def _movement(record: ConsumerRecord) -> Movement:
    try:
        return movements.decode(record.value)
    except UnreadableRecord as error:
        raise CannotRefold(
            f"{record.topic}, partition {record.partition}, offset {record.offset}: {error}"
        ) from error


def _others(state: UnitState, own: list[Told]) -> list[str]:
    """Keys that were joined into the unit, and those into which it was, until that was undone."""
    into = {told.scan.same_as for told in own if told.outcome is Outcome.JOINED}
    return sorted({*state.aliases, *filter(None, into)} - {state.unit})


def _raise_unless_overtaken(record: ConsumerRecord) -> None:
    reason = _header(record, "exception.class.name")
    if reason != "refold_overtaken":
        detail = _header(record, "exception.message")
        raise CannotRefold(f"the tracker refused the new base: {reason}: {detail}")


def _header(record: ConsumerRecord, name: str) -> str:
    told: Any = dict(record.headers).get(f"__connect.errors.{name}", b"")
    return str(told.decode(errors="replace"))
