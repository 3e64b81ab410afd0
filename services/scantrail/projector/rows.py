"""Records to rows. Pure: a batch of records in, the rows of one transaction out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any

from scantrail.contracts.ages import read_at
from scantrail.contracts.records import (
    UNIT_VERSION_HEADER,
    Movement,
    Place,
    RejectedRead,
    UnreadableRecord,
    alerts,
    encode,
    movements,
    reader_statuses,
    rejected_reads,
    watched,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertStatus
from scantrail.domain.custody import Outcome, Position
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.scan import Scan, order_reference, return_reference
from scantrail.projector.alerts import ToldAlert

#: The order of the columns is that of infra.tables; tests hold the two together.
Row = tuple[Any, ...]

_REJECTED_REASON = "__connect.errors.exception.class.name"
_REJECTED_DETAIL = "__connect.errors.exception.message"


@dataclass(slots=True)
class Rows:
    """What one batch writes, already free of doubles: the highest version of each row."""

    units: dict[str, Row] = field(default_factory=dict)
    movements: dict[tuple[str, str, datetime], Row] = field(default_factory=dict)
    #: units of which a scan was voided
    corrected: set[str] = field(default_factory=set)
    alerts: list[ToldAlert] = field(default_factory=list)
    rejected: dict[str, Row] = field(default_factory=dict)
    readers: dict[str, Row] = field(default_factory=dict)
    #: by recall and partition
    recall_positions: dict[tuple[str, int], Row] = field(default_factory=dict)
    #: by unit, the partition and offset of its newest movement that a recall may mean
    recall_hits: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: of each record that this release cannot read its topic, and where it is
    unreadable: list[tuple[Topic, str]] = field(default_factory=list)
    #: when devices read what the movements tell of
    read_at: list[datetime] = field(default_factory=list)


UNIT_SERIAL, UNIT_VERSION = 2, 3
UNIT_LOT, UNIT_PRODUCED_ON = -2, -1
MOVEMENT_VERSION = 3


def add_records(rows: Rows, topic: Topic, records: Iterable[Any]) -> None:
    """Add the rows of `records` (one partition, in order) of `topic`.

    A record that cannot be read becomes a rejected row: the offset moves on, nothing is lost.
    """
    for record in records:
        try:
            if topic is Topic.MOVEMENTS:
                _add_movement(rows, movements.decode(record.value))
            elif topic is Topic.ALERTS:
                _add_alert(rows, record)
            elif topic is Topic.RECALL_WATCH:
                _add_watched(rows, record.value)
            elif topic is Topic.READS_REJECTED:
                _add_rejected_read(rows, record.value)
            elif topic is Topic.READER_STATUS:
                _add_reader_status(rows, record.value)
            else:
                _add_rejected_scan(rows, record)
        except UnreadableRecord as error:
            rows.unreadable.append((topic, _place(record)))
            _add_rejected(rows, record, error.reason, error.detail)


def refused_row(record: Any, sqlstate: str | None) -> Rows:
    """The rejected row of a record whose values PostgreSQL does not take."""
    rows = Rows()
    detail = f"PostgreSQL does not take its values (SQLSTATE {sqlstate})"
    _add_rejected(rows, record, "refused_by_database", detail)
    return rows


def _add_movement(rows: Rows, movement: Movement) -> None:
    scan, after = movement.scan, movement.after
    key = (movement.unit, scan.event_id, scan.record_time)
    known = rows.movements.get(key)
    if known is None or known[MOVEMENT_VERSION] < movement.version:
        rows.movements[key] = (
            *key,
            movement.version,
            movement.outcome.value,
            scan.event_time,
            scan.clock_skew_s,
            scan.reader,
            scan.sequence,
            scan.station,
            scan.site,
            scan.read_point,
            scan.business_step.value,
            scan.business_location,
            scan.disposition,
            scan.possessing_party,
            order_reference(scan),
            scan.read,
            scan.corrects,
            scan.parent,
            scan.derived_from and scan.derived_from.unit,
            scan.derived_from and scan.derived_from.event_id,
            _other_key(scan),
            scan.forwarded_from[-1] if scan.forwarded_from else None,
            return_reference(scan),
            scan.lot,
            scan.produced_on,
            scan.keyed,
        )
        if (at := read_at(scan)) is not None:
            rows.read_at.append(at)
    if scan.corrects is not None:
        rows.corrected.add(movement.unit)
    marks = (None, None) if movement.outcome is Outcome.VOIDED else (scan.lot, scan.produced_on)
    current = rows.units.get(movement.unit)
    if current is None or current[UNIT_VERSION] < movement.version:
        rows.units[movement.unit] = unit_row(
            movement.unit,
            movement.version,
            after,
            held=movement.held,
            joined=movement.joined,
            lot=marks[0] or (current[UNIT_LOT] if current else None),
            produced_on=marks[1] or (current[UNIT_PRODUCED_ON] if current else None),
        )


def unit_row(
    unit: str,
    version: int,
    after: Place | Position | None,
    *,
    held: bool,
    joined: str | None,
    lot: str | None = None,
    produced_on: date | None = None,
) -> Row:
    """The row of a unit at this version of it."""
    return (
        unit,
        *product_and_serial(unit),
        version,
        *_place_columns(after),
        held,
        after and after.parent,
        joined,
        lot,
        produced_on,
    )


def _other_key(scan: Scan) -> str | None:
    """Of a scan that tells of two keys of a unit the one that is not its own."""
    if scan.same_as == scan.unit:
        return scan.forwarded_from[-1] if scan.forwarded_from else None
    return scan.same_as


def _place_columns(after: Place | Position | None) -> Row:
    """Empty where every scan was voided: the row stays, for its version refuses older ones."""
    if after is None:
        return (None,) * 12
    return (
        after.phase.value,
        after.site,
        after.station,
        after.read_point,
        after.business_location,
        after.business_step.value,
        after.disposition,
        after.possessing_party,
        after.order,
        after.since,
        after.event_id,
        after.seen_at,
    )


def _add_alert(rows: Rows, record: Any) -> None:
    alert = alerts.decode(record.value)
    # Older records do not say which scan told them: then by the record's own place.
    told_by = alert.told_by or f"@{record.partition}/{record.offset}"
    rows.alerts.append(
        ToldAlert(
            row={
                "id": alert.id,
                "kind": alert.kind.value,
                "severity": alert.severity,
                "unit": alert.unit,
                "event_id": alert.event_id,
                "station": alert.station,
                "site": alert.site,
                "event_time": alert.event_time,
                "text": alert.text,
                "recall": alert.recall,
                "document": alert.document,
            },
            is_raised=alert.status is AlertStatus.RAISED,
            cause=f"{alert.status.value} {told_by}",
            at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
    )


def _add_watched(rows: Rows, value: bytes | None) -> None:
    told = watched.decode(value)
    if told.unit is not None:
        place = (told.partition, told.position)
        rows.recall_hits[told.unit] = max(place, rows.recall_hits.get(told.unit, place))
        return
    key = (told.recall, told.partition)
    row = (*key, told.version, told.partitions, told.position)
    known = rows.recall_positions.get(key)
    if known is None or (known[2], known[4]) < (told.version, told.position):
        rows.recall_positions[key] = row


def _add_reader_status(rows: Rows, value: bytes | None) -> None:
    status = reader_statuses.decode(value)
    rows.readers[status.id] = (
        status.id,
        status.station,
        status.protocol,
        status.started_at,
        status.told_at,
        status.is_up,
        status.since,
        status.heard_at,
        status.clock_ahead_s,
        encode(status.counts).decode(),
        encode(status.context).decode(),
    )


def _add_rejected_read(rows: Rows, value: bytes | None) -> None:
    read = rejected_reads.decode(value)
    row_id = rejected_read_id(read)
    rows.rejected[row_id] = (
        row_id,
        "read",
        read.reader,
        read.station,
        read.reason,
        read.detail,
        value,
        read.record_time,
        None,
        None,
        None,
    )


def rejected_read_id(read: RejectedRead) -> str:
    """The same for every replay of one read, and another for another read: a device that counts
    from 1 at each boot gives two of them one event id."""
    told = repr((read.read, read.event_time.astimezone(UTC))).encode("utf-8", "surrogatepass")
    return f"{read.event_id}#{blake2b(told, digest_size=4).hexdigest()}"


def _add_rejected_scan(rows: Rows, record: Any) -> None:
    """Under its place in `scans`: after a crash the tracker sets it aside once more."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    source = [headers.get(f"__connect.errors.{name}") for name in ("topic", "partition", "offset")]
    place = "/".join(part for part in source if part) if all(source) else _place(record)
    reason = headers.get(_REJECTED_REASON, "unknown")
    version = headers.get(UNIT_VERSION_HEADER, "")
    held = (
        ((record.key or b"").decode(errors="replace"), int(version))
        if version.isdecimal()
        else None
    )
    _add_rejected(rows, record, reason, headers.get(_REJECTED_DETAIL, ""), place[:300], held)


def _place(record: Any) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _add_rejected(
    rows: Rows,
    record: Any,
    reason: str,
    detail: str,
    place: str | None = None,
    held: tuple[str, int] | None = None,
) -> None:
    place = (place or _place(record)).replace("\0", "\\0")
    rows.rejected[place] = (
        place,
        "scan",
        None,
        None,
        reason.replace("\0", "\\0"),
        detail.replace("\0", "\\0"),
        record.value or b"",
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        None,
        *(held or (None, None)),
    )
