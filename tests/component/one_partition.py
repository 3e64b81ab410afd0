"""One partition of `scans` in memory, the tracker's decisions on it, and what the alerter makes of
them: a batch is decided twice, as if the tracker had died after the first time."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scantrail.alerter.app import Notices, judge_movements, read_movements
from scantrail.contracts.records import (
    Movement,
    decode_state,
    encode,
    movements,
)
from scantrail.domain.alert import Alert
from scantrail.domain.custody import UnitState
from scantrail.domain.hold import Hold
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.scan import Scan, Transaction
from scantrail.domain.vocabulary import BusinessStep
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CARTON = "sscc:095060001343520017"
UNITS = [f"sgtin:09506000134352.{n}" for n in range(3)]
SCANS, MOVEMENTS, REJECTED = "t.scans.v1", "t.movements.v1", "t.scans.rejected.v1"


@dataclass
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    topic: str = SCANS
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


class Topics:
    """One partition of `scans`, tracked to its end; and what the tracker wrote."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.stored: dict[bytes, bytes] = {}
        self.movements: list[Movement] = []
        self.rejected: list[Any] = []
        self._done = 0

    def put(self, *scans: Scan) -> "Topics":
        for scan in scans:
            self.log.append(Record(len(self.log), scan.unit.encode(), encode(scan)))
        return self

    def track(self, batch: int = 3) -> "Topics":
        """Batch by batch, each decided twice, as if the tracker had died after the first time."""
        while records := self.log[self._done : self._done + batch]:
            outputs = decide(records, self.stored)
            assert decide(records, self.stored) == outputs
            for key, value, _ in outputs.records.get(SCANS, []):
                self.log.append(Record(len(self.log), key, value))
            self.movements += [
                movements.decode(value) for _, value, _ in outputs.records.get(MOVEMENTS, [])
            ]
            self.rejected += outputs.records.get(REJECTED, [])
            self.stored |= dict(outputs.states)
            again = decide(records, self.stored)
            assert (again.records, again.states) == ({}, [])
            self._done += outputs.taken
        return self

    def state(self, unit: str) -> UnitState:
        return decode_state(self.stored[unit.encode()])

    def of(self, unit: str) -> list[Movement]:
        return [movement for movement in self.movements if movement.unit == unit]

    def alerts(self, *holds: Hold) -> list[Alert]:
        matcher = RecallMatcher()
        matcher.put(RECALL)
        records = [Record(n, None, encode(told)) for n, told in enumerate(self.movements)]
        notices = Notices(matcher, {hold.id: hold for hold in holds}, {}, {})
        return judge_movements(read_movements([records], {}), notices, 1800.0)


def decide(records: list[Record], stored: dict[bytes, bytes]) -> Any:
    return Tracking("t", FailureLimit(Path("/nowhere"), "1")).decide(records, stored.get)


RECALL = Recall(
    id="R-1",
    title="battery",
    reason="heat",
    selectors=(Selector(kind="list", serials=("1",)),),
    products=("09506000134352",),
)


def scanned(unit: str, event_id: str, minutes: float, **changes: Any) -> Scan:
    plain = Scan(
        event_id=event_id,
        unit=unit,
        event_time=NOON + timedelta(minutes=minutes),
        record_time=NOON + timedelta(minutes=minutes, seconds=1),
        reader="r",
        sequence=1,
        station="pack-1",
        site="north",
        read_point="pack-1",
        business_step=BusinessStep.PACKING,
        business_location="packing",
        possessing_party="acme",
    )
    return replace(plain, **changes)


def packed(n: int, event_id: str = "p", minutes: float = 0) -> Scan:
    return scanned(UNITS[n], f"{event_id}{n}", minutes, parent=CARTON)


GATE: dict[str, Any] = {
    "station": "gate",
    "read_point": "gate",
    "business_step": BusinessStep.SHIPPING,
    "business_location": None,
    "possessing_party": "haul",
    "transactions": (Transaction(type="order", id="SO-1"),),
}
