"""What callers send of parties, orders' other parties, regulations and the register."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec

from scantrail.api.description import Sample
from scantrail.domain.party import Role

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class LicenceBody(_Body, frozen=True, kw_only=True):
    """One licence of a party; its last day is included, none: without end."""

    number: str
    kind: str
    valid_from: date
    valid_until: date | None = None


class PartyBody(_Body, frozen=True, kw_only=True):
    """`PUT /parties/{id}`: name and address stay in PostgreSQL."""

    name: str
    address: str
    roles: tuple[Role, ...] = ()
    licences: tuple[LicenceBody, ...] = ()


class LoanBody(_Body, frozen=True, kw_only=True):
    """Of an order whose units come back: the last day on which they may."""

    due: date


class DeliveredBody(_Body, frozen=True, kw_only=True):
    """`POST /orders/{ref}/delivered`: all that is on its way, or `units` in any spelling.

    `reader` is one whose station has the step arriving and the possessing party purchaser.
    """

    reader: str | None = None
    units: tuple[str, ...] = ()
    at: Time | None = None


class RegulationBody(_Body, frozen=True, kw_only=True):
    """`PUT /products/{id}/regulation`."""

    maker: str
    model: str
    type: str
    calibre: str
    importer: str | None = None
    licence_kind: str = "firearms"
    enter_within_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 7
    retention_years: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class CorrectionBody(_Body, frozen=True, kw_only=True):
    """`POST /register/{line}/corrections`: what is told replaces the line's; parties are ids."""

    reason: str
    by: str | None = None
    acquired_at: Time | msgspec.UnsetType = msgspec.UNSET
    acquired_from: str | msgspec.UnsetType = msgspec.UNSET
    disposed_at: Time | msgspec.UnsetType = msgspec.UNSET
    disposed_to: str | msgspec.UnsetType = msgspec.UNSET


_LICENCE: dict[str, Any] = {
    "number": "1-23-456",
    "kind": "firearms",
    "valid_from": "2025-01-01",
    "valid_until": "2029-12-31",
}
_WHO: dict[str, Any] = {"name": "A. Buyer", "address": "1 Dock Road, York"}
_ENTERED: dict[str, Any] = {
    "id": "c-7",
    "version": 1,
    "roles": ["purchaser"],
    "licences": [{**_LICENCE, "valid": True}],
    "erased_at": None,
}
_RULE: dict[str, Any] = {
    "maker": "Acme Arms",
    "importer": "Import Co",
    "model": "M1",
    "type": "rifle",
    "calibre": ".308",
    "licence_kind": "firearms",
    "enter_within_days": 7,
    "retention_years": 20,
}
_LINE: dict[str, Any] = {"line": 1, "serial": "M1-0001", "status": "here", "missing": []}


def _told(example: Any) -> Sample:
    return Sample(kind=dict[str, Any], example=example)


PARTY = Sample(kind=PartyBody, example={**_WHO, "roles": ["purchaser"], "licences": [_LICENCE]})
PARTY_ENTERED = _told(_ENTERED)
PARTY_TOLD = _told({**_ENTERED, **_WHO})
PARTY_ERASED = _told({**_ENTERED, "orders": ["SO-1"], "still_in": []})
DELIVERED = Sample(kind=DeliveredBody, example={"reader": "desk"})
DELIVERY = _told(
    {"ref": "SO-1", "delivered": ["sgtin:09506000134352.A1"], "at": "2026-03-02T08:15:00Z"}
)
REGULATION = Sample(kind=RegulationBody, example=_RULE)
REGULATION_TOLD = _told({**_RULE, "id": "09506000134352", "version": 1})
CORRECTION = Sample(
    kind=CorrectionBody, example={"reason": "invoice says so", "acquired_from": "acme-arms"}
)
LINE = _told(_LINE)
BOOK = _told({"lines": [_LINE], "next": None})
BOOK_AS_CSV = Sample(kind=str, example="line,maker\r\n1,Acme Arms\r\n", media="text/csv")
TOTALS = _told({"products": [], "lines": 1, "here": 1, "disposed": 0})

#: Times that a person tells beyond these are slips, and more than a calendar takes.
YEARS = range(1900, 3000)
