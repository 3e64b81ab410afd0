"""What is sent to and answered by the desk's routes, with examples: for the API's description."""

from datetime import date, datetime
from typing import Any

import msgspec

from scantrail.api.answers import PurchaserTold, page_of
from scantrail.api.description import Sample
from scantrail.api.warranty_bodies import (
    ClaimBody,
    ClaimEventBody,
    RegistrationBody,
    ReturnBody,
    ReturnDecisionBody,
    SiteBody,
    TermBody,
    WarrantyDecisionBody,
)
from scantrail.domain.claim import ClaimState
from scantrail.domain.product import Serials
from scantrail.domain.returns import ReturnState
from scantrail.domain.vocabulary import BusinessStep
from scantrail.domain.warranty import WarrantyStart, WarrantyState

_AT = "2026-03-02T08:15:00Z"
_UNIT = "sgtin:09506000134352.A1"
_OTHER = "sgtin:09506000134352.B7"
_GTIN = "09506000134352"
_PURCHASER = {"id": "p-1", "name": "Ada Byron", "address": "1 Dock Road, York"}


class PartyTold(msgspec.Struct):
    """Name and address are null in the answer to a change, which tells nobody's."""

    id: str
    name: str | None
    address: str | None


class SiteTold(msgspec.Struct):
    id: str
    time_zone: str
    version: int


class TermTold(msgspec.Struct):
    valid_from: date
    months: int
    start: WarrantyStart


class TermsTold(msgspec.Struct):
    product: str
    version: int
    terms: list[TermTold]


class VoidTold(msgspec.Struct):
    since: datetime
    reason: str | None


class WarrantyTold(msgspec.Struct):
    """`since` and `until` are the first and the last day that are covered, in `time_zone`."""

    unit: str
    version: int
    product: str | None
    state: WarrantyState
    why: list[str]
    order: str | None
    purchaser: PartyTold | None
    sold_at: datetime | None
    registered_at: datetime | None
    registrant: PartyTold | None
    since: date | None
    until: date | None
    time_zone: str | None
    months: int | None
    void: VoidTold | None
    replaces: str | None
    replaced_by: str | None
    recalls: list[str]
    claims: list[dict[str, Any]]


class RemarkTold(msgspec.Struct):
    reason: str
    detail: str


class ClaimEventTold(msgspec.Struct):
    state: ClaimState
    at: datetime
    note: str | None
    replacement: str | None


class ClaimTold(msgspec.Struct):
    id: str
    unit: str | None
    product: str | None
    serial: str | None
    order_ref: str | None
    line: int | None
    purchaser: str | None
    fault: str
    state: ClaimState
    filed_at: datetime
    remarks: list[RemarkTold]


class ClaimInFull(ClaimTold):
    version: int
    purchaser: PartyTold | None  # type: ignore[assignment]
    events: list[ClaimEventTold]


class ReturnScanTold(msgspec.Struct):
    event_id: str
    at: datetime
    business_step: BusinessStep


class ReturnDecisionTold(msgspec.Struct):
    state: ReturnState
    quantity: int
    at: datetime
    note: str | None
    replacement: str | None


class ReturnLineTold(msgspec.Struct):
    """Of a unit its `state`; of a product without serials, how many are in each, in `counts`."""

    line: int
    unit: str | None
    product: str | None
    decisions: list[ReturnDecisionTold]


class ReturnHead(msgspec.Struct):
    rma: str
    order_ref: str
    purchaser: str | None
    authorised_at: datetime
    note: str | None


class ReturnTold(ReturnHead):
    version: int
    purchaser: PartyTold | None  # type: ignore[assignment]
    is_done: bool
    lines: list[ReturnLineTold]
    unexpected: list[dict[str, Any]]


class ProofTold(msgspec.Struct):
    order: str
    line: int
    ordered_at: datetime
    product: str
    product_name: str | None
    serials: Serials | None
    quantity: int
    purchaser: PurchaserTold


_WARRANTY: dict[str, Any] = {
    "unit": _UNIT,
    "version": 1,
    "product": _GTIN,
    "state": "covered",
    "why": [],
    "order": "SO-1",
    "purchaser": _PURCHASER,
    "sold_at": _AT,
    "registered_at": None,
    "registrant": None,
    "since": "2026-03-02",
    "until": "2028-03-02",
    "time_zone": "Europe/Berlin",
    "months": 24,
    "void": None,
    "replaces": None,
    "replaced_by": None,
    "recalls": [],
    "claims": [],
}
_CLAIM = {
    "id": "C-1",
    "unit": _UNIT,
    "product": _GTIN,
    "serial": "A1",
    "order_ref": None,
    "line": None,
    "purchaser": _PURCHASER,
    "fault": "does not start",
    "state": "filed",
    "filed_at": _AT,
    "remarks": [{"reason": "expired", "detail": "its warranty ended on 2026-01-31"}],
}
_FILED = {"state": "filed", "at": _AT, "note": "does not start", "replacement": None}
_HEAD = {
    "rma": "RMA-1",
    "order_ref": "SO-1",
    "purchaser": "p-1",
    "authorised_at": _AT,
    "note": None,
}
_RETURN = {
    **_HEAD,
    "version": 2,
    "purchaser": _PURCHASER,
    "is_done": True,
    "lines": [
        {
            "line": 1,
            "unit": _UNIT,
            "product": _GTIN,
            "state": "restocked",
            "shipped_at": _AT,
            "scans": [{"event_id": "dock/7", "at": _AT, "business_step": "returning"}],
            "decisions": [
                {
                    "state": "restocked",
                    "quantity": 1,
                    "at": _AT,
                    "note": "as new",
                    "replacement": None,
                }
            ],
        }
    ],
    "unexpected": [],
}
_PROOF = {
    "order": "SO-1",
    "line": 1,
    "ordered_at": _AT,
    "product": _GTIN,
    "product_name": "Cable",
    "serials": "not_used",
    "quantity": 3,
    "purchaser": _PURCHASER,
}
_SITE = {"id": "home", "time_zone": "Europe/Berlin", "version": 1}
_TERM = {"valid_from": "2026-01-01", "months": 24, "start": "shipping"}

SITE = Sample(kind=SiteBody, example={"time_zone": "Europe/Berlin"})
SITE_TOLD = Sample(kind=SiteTold, example=_SITE)
SITES_TOLD = page_of("sites", SiteTold, _SITE)
TERM = Sample(kind=TermBody, example=_TERM)
TERMS_TOLD = Sample(kind=TermsTold, example={"product": _GTIN, "version": 1, "terms": [_TERM]})
REGISTRATION = Sample(
    kind=RegistrationBody,
    example={"unit": _UNIT, "registrant": {"name": "Cy Twombly", "address": "3 Hill, Leeds"}},
)
WARRANTY_DECISION = Sample(
    kind=WarrantyDecisionBody,
    example={"unit": _UNIT, "is_void": True, "reason": "opened by others"},
)
WARRANTY_TOLD = Sample(kind=WarrantyTold, example=_WARRANTY)
CLAIM = Sample(
    kind=ClaimBody, example={"id": "C-1", "unit": "010950600013435221A1", "fault": "does not start"}
)
CLAIM_EVENT = Sample(kind=ClaimEventBody, example={"state": "replaced", "replacement": _OTHER})
CLAIM_TOLD = Sample(kind=ClaimInFull, example={**_CLAIM, "version": 1, "events": [_FILED]})
CLAIMS_TOLD = page_of("claims", ClaimTold, {**_CLAIM, "purchaser": "p-1"})
RETURN = Sample(
    kind=ReturnBody,
    example={"rma": "RMA-1", "order": "SO-1", "lines": [{"unit": "010950600013435221A1"}]},
)
RETURN_DECISION = Sample(
    kind=ReturnDecisionBody, example={"line": 1, "state": "restocked", "note": "as new"}
)
RETURN_TOLD = Sample(kind=ReturnTold, example=_RETURN)
RETURNS_TOLD = page_of("returns", ReturnHead, _HEAD)
PROOFS_TOLD = page_of("lines", ProofTold, _PROOF)
