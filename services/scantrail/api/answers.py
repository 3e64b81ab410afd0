"""What each route answers, with an example: for the API's description of itself.

Types say what is always there; an answer may have more, as the API grows.
"""

import dataclasses
import typing
from datetime import datetime
from typing import Any

import msgspec

from scantrail.api.description import Sample
from scantrail.domain.hold import Hold
from scantrail.domain.station import Station

_AT = "2026-03-02T08:15:00+00:00"
_UNIT = "sgtin:09506000134352.A1"


def with_published(entity: type) -> type[msgspec.Struct]:
    """An entity as it is answered; what it gained since it was entered may be missing."""
    hints = typing.get_type_hints(entity)
    parts: list[Any] = [("published", bool)]
    for part in dataclasses.fields(entity):
        has_default = part.default is not dataclasses.MISSING
        parts.append((part.name, hints[part.name], *([part.default] if has_default else [])))
    return msgspec.defstruct(f"{entity.__name__}Told", parts, kw_only=True)


def page_of(name: str, of: Any, example: Any, **more: tuple[Any, Any]) -> Sample:
    """A page of a list: what is on it, and where the next one begins."""
    title = "".join(part.capitalize() for part in name.split("_"))
    parts = [(name, list[of]), ("next", str | None)]
    parts += [(key, kind) for key, (kind, _) in more.items()]
    shown = {name: [example], "next": None} | {key: value for key, (_, value) in more.items()}
    return Sample(kind=msgspec.defstruct(f"{title}Page", parts), example=shown)


StationTold = with_published(Station)
HoldTold = with_published(Hold)

_STATION = {
    "id": "dock-1",
    "site": "north",
    "business_step": "receiving",
    "read_point": "dock-1",
    "business_location": "Hall A",
    "repeat_window_s": 10.0,
    "version": 3,
    "published": True,
}
_HOLD = {
    "id": _UNIT,
    "reasons": [{"id": "inspection-7", "text": "seal broken", "since": _AT}],
    "version": 1,
    "published": True,
}

STATION = Sample(kind=StationTold, example=_STATION)
STATIONS = page_of("stations", StationTold, _STATION)
HOLD = Sample(kind=HoldTold, example=_HOLD)
HOLDS = page_of("holds", HoldTold, _HOLD)


class PurchaserTold(msgspec.Struct):
    id: str
    name: str
    address: str


class LineTold(msgspec.Struct):
    product: str
    quantity: int


class OrderTold(msgspec.Struct):
    ref: str
    version: int
    purchaser: PurchaserTold
    lines: list[LineTold]
    units: list[str]
    published: bool


class OrderEntered(msgspec.Struct):
    """`purchaser` is the id, `lines` their number."""

    ref: str
    version: int
    purchaser: str
    lines: int
    published: bool


_PURCHASER = {"id": "order 4711", "name": "Ada Byron", "address": "1 Dock Road, York"}
ORDER = Sample(
    kind=OrderTold,
    example={
        "ref": "4711",
        "version": 1,
        "purchaser": _PURCHASER,
        "lines": [{"product": "09506000134352", "quantity": 2}],
        "units": [_UNIT],
        "published": True,
    },
)
ORDER_ENTERED = Sample(
    kind=OrderEntered,
    example={
        "ref": "4711",
        "version": 1,
        "purchaser": "order 4711",
        "lines": 1,
        "published": True,
    },
)


class IdsEntered(msgspec.Struct):
    unit: str
    ids: list[str]
    published: bool


class LinkTold(msgspec.Struct):
    id: str
    version: int
    linked_at: datetime
    published: bool


class IdsTold(msgspec.Struct):
    unit: str
    ids: list[str]
    links: list[LinkTold]


class LinkTakenBack(msgspec.Struct):
    id: str
    unit: str
    version: int
    published: bool


_IDS = {"unit": "imei:49015420323751", "ids": ["imei:49015420323751", _UNIT]}
_LINK = {"id": _UNIT, "version": 1, "linked_at": _AT, "published": True}
IDS_ENTERED = Sample(kind=IdsEntered, example={**_IDS, "published": True})
IDS = Sample(kind=IdsTold, example={**_IDS, "links": [_LINK]})
LINK_TAKEN_BACK = Sample(
    kind=LinkTakenBack, example={"id": _UNIT, "unit": _UNIT, "version": 2, "published": True}
)


class AlertTold(msgspec.Struct):
    id: str
    kind: str
    severity: str
    status: str
    unit: str | None
    event_id: str
    event_time: datetime
    text: str


class RejectedTold(msgspec.Struct):
    id: str
    source: str
    reader: str | None
    station: str | None
    reason: str
    detail: str
    payload: str
    record_time: datetime
    replayed_at: datetime | None


class ReplayTold(msgspec.Struct):
    """`rejected` are those that were refused again, each with `id`, `reason` and `detail`."""

    replayed: int
    rejected: list[dict[str, Any]]
    next: str | None


_ALERT = {
    "id": "recalled_at_shipping/R-1/e-7",
    "kind": "recalled_at_shipping",
    "severity": "critical",
    "status": "open",
    "unit": _UNIT,
    "event_id": "e-7",
    "event_time": _AT,
    "text": "a unit of recall R-1 was scanned at shipping",
}
_REJECTED = {
    "id": "e-8#1f",
    "source": "read",
    "reader": "dock-1-reader",
    "station": "dock-1",
    "reason": "bad_check_digit",
    "detail": "the last digit of the GTIN does not fit",
    "payload": "{}",
    "record_time": _AT,
    "replayed_at": None,
}
REJECTED_ROW = Sample(kind=RejectedTold, example=_REJECTED)
REJECTED = page_of("rejected", RejectedTold, _REJECTED)
REPLAY = Sample(kind=ReplayTold, example={"replayed": 3, "rejected": [], "next": None})


class ReaderTold(msgspec.Struct):
    id: str
    station: str
    protocol: str
    started_at: datetime
    told_at: datetime
    is_up: bool | None
    since: datetime | None
    heard_at: datetime | None
    clock_ahead_s: float | None
    counts: dict[str, Any]
    context: Any


_READER = {
    "id": "dock-1-reader",
    "station": "dock-1",
    "protocol": "text",
    "started_at": _AT,
    "told_at": _AT,
    "is_up": True,
    "since": _AT,
    "heard_at": _AT,
    "clock_ahead_s": 0.2,
    "counts": {"accepted": 3},
    "context": {},
}
READER = Sample(kind=ReaderTold, example=_READER)
READERS = page_of("readers", ReaderTold, _READER)


class UnidentifiedTold(msgspec.Struct):
    id: str
    reader: str
    station: str | None
    read: str
    event_time: datetime | None
    reason: str
    detail: str
    serial: str | None
    candidates: list[dict[str, Any]]


class ResolutionTold(msgspec.Struct):
    id: str
    event_id: str
    unit: str


_UNIDENTIFIED = {
    "id": "e-9#2a",
    "reader": "dock-1-reader",
    "station": "dock-1",
    "read": "A1",
    "event_time": _AT,
    "reason": "unidentified_serial",
    "detail": "the serial A1 does not tell its product",
    "serial": "A1",
    "candidates": [{"unit": _UNIT, "product": "09506000134352", "serial": "A1"}],
}
UNIDENTIFIED = page_of(
    "unidentified",
    UnidentifiedTold,
    _UNIDENTIFIED,
    products=(list[dict[str, Any]], [{"id": "09506000134352", "name": "Phone"}]),
)
RESOLUTION = Sample(kind=ResolutionTold, example={"id": "e-9#2a", "event_id": "e-9", "unit": _UNIT})


class UnitTold(msgspec.Struct):
    """Where a unit is and who has it: what is null is not known, or was not told."""

    unit: str
    product: str | None
    serial: str
    version: int
    phase: str | None
    site: str | None
    location: str | None
    custody: str | None
    order: str | None
    purchaser: PurchaserTold | None
    parent: str | None
    children: list[str]
    aliases: list[str]
    alerts: list[AlertTold]
    held: bool
    since: datetime | None
    seen_at: datetime | None
    understood: dict[str, Any]


class MovementTold(msgspec.Struct):
    unit: str
    event_id: str
    event_time: datetime
    record_time: datetime
    version: int
    outcome: str
    station: str
    site: str
    read_point: str
    business_step: str


_FOUND = {
    "unit": _UNIT,
    "product": "09506000134352",
    "serial": "A1",
    "version": 4,
    "phase": "in_stock",
    "site": "north",
    "location": "Hall A",
    "custody": "acme",
    "order": None,
    "purchaser": None,
    "parent": None,
    "children": [],
    "aliases": [],
    "alerts": [],
    "held": False,
    "since": _AT,
    "seen_at": _AT,
    "understood": {"input": "(01)09506000134352(21)A1", "key": _UNIT},
}
UNIT = Sample(
    kind=UnitTold | list[MovementTold],
    example=_FOUND,
    problems={300: "several units carry this serial: ask for one of the `candidates`"},
)


class VoidedTold(msgspec.Struct):
    """`voided_by` and `replaced_by` are the event ids of the scans that were made of it."""

    event_id: str
    unit: str
    voided_by: str
    replaced_by: str | None
    reason: str
    who: str
    at: datetime


VOIDED = Sample(
    kind=VoidedTold,
    example={
        "event_id": "dock-1-reader/5f2c/17",
        "unit": _UNIT,
        "voided_by": "correction/0f3b/void",
        "replaced_by": None,
        "reason": "the carton stayed in Hall A",
        "who": "operate-2",
        "at": _AT,
    },
)


class TokenTold(msgspec.Struct):
    """A token's owner and what it may do; `sites`: none is all."""

    id: str
    role: str
    sites: list[str]
    version: int
    made_at: datetime
    revoked_at: datetime | None


class NewTokenTold(msgspec.Struct):
    """`token` is told once, and left out of the answer to a retry."""

    id: str
    role: str
    sites: list[str]
    version: int
    token: str | msgspec.UnsetType = msgspec.UNSET


_WHOSE = {"id": "quality-7", "role": "quality", "sites": ["north"], "version": 1}
_TOKEN = {**_WHOSE, "made_at": _AT, "revoked_at": None}
TOKEN = Sample(kind=TokenTold, example=_TOKEN)
TOKENS = page_of("tokens", TokenTold, _TOKEN)
NEW_TOKEN = Sample(kind=NewTokenTold, example={**_WHOSE, "token": "kept-by-nobody-but-you"})


class AuditTold(msgspec.Struct):
    number: int
    at: datetime
    who: str
    role: str
    method: str
    route: str
    entity: str
    reference: str
    old_version: int | None
    new_version: int | None
    request_sha256: str
    previous_hash: str
    hash: str


class BrokenTold(msgspec.Struct):
    number: int
    why: str


class VerifiedTold(msgspec.Struct):
    verifies: bool
    rows: int
    last_hash: str
    broken: BrokenTold | None


AUDIT = page_of(
    "audit",
    AuditTold,
    {
        "number": 1,
        "at": _AT,
        "who": "quality-7",
        "role": "quality",
        "method": "POST",
        "route": "/recalls",
        "entity": "recall",
        "reference": "R-1",
        "old_version": 0,
        "new_version": 1,
        "request_sha256": "9f" * 32,
        "previous_hash": "00" * 32,
        "hash": "c4" * 32,
    },
)
VERIFIED = Sample(
    kind=VerifiedTold,
    example={"verifies": True, "rows": 120, "last_hash": "c4" * 32, "broken": None},
)
