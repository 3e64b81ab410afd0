"""What routes of receiving, opening stock and counts take and answer, as api/answers.py has it."""

from datetime import datetime
from typing import Any

import msgspec

from scantrail.api import bodies
from scantrail.api.description import Sample
from scantrail.domain.counting import CountStatus
from scantrail.domain.receiving import UnitStatus

_AT = "2026-03-02T08:15:00+00:00"
_UNIT = "sgtin:09506000134352.S001"
_CARTON = "sscc:095060001343520017"
_CSV = "product,serial\n09506000134352,S001\n"


class NoticeTold(msgspec.Struct, kw_only=True):
    id: str
    version: int
    supplier: str
    site: str
    stations: list[str]
    since: datetime
    entered_at: datetime
    closed_at: datetime | None


class EnteredTold(NoticeTold, kw_only=True):
    """How many units, cartons, and pieces without serials it announces."""

    units: int
    cartons: int
    quantity: int


class QuantityTold(msgspec.Struct):
    product: str
    announced: int
    received: int


class KitsTold(msgspec.Struct):
    announced: int
    here: int


class SummedTold(NoticeTold, kw_only=True):
    announced: int
    here: int
    is_complete: bool
    counts: dict[UnitStatus, int]
    cartons: dict[UnitStatus, int]
    quantities: list[QuantityTold]
    kits: KitsTold


class ReceivedTold(msgspec.Struct):
    at: datetime
    station: str
    event_id: str
    carton: str | None


class ComparedTold(msgspec.Struct):
    unit: str
    status: UnitStatus
    line: int | None
    carton: str | None
    kit: str | None
    instead_of: str | None
    received: ReceivedTold | None


class ProgressTold(SummedTold, kw_only=True):
    units: list[ComparedTold]
    next: str | None


class NoticesPage(msgspec.Struct):
    advance_notices: list[NoticeTold]
    next: str | None


class ClosedTold(SummedTold, kw_only=True):
    published: bool | msgspec.UnsetType = msgspec.UNSET


_NOTICE: dict[str, Any] = {
    "id": "ASN-7",
    "version": 1,
    "supplier": "maker",
    "site": "north",
    "stations": ["dock-1"],
    "since": _AT,
    "entered_at": _AT,
    "closed_at": None,
}
_SUMMED: dict[str, Any] = {
    **_NOTICE,
    "announced": 2,
    "here": 1,
    "is_complete": False,
    "counts": {"received": 1, "expected": 1},
    "cartons": {"received": 1},
    "quantities": [],
    "kits": {"announced": 0, "here": 0},
}
_COMPARED = {
    "unit": _UNIT,
    "status": "received",
    "line": 1,
    "carton": _CARTON,
    "kit": None,
    "instead_of": None,
    "received": {"at": _AT, "station": "dock-1", "event_id": "e-1", "carton": None},
}

TAKES_NOTICE = Sample(
    kind=bodies.AdvanceNoticeBody,
    example={
        "supplier": "maker",
        "site": "north",
        "lines": [{"product": "09506000134352", "ranges": [{"low": "S001", "high": "S040"}]}],
    },
)
TAKES_QUANTITY = Sample(kind=bodies.QuantityBody, example={"received": 40})
TAKES_COUNT = Sample(kind=bodies.CountBody, example={"site": "north", "location": "Hall A"})
TAKES_CSV = Sample(kind=str, example=_CSV, media="text/csv")

NOTICE = Sample(kind=NoticeTold, example=_NOTICE)
NOTICES = Sample(kind=NoticesPage, example={"advance_notices": [_NOTICE], "next": None})
ENTERED = Sample(kind=EnteredTold, example={**_NOTICE, "units": 40, "cartons": 1, "quantity": 0})
PROGRESS = Sample(kind=ProgressTold, example={**_SUMMED, "units": [_COMPARED], "next": None})
CLOSED = Sample(kind=ClosedTold, example={**_SUMMED, "published": True})
QUANTITY = Sample(kind=QuantityTold, example={"product": "screws", "announced": 50, "received": 40})


class FaultTold(msgspec.Struct):
    line: int
    field: str
    detail: str


class StockTold(msgspec.Struct):
    accepted: int
    already: int
    rejected: list[FaultTold]


STOCK = Sample(kind=StockTold, example={"accepted": 1, "already": 0, "rejected": []})


class CountTold(msgspec.Struct, kw_only=True):
    id: str
    version: int
    site: str
    location: str
    opened_at: datetime
    closed_at: datetime | None


class OpenedTold(CountTold, kw_only=True):
    expected: int


class CountSummedTold(CountTold, kw_only=True):
    counts: dict[CountStatus, int]


class CountedTold(msgspec.Struct):
    unit: str
    status: CountStatus
    event_id: str | None
    counted_at: datetime | None


class CountProgressTold(CountSummedTold, kw_only=True):
    units: list[CountedTold]
    next: str | None


class CountsPage(msgspec.Struct):
    counts: list[CountTold]
    next: str | None


_COUNT: dict[str, Any] = {
    "id": "2026-hall-a",
    "version": 1,
    "site": "north",
    "location": "Hall A",
    "opened_at": _AT,
    "closed_at": None,
}
_COUNTS = {**_COUNT, "counts": {"found": 1, "missing": 1}}
_MISSING = {"unit": _UNIT, "status": "missing", "event_id": None, "counted_at": None}

COUNT_OPENED = Sample(kind=OpenedTold, example={**_COUNT, "expected": 2})
COUNT = Sample(kind=CountProgressTold, example={**_COUNTS, "units": [_MISSING], "next": None})
COUNT_CLOSED = Sample(kind=CountSummedTold, example=_COUNTS)
COUNTS = Sample(kind=CountsPage, example={"counts": [_COUNT], "next": None})
