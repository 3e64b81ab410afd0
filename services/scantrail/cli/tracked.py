"""What the tracker has of each unit: its changelog, and the stores that are on this machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from scantrail.contracts.records import decode_state, folded_up_to
from scantrail.projector.rows import Row, unit_row
from scantrail.tracker.stores import LocalStore

RECORDS_PER_RUN = 5_000


class Tracked(NamedTuple):
    """The state of a unit that counts: of several in the changelog the one that folded most."""

    folded: int
    #: where it stands in the changelog
    offset: int
    digest: bytes
    #: as the database should have it; None of a unit that was never scanned
    row: Row | None
    #: why the state cannot be read, where it cannot
    fault: str | None = None


@dataclass(slots=True)
class Changelog:
    """One partition of it, up to where it was read."""

    partition: TopicPartition
    units: dict[str, Tracked] = field(default_factory=dict)
    records: int = 0

    async def read_on(self, consumer: AIOKafkaConsumer, end: int) -> set[str]:
        """Read up to offset `end`; the units of which anything was told."""
        changed = set[str]()
        while await consumer.position(self.partition) < end:
            fetched = await consumer.getmany(
                self.partition, timeout_ms=500, max_records=RECORDS_PER_RUN
            )
            for record in fetched.get(self.partition, ()):
                changed.add(self._take(record))
        return changed

    def _take(self, record: ConsumerRecord) -> str:
        self.records += 1
        unit = (record.key or b"").decode(errors="replace")
        folded = -1 if record.value is None else folded_up_to(record.value)
        known = self.units.get(unit)
        if folded is None or record.value is None:
            if known is None:
                told = "its only record in the changelog is no state"
                self.units[unit] = Tracked(-1, record.offset, b"", None, told)
        elif known is None or folded >= known.folded:
            self.units[unit] = _tracked(record.value, folded, record.offset)
        return unit


def _tracked(value: bytes, folded: int, offset: int) -> Tracked:
    digest = _digest(value)
    try:
        state = decode_state(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Tracked(folded, offset, digest, None, f"its state cannot be read: {error}")
    row = None
    if state.version:
        held = bool(state.held_for)
        row = unit_row(state.unit, state.version, state.current, held=held, joined=state.joined)
    return Tracked(folded, offset, digest, row)


def store_differences(store: LocalStore, told: Mapping[str, Tracked]) -> Iterator[tuple[str, str]]:
    """Units that `store` has otherwise than the changelog, `told`, tells them up to where the store
    is. Raises StoreUnreadable.

    What the changelog tells later is no difference: the store is a moment behind it, or was left
    when another tracker took over.
    """
    seen = set[str]()
    for key, value in store.states:
        unit = key.decode(errors="replace")
        seen.add(unit)
        known = told.get(unit)
        if known is None:
            yield unit, "the local store has it, and the changelog does not"
        elif known.offset <= store.position and known.digest != _digest(value):
            folded = folded_up_to(value)
            what = "has another state of it than the changelog"
            if folded != known.folded:
                what = (
                    f"has folded it up to offset {folded} of `scans`, the changelog up to"
                    f" {known.folded}"
                )
            yield unit, f"the local store {what}"
    for unit, known in told.items():
        if unit not in seen and known.offset <= store.position:
            yield unit, "the local store does not have it, and the changelog does"


def _digest(value: Any) -> bytes:
    return blake2b(value, digest_size=16).digest()
