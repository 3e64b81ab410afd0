"""The records on the topics, and bytes to values and back.

Everything a stranger can get wrong in a record is refused here, once, with a reason that is a
metric label. Values are JSON; `schemas/<topic>/` describes them for everybody else.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from scantrail.domain.alert import Alert
from scantrail.domain.alert_policy import EXCEPTIONS_MAX, AlertPolicy
from scantrail.domain.children import DEPTH_MAX, Link
from scantrail.domain.custody import (
    ALIASES_MAX,
    Fact,
    FactKind,
    FactRule,
    Observation,
    Outcome,
    Position,
    Rebase,
    UnitState,
)
from scantrail.domain.finding import Finding
from scantrail.domain.hold import CLEARED_MAX, REASONS_MAX, Hold
from scantrail.domain.order import LINES_MAX, QUANTITY_MAX, Order
from scantrail.domain.product import POLICIES_MAX, Product
from scantrail.domain.reader import ReaderStatus
from scantrail.domain.recall import Recall
from scantrail.domain.recall_watch import Watched
from scantrail.domain.scan import Origin, Scan
from scantrail.domain.serial_format import FORMATS_MAX
from scantrail.domain.station import Station
from scantrail.domain.unit_ids import Identifier
from scantrail.domain.vocabulary import BusinessStep, Phase


class UnreadableRecord(Exception):
    """These bytes will never become a value. `reason` is one of few, fixed words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


#: Keys under which a scan came before it was forwarded: more than are ever joined into one.
KEYS_MAX = 4 * ALIASES_MAX

#: A time with its zone; a naive one is refused.
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a unit is and who has it: domain.custody.Position, as published."""

    phase: Phase
    site: str
    station: str
    read_point: str
    business_location: str | None
    business_step: BusinessStep
    disposition: str | None
    possessing_party: str | None
    order: str | None
    since: Time
    event_id: str
    seen_at: Time
    #: the unit inside which it is
    parent: str | None = None


class FactRecord(msgspec.Struct, frozen=True, gc=False):
    """domain.custody.Fact, as published."""

    kind: FactKind
    event_id: str
    rule: FactRule
    against: str
    elapsed_s: float
    station: str | None = None
    site: str | None = None
    at: Time | None = None
    expected_after: tuple[BusinessStep, ...] = ()


class Revealed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A scan that is judged anew, as domain.custody.Visit knows it."""

    event_id: str
    business_step: BusinessStep
    station: str
    site: str
    at: Time


class Movement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One accepted scan and what it did to its unit. `version` counts the unit's accepted scans."""

    unit: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    outcome: Outcome
    scan: Scan
    before: Place | None
    after: Place | None
    facts_added: tuple[FactRecord, ...] = ()
    facts_withdrawn: tuple[FactRecord, ...] = ()
    visit_id: str = ""
    #: whether the tracker failed on a scan of the unit that was not accepted since
    held: bool = False
    #: what the scan, late or a correction, says to have moved the unit with its parent before
    revealed: tuple[Revealed, ...] = ()
    #: the key into which this one was joined: the unit is found there from now on
    joined: str | None = None
    #: the keys that were joined into this one
    aliases: tuple[str, ...] = ()
    #: scans that began a visit, and belong to this one's since this one came late
    absorbed: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class RejectedRead(msgspec.Struct, frozen=True, kw_only=True):
    """A read that made no scan: malformed, or of a reader or station nobody configured.

    `event_id` was minted for it, so that it can be replayed without being doubled.
    """

    event_id: str
    reader: str
    station: str | None
    reason: str
    detail: str
    read: str
    event_time: Time
    record_time: Time
    sequence: int
    aim: str | None = None
    order: str | None = None
    #: when it was first set aside, where `record_time` is of a replay in vain
    first_record_time: Time | None = None
    corrects: str | None = None
    parent: str | None = None
    same_as: str | None = None
    #: of the reader's context when it was read
    location: str | None = None
    product: str | None = None
    #: what the device tells of a tag's read: it decides the station, and whether it is a stray
    antenna: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    rssi_dbm: float | None = None
    direction: str | None = None
    #: the key of the unit, where a person told it of a read that names none
    unit: str | None = None
    #: whether a verdict was asked for: what is made of it claims no more than a question does
    asked: bool = False
    #: the return authorisation by which the unit comes back
    rma: str | None = None
    #: what was told beside the code
    lot: str | None = None
    produced_on: date | None = None
    #: whether a person typed it, and said that it is right
    keyed: bool = False
    confirmed: bool = False
    #: the product whose code it is, where it names one and no unit of it
    of_product: str | None = None


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="link"):
    """domain.children.Link, as published: beside the scans of the parent, under its key."""

    parent: str
    child: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    since: Time
    until: Time | None
    record_time: Time
    via: str | None = None
    hops: Annotated[int, msgspec.Meta(ge=0, le=KEYS_MAX)] = 0


class RefoldRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refold"):
    """A new base for a unit, beside its scans: domain.custody.Rebase, private to one release.

    `scan` tells who asked for it, when; the rest is MessagePack.
    """

    scan: Scan
    rebase: bytes


T = TypeVar("T")

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

encode = msgspec.json.Encoder().encode
_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(UnitState).decode
_scan_decoder = msgspec.json.Decoder(Scan)
_link_decoder = msgspec.json.Decoder(LinkRecord)
_refold_decoder = msgspec.json.Decoder(RefoldRecord)
_decode_rebase = msgspec.msgpack.Decoder(Rebase).decode

#: As whose a refold's scan stands.
REFOLD_READER = "refold"

#: A record of `scans` that begins so is no scan: a link, which only trackers write, or a refold.
_LINK_BEGINS = b'{"type":"link"'
_REFOLD_BEGINS = b'{"type":"refold"'

#: Bytes of a refold: a base and the facts of one unit.
REFOLD_BYTES_MAX = 512 * 1024

_YEARS = range(1971, 2200)

#: Bytes of one scan. What is made of it must fit into a Kafka record too.
SCAN_BYTES_MAX = 8192

#: Bytes of one that was forwarded, with these keys.
FORWARDED_BYTES_MAX = 8 * SCAN_BYTES_MAX

#: Characters of an id or a name: it is a key of tables and indexes.
NAME_LENGTH_MAX = 256


def decode_scan(key: bytes | None, value: bytes | None) -> Scan:
    """The scan in a record of `scans`. Raises UnreadableRecord."""
    if value is not None and len(value) > SCAN_BYTES_MAX and not _may_be_larger(value):
        raise UnreadableRecord("too_large", f"{len(value)} bytes; a scan has {SCAN_BYTES_MAX}")
    scan = _decode(_scan_decoder, value, "scan")
    _check_scan(scan)
    if key != scan.unit.encode():
        raise UnreadableRecord("wrong_key", f"the record's key must be the unit, {scan.unit!r}")
    return scan


def _may_be_larger(value: bytes) -> bool:
    """Whether a large scan is that by the keys under which it came."""
    return len(value) <= FORWARDED_BYTES_MAX and b'"forwarded_from":["' in value


def is_link(value: bytes | None) -> bool:
    """Whether a record of `scans` is a link, and no scan."""
    return value is not None and value.startswith(_LINK_BEGINS)


def is_refold(value: bytes | None) -> bool:
    """Whether a record of `scans` is a new base, and no scan."""
    return value is not None and value.startswith(_REFOLD_BEGINS)


def decode_refold(key: bytes | None, value: bytes | None) -> tuple[Scan, Rebase]:
    """The new base in a record of `scans`, and the scan that tells of it.

    Raises UnreadableRecord.
    """
    if value is not None and len(value) > REFOLD_BYTES_MAX:
        raise UnreadableRecord("too_large", f"{len(value)} bytes; a refold has {REFOLD_BYTES_MAX}")
    record = _decode(_refold_decoder, value, "refold")
    _check_scan(record.scan)
    if key != record.scan.unit.encode():
        raise UnreadableRecord("wrong_key", f"the record's key must be {record.scan.unit!r}")
    try:
        return record.scan, _decode_rebase(record.rebase)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecord("not_a_refold", f"rebase: {error}: refold it again") from error


def encode_refold(scan: Scan, anew: Rebase) -> bytes:
    """The record of `scans` that gives a unit a new base."""
    return encode(RefoldRecord(scan=scan, rebase=_encode_state(anew)))


def decode_link(key: bytes | None, value: bytes | None) -> Link:
    """The link in a record of `scans`. Raises UnreadableRecord."""
    record = _decode(_link_decoder, value, "link")
    _check_names(record, ("parent", "child"), "not_a_link")
    if record.via is not None:
        _check_names(record, ("via",), "not_a_link")
    if record.version >= 1 << 63:
        raise UnreadableRecord("not_a_link", "version must be below 2^63")
    if key != record.parent.encode():
        raise UnreadableRecord("wrong_key", f"the record's key must be the parent, {record.parent}")
    return Link(**msgspec.structs.asdict(record))


def encode_link(link: Link) -> bytes:
    """The record of `scans` that tells a parent of its child."""
    return encode(
        LinkRecord(
            parent=link.parent,
            child=link.child,
            version=link.version,
            since=link.since,
            until=link.until,
            record_time=link.record_time,
            via=link.via,
            hops=link.hops,
        )
    )


def _check_names(value: object, names: tuple[str, ...], reason: str, *, inside: str = "") -> None:
    for name in names:
        if not 0 < len(getattr(value, name)) <= NAME_LENGTH_MAX:
            detail = f"{inside}{name} must have 1 to {NAME_LENGTH_MAX} letters"
            raise UnreadableRecord(reason, detail)


def _check_scan(scan: Scan) -> None:
    _check_names(scan, ("event_id", "unit", "station", "site"), "not_a_scan")
    if scan.corrects is not None:
        _check_names(scan, ("corrects",), "not_a_scan")
    if scan.parent is not None:
        _check_names(scan, ("parent",), "not_a_scan")
    if scan.derived_from is not None:
        _check_origin(scan.derived_from)
    if scan.same_as is not None:
        _check_names(scan, ("same_as",), "not_a_scan")
    if scan.forwarded_from:
        _check_forwarding(scan.forwarded_from)
    if scan.lot is not None:
        _check_names(scan, ("lot",), "not_a_scan")
    if scan.expected_since is not None and scan.expected_since.tzinfo is None:
        raise UnreadableRecord("no_time_zone", "expected_since needs an offset or Z")
    if not 0 <= scan.sequence < 1 << 63:
        raise UnreadableRecord("not_a_scan", "sequence must be from 0 to 2^63 - 1")
    if scan.event_time.tzinfo is None or scan.record_time.tzinfo is None:
        raise UnreadableRecord("no_time_zone", "event_time and record_time need an offset or Z")
    if scan.record_time.year not in _YEARS:
        raise UnreadableRecord("not_a_scan", f"record_time {scan.record_time} is out of range")
    if not 2 <= scan.event_time.year <= 9998:  # some zone would carry it over the calendar's end
        raise UnreadableRecord("not_a_scan", f"event_time {scan.event_time} is out of range")
    if scan.event_time.year not in _YEARS and scan.clock_skew_s is None:
        raise UnreadableRecord("not_a_scan", f"event_time {scan.event_time} is out of range")
    if not scan.repeat_window_s >= 0:
        raise UnreadableRecord("not_a_scan", "repeat_window_s must not be negative")


def _check_origin(origin: Origin) -> None:
    _check_names(origin, ("unit", "event_id"), "not_a_scan", inside="derived_from.")
    if not 1 <= origin.depth <= DEPTH_MAX:
        raise UnreadableRecord("not_a_scan", f"derived_from.depth must be from 1 to {DEPTH_MAX}")


def _check_forwarding(keys: tuple[str, ...]) -> None:
    if len(keys) > KEYS_MAX:
        raise UnreadableRecord("not_a_scan", f"forwarded_from has more than {KEYS_MAX} keys")
    if not all(0 < len(key) <= NAME_LENGTH_MAX for key in keys):
        detail = f"forwarded_from must have keys of 1 to {NAME_LENGTH_MAX} letters"
        raise UnreadableRecord("not_a_scan", detail)


def check_movement(movement: Movement) -> None:
    """Raise UnreadableRecord for a movement that no store could take; trackers make none such."""
    _check_scan(movement.scan)
    if movement.unit != movement.scan.unit:
        raise UnreadableRecord("not_a_movement", "unit must be that of the scan")
    if movement.version >= 1 << 63:
        raise UnreadableRecord("not_a_movement", "version must be below 2^63")
    if movement.joined is not None:
        _check_names(movement, ("joined",), "not_a_movement")


def check_rejected_read(read: RejectedRead) -> None:
    """Raise UnreadableRecord for a read that no store could take; the gateway makes none such."""
    for name, most in _REJECTED_LENGTHS.items():
        if len(getattr(read, name) or "") > most:
            raise UnreadableRecord("not_a_rejected_read", f"{name} has more than {most} letters")
    if not 0 <= read.sequence < 1 << 63:
        raise UnreadableRecord("not_a_rejected_read", "sequence must be from 0 to 2^63 - 1")


_REJECTED_LENGTHS = {
    "event_id": NAME_LENGTH_MAX,
    "reader": NAME_LENGTH_MAX,
    "station": NAME_LENGTH_MAX,
    "reason": NAME_LENGTH_MAX,
    "detail": 4096,
    "read": 4096,
    "aim": NAME_LENGTH_MAX,
    "order": NAME_LENGTH_MAX,
    "rma": NAME_LENGTH_MAX,
    "corrects": NAME_LENGTH_MAX,
    "parent": NAME_LENGTH_MAX,
    "same_as": NAME_LENGTH_MAX,
    "location": NAME_LENGTH_MAX,
    "product": NAME_LENGTH_MAX,
    "direction": NAME_LENGTH_MAX,
    "unit": NAME_LENGTH_MAX,
    "lot": NAME_LENGTH_MAX,
    "of_product": NAME_LENGTH_MAX,
}


def _check_recall(recall: Recall) -> None:
    _check_entity(recall, "recall")


def _check_product(product: Product) -> None:
    _check_entity(product, "product")
    if len(product.policies) > POLICIES_MAX:
        raise UnreadableRecord("not_a_product", f"policies must be at most {POLICIES_MAX}")
    for policy in (product, *product.policies):
        if len(set(policy.steps)) != len(policy.steps):
            raise UnreadableRecord("not_a_product", "steps must name each step once")
        if policy.valid_from is not None and policy.valid_from.tzinfo is None:
            raise UnreadableRecord("no_time_zone", "valid_from needs an offset or Z")
    if len(set(product.schemes)) != len(product.schemes):
        raise UnreadableRecord("not_a_product", "schemes must name each scheme once")
    if len(product.serial_formats) > FORMATS_MAX:
        raise UnreadableRecord("not_a_product", f"serial_formats must be at most {FORMATS_MAX}")


def _check_order(order: Order) -> None:
    _check_entity(order, "sales_order")
    if len(order.lines) > LINES_MAX:
        raise UnreadableRecord("not_a_sales_order", f"lines must be at most {LINES_MAX}")
    for line in order.lines:
        _check_names(line, ("product",), "not_a_sales_order", inside="lines: ")
        if not 1 <= line.quantity <= QUANTITY_MAX:
            raise UnreadableRecord(
                "not_a_sales_order", f"quantity must be from 1 to {QUANTITY_MAX}"
            )


def _check_reader_status(status: ReaderStatus) -> None:
    _check_names(status, ("id", "station"), "not_a_reader_status")
    times = (status.started_at, status.told_at, status.since, status.heard_at)
    if any(time is not None and time.tzinfo is None for time in times):
        raise UnreadableRecord("no_time_zone", "times need an offset or Z")
    if not all(0 <= count < 1 << 63 for count in status.counts.values()):
        raise UnreadableRecord("not_a_reader_status", "counts must be from 0 to 2^63 - 1")


def _check_station(station: Station) -> None:
    _check_entity(station, "station")
    if not 0 < len(station.site) <= NAME_LENGTH_MAX:
        raise UnreadableRecord("not_a_station", f"site must have 1 to {NAME_LENGTH_MAX} letters")
    if not station.repeat_window_s >= 0:
        raise UnreadableRecord("not_a_station", "repeat_window_s must not be negative")


def _check_identifier(link: Identifier) -> None:
    _check_entity(link, "unit_id")
    _check_names(link, ("unit",), "not_a_unit_id")
    if link.takes_back is not None:
        _check_names(link, ("takes_back",), "not_a_unit_id")
    if link.linked_at.tzinfo is None:
        raise UnreadableRecord("no_time_zone", "linked_at needs an offset or Z")
    if link.linked_at.year not in _YEARS:
        raise UnreadableRecord("not_a_unit_id", f"linked_at {link.linked_at} is out of range")


def _check_hold(hold: Hold) -> None:
    _check_entity(hold, "hold")
    if not hold.reasons and not hold.cleared:
        raise UnreadableRecord("not_a_hold", "reasons must be there, or what is cleared")
    if len(hold.reasons) > REASONS_MAX or len(hold.cleared) > CLEARED_MAX:
        detail = f"reasons must be at most {REASONS_MAX}, and cleared {CLEARED_MAX}"
        raise UnreadableRecord("not_a_hold", detail)
    for cleared in hold.cleared:
        _check_names(cleared, ("recall",), "not_a_hold", inside="cleared: ")
    for reason in hold.reasons:
        _check_names(reason, ("id",), "not_a_hold", inside="reasons: ")
        if reason.since is not None and reason.since.tzinfo is None:
            raise UnreadableRecord("no_time_zone", "since needs an offset or Z")


def _check_alert_policy(policy: AlertPolicy) -> None:
    _check_entity(policy, "policy")
    if len(policy.exceptions) > EXCEPTIONS_MAX:
        raise UnreadableRecord("not_a_policy", f"exceptions must be at most {EXCEPTIONS_MAX}")


def _check_entity(
    entity: Station | Product | Order | Recall | Identifier | Hold | AlertPolicy, name: str
) -> None:
    if not 0 < len(entity.id) <= NAME_LENGTH_MAX:
        raise UnreadableRecord(f"not_a_{name}", f"id must have 1 to {NAME_LENGTH_MAX} letters")
    if not 1 <= entity.version < 1 << 63:
        raise UnreadableRecord(f"not_a_{name}", "version must be from 1 to 2^63 - 1")


def _check_alert(alert: Alert) -> None:
    if alert.event_time.tzinfo is None:
        raise UnreadableRecord("no_time_zone", "event_time needs an offset or Z")


def _check_finding(finding: Finding) -> None:
    if finding.at.tzinfo is None:
        raise UnreadableRecord("no_time_zone", "at needs an offset or Z")


def _check_watched(watched: Watched) -> None:
    _check_names(watched, ("recall",), "not_a_recall_watch")
    if watched.unit is not None:
        _check_names(watched, ("unit",), "not_a_recall_watch")
    if not (1 <= watched.version < 1 << 63 and 0 <= watched.position < 1 << 63):
        detail = "version must be from 1 to 2^63 - 1, and position from 0"
        raise UnreadableRecord("not_a_recall_watch", detail)
    if not (0 <= watched.partition < 1 << 31 and 1 <= watched.partitions < 1 << 31):
        detail = "partition must be from 0 to 2^31 - 1, and partitions from 1"
        raise UnreadableRecord("not_a_recall_watch", detail)


def encode_movement(scan: Scan, before: Position | None, observation: Observation) -> bytes:
    """The record of `movements` for an accepted scan."""
    return encode(
        Movement(
            unit=scan.unit,
            version=observation.state.version,
            outcome=observation.outcome,
            scan=scan,
            before=_place(before),
            after=_place(observation.state.current),
            facts_added=_fact_records(observation.facts_added),
            facts_withdrawn=_fact_records(observation.facts_withdrawn),
            visit_id=observation.visit_id,
            held=bool(observation.state.held_for),
            revealed=tuple(
                Revealed(
                    event_id=visit.event_id,
                    business_step=visit.business_step,
                    station=visit.station,
                    site=visit.site,
                    at=visit.at,
                )
                for visit in observation.revealed
            )
            if observation.revealed
            else (),
            joined=observation.state.joined,
            aliases=observation.state.aliases,
            absorbed=observation.absorbed or msgspec.UNSET,
        )
    )


def _fact_records(told: tuple[Fact, ...]) -> tuple[FactRecord, ...]:
    return tuple(FactRecord(*fact) for fact in told) if told else ()


def facts(records: tuple[FactRecord, ...], scan: Scan) -> list[Fact]:
    """Published facts as the domain's; `scan` is that of their movement.

    Facts that do not say where they are of, as the first ones did not, are told at that scan.
    """
    return [
        Fact(
            r.kind,
            r.event_id,
            r.rule,
            r.against,
            r.elapsed_s,
            r.station or scan.station,
            r.site or scan.site,
            r.at or scan.event_time,
            r.expected_after,
        )
        for r in records
    ]


def _place(position: Position | None) -> Place | None:
    if position is None:
        return None
    return Place(
        position.phase,
        position.site,
        position.station,
        position.read_point,
        position.business_location,
        position.business_step,
        position.disposition,
        position.possessing_party,
        position.order,
        position.since,
        position.event_id,
        position.seen_at,
        position.parent,
    )


def encode_state(state: UnitState) -> bytes:
    """A unit's state for the table and its changelog: MessagePack arrays, private. What a release
    adds comes at the end, and may be forgotten: docs/decisions/0041."""
    return _encode_state(state)


def decode_state(payload: bytes) -> UnitState:
    """A unit's state as `encode_state` of this release wrote it, or of a later one, whose further
    places are left out; msgspec.DecodeError for anything else."""
    try:
        return _decode_state(payload)
    except msgspec.ValidationError:
        places = msgspec.msgpack.decode(payload)
        if not isinstance(places, list) or len(places) <= len(UnitState._fields):
            raise
        return _decode_state(msgspec.msgpack.encode(places[: len(UnitState._fields)]))


class _Folded(msgspec.Struct, array_like=True):
    """The first fields of UnitState; the rest is skipped."""

    unit: str
    version: int
    offset: int


_decode_folded = msgspec.msgpack.Decoder(_Folded).decode


def folded_up_to(payload: bytes) -> int | None:
    """The offset in `scans` of the last scan in a state, None for bytes that are no state."""
    try:
        return _decode_folded(payload).offset
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def version_of(payload: bytes) -> int:
    """The version of a state of which not all may be readable; for bytes that are none, one that no
    unit reaches."""
    try:
        return _decode_folded(payload).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (1 << 63) - 1


class Codec(Generic[T]):
    """Decodes the records of one topic into values of one type."""

    def __init__(
        self, kind: type[T], name: str, check: Callable[[T], None] = lambda value: None
    ) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._all: msgspec.json.Decoder[dict[str, T]] = msgspec.json.Decoder(dict[str, kind])  # type: ignore[valid-type]
        self._name = name
        self._check = check

    def decode(self, value: bytes | None) -> T:
        """Raises UnreadableRecord for bytes that are no such record."""
        decoded = _decode(self._decoder, value, self._name)
        self._check(decoded)
        return decoded

    def decode_all(self, value: bytes) -> dict[str, T]:
        """Several, by their keys, as `encode` writes them. Raises UnreadableRecord."""
        return _decode(self._all, value, f"{self._name}_list")


def holds_nul(value: bytes) -> bool:
    """Whether JSON text holds the character U+0000, which PostgreSQL cannot store.

    `\\\\u0000`, with its backslash escaped, is six harmless characters.
    """
    return b"\\" in value and b"\\u0000" in value and _NUL.search(value) is not None


def _decode(decoder: "msgspec.json.Decoder[T]", value: bytes | None, name: str) -> T:
    if value is None:
        raise UnreadableRecord("no_value", f"a {name} cannot be null")
    if holds_nul(value):
        raise UnreadableRecord("nul_character", f"a {name} must not hold the character U+0000")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise UnreadableRecord(f"not_a_{name}", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRecord("not_json", str(error)) from error


movements: "Codec[Movement]" = Codec(Movement, "movement", check_movement)
rejected_reads: "Codec[RejectedRead]" = Codec(RejectedRead, "rejected_read", check_rejected_read)
alerts: "Codec[Alert]" = Codec(Alert, "alert", _check_alert)
findings: "Codec[Finding]" = Codec(Finding, "finding", _check_finding)
watched: "Codec[Watched]" = Codec(Watched, "recall_watch", _check_watched)
recalls: "Codec[Recall]" = Codec(Recall, "recall", _check_recall)
stations: "Codec[Station]" = Codec(Station, "station", _check_station)
products: "Codec[Product]" = Codec(Product, "product", _check_product)
orders: "Codec[Order]" = Codec(Order, "sales_order", _check_order)
identifiers: "Codec[Identifier]" = Codec(Identifier, "unit_id", _check_identifier)
holds: "Codec[Hold]" = Codec(Hold, "hold", _check_hold)
alert_policies: "Codec[AlertPolicy]" = Codec(AlertPolicy, "policy", _check_alert_policy)

reader_statuses: "Codec[ReaderStatus]" = Codec(ReaderStatus, "reader_status", _check_reader_status)

Headers = list[tuple[str, bytes]]

#: On a rejected scan for which its unit is held.
UNIT_VERSION_HEADER = "scantrail.unit.version"


def cloud_event_headers(
    *, id: str, source: str, type: str, subject: str, time: datetime
) -> Headers:
    """CloudEvents 1.0 in Kafka's binary mode."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", encode(time)[1:-1].replace(b"Z", b"+00:00")),  # isoformat costs ten times that
        ("content-type", b"application/json"),
    ]


def rejection_headers(
    *,
    reason: str,
    detail: str,
    topic: str,
    partition: int,
    offset: int,
    version: str,
    unit_version: int | None = None,
) -> Headers:
    """Kafka Connect's dead-letter headers; key and value stay byte for byte as they came.

    `unit_version` is given where the unit is held for the scan: its version at that time.
    """
    told: dict[str, Any] = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "exception.class.name": reason,
        "exception.message": detail[:500],
        "stage": "SCAN",
        "connector.name": f"tracker {version}",
    }
    headers = [(f"__connect.errors.{name}", str(value).encode()) for name, value in told.items()]
    if unit_version is not None:
        headers.append((UNIT_VERSION_HEADER, str(unit_version).encode()))
    return headers
