"""What routes of recalls take and answer, as api/requested.py and api/answers.py have it."""

from datetime import datetime
from typing import Any

import msgspec

from scantrail.api.answers import page_of
from scantrail.api.bodies import Body
from scantrail.api.description import Sample
from scantrail.contracts.notices import SelectorForm
from scantrail.domain.recall import RecallStatus

_AT = "2026-03-02T08:15:00+00:00"
_UNIT = "sgtin:09506000134352.AB017"


class RecallBody(Body, frozen=True, kw_only=True):
    """`PUT /recalls/{id}`. Without a status a recall keeps its own, and a new one is active. With
    `keep_serials` the serials that it lists stay: they may be more than a request takes."""

    title: str
    reason: str
    selectors: tuple[SelectorForm, ...]
    products: tuple[str, ...] = ()
    status: RecallStatus | None = None
    remedy: str | None = None
    note: str | None = None
    keep_serials: bool = False


class NewRecallBody(RecallBody, frozen=True, kw_only=True):
    """`POST /recalls`."""

    id: str


class ActivateBody(Body, frozen=True, kw_only=True):
    """`POST /recalls/{id}/activate`."""

    note: str | None = None


class CloseBody(Body, frozen=True, kw_only=True):
    """`POST /recalls/{id}/close`: why."""

    note: str


class ReachBody(Body, frozen=True, kw_only=True):
    """`POST /recalls/{id}/notified`, `/remedied`: `units` in any spelling, or `all_shipped`. With
    `take_back` it is not so after all."""

    units: tuple[str, ...] = ()
    all_shipped: bool = False
    note: str | None = None
    take_back: bool = False


class RecallTold(msgspec.Struct, kw_only=True):
    """`selectors` as they were entered, of a list its beginning and the `count` of what it lists in
    all forms; `serials` is how many were entered."""

    id: str
    title: str
    reason: str
    selectors: list[dict[str, Any]]
    products: list[str]
    status: RecallStatus
    version: int
    remedy: str | None
    is_swept: bool
    serials: int
    published: bool


class SerialsTold(RecallTold, kw_only=True):
    """How many lines had a serial, and how many of them had one that had come before."""

    lines: int
    doubles: int


class VersionTold(msgspec.Struct):
    version: int
    status: str
    at: datetime
    who: str
    note: str | None
    document: dict[str, Any]


class ListedTold(msgspec.Struct):
    serial: str
    forms: list[str]


class ListedPage(msgspec.Struct):
    serials: list[ListedTold]
    next: str | None


class OnSiteTold(msgspec.Struct):
    site: str | None
    location: str | None
    units: int


class ShippedTold(msgspec.Struct):
    units: int
    purchasers: int
    without_order: int
    first: datetime | None
    last: datetime | None


class RangeTold(msgspec.Struct):
    low: str
    high: str
    numbers: int
    never_seen: int


class NeverSeenTold(msgspec.Struct):
    """`listed` serials and, of each range, numbers that no scan has told yet."""

    listed: int
    ranges: list[RangeTold]


class PreviewTold(msgspec.Struct):
    recall: str
    version: int
    status: str
    units: int
    on_site: int
    on_site_at: list[OnSiteTold]
    shipped: ShippedTold
    in_transit: int
    gone: int
    undecided: int
    never_seen: NeverSeenTold


class HolderTold(msgspec.Struct):
    id: str
    name: str
    address: str


class MeantTold(msgspec.Struct):
    """One unit of a recall; `shipped_at`, `order` and `purchaser` where it was shipped."""

    unit: str
    product: str | None
    serial: str
    lot: str | None
    produced_on: str | None
    is_undecided: bool
    phase: str
    is_in_transit: bool
    site: str | None
    location: str | None
    since: datetime | None
    shipped_at: datetime | None
    order: str | None
    purchaser: HolderTold | None
    notified_at: datetime | None
    returned: bool
    remedied_at: datetime | None


class ReachTold(msgspec.Struct):
    """`to_reach`: units that are shipped, or came back since the recall became active. Shares are
    of these, None where there are none."""

    recall: str
    version: int
    active_since: datetime | None
    to_reach: int
    notified: int
    returned: int
    remedied: int
    #: units that never left, mended here
    remedied_here: int
    share: dict[str, float | None]


class ReachedTold(msgspec.Struct):
    """`left`: shipped units that a further request is for."""

    recall: str
    units: int
    left: int


_RECALL: dict[str, Any] = {
    "title": "Battery may overheat",
    "reason": "cells of lot 7 fail",
    "products": ["09506000134352"],
    "selectors": [{"kind": "range", "low": "AB001", "high": "AB099"}],
    "status": "active",
    "remedy": "Send it back for a new battery",
}
_TOLD = {**_RECALL, "id": "R-1", "version": 1, "is_swept": False, "serials": 0, "published": True}
_VERSION = {
    "version": 1,
    "status": "draft",
    "at": _AT,
    "who": "quality-7",
    "note": "as the maker's notice of 2 March has it",
    "document": {**_RECALL, "id": "R-1", "version": 1},
}
_MEANT = {
    "unit": _UNIT,
    "product": "09506000134352",
    "serial": "AB017",
    "lot": None,
    "produced_on": None,
    "is_undecided": False,
    "phase": "shipped",
    "is_in_transit": True,
    "site": "north",
    "location": None,
    "since": _AT,
    "shipped_at": _AT,
    "order": "4711",
    "purchaser": {"id": "order 4711", "name": "Ada Byron", "address": "1 Dock Road, York"},
    "notified_at": None,
    "returned": False,
    "remedied_at": None,
}

NEW_RECALL = Sample(kind=NewRecallBody, example={"id": "R-1", **_RECALL})
RECALL = Sample(kind=RecallBody, example={**_RECALL, "note": "the maker added AB090 to AB099"})
ACTIVATE = Sample(kind=ActivateBody, example={"note": "looked through by quality"})
CLOSE = Sample(kind=CloseBody, example={"note": "all were returned or mended"})
REACH = Sample(kind=ReachBody, example={"units": [_UNIT], "note": "by letter of 3 March"})
SERIALS_CSV = Sample(kind=str, example="serial\nAB017\nAB018\n", media="text/csv")

TOLD = Sample(kind=RecallTold, example=_TOLD)
RECALLS = page_of("recalls", RecallTold, _TOLD)
SERIALS_ENTERED = Sample(
    kind=SerialsTold, example={**_TOLD, "serials": 2, "lines": 3, "doubles": 1}
)
VERSIONS = page_of("versions", VersionTold, _VERSION)
SERIALS = Sample(
    kind=ListedPage,
    example={
        "serials": [{"serial": "490154203237518", "forms": ["49015420323751"]}],
        "next": None,
    },
)
UNITS = page_of("units", MeantTold, _MEANT)
NEVER_SEEN = page_of("never_seen", ListedTold, {"serial": "AB019", "forms": []})
PREVIEW = Sample(
    kind=PreviewTold,
    example={
        "recall": "R-1",
        "version": 1,
        "status": "draft",
        "units": 42,
        "on_site": 30,
        "on_site_at": [{"site": "north", "location": "Hall A", "units": 30}],
        "shipped": {
            "units": 11,
            "purchasers": 3,
            "without_order": 1,
            "first": _AT,
            "last": _AT,
        },
        "in_transit": 2,
        "gone": 1,
        "undecided": 0,
        "never_seen": {
            "listed": 0,
            "ranges": [{"low": "AB001", "high": "AB099", "numbers": 99, "never_seen": 57}],
        },
    },
)
REACH_TOLD = Sample(
    kind=ReachTold,
    example={
        "recall": "R-1",
        "version": 2,
        "active_since": _AT,
        "to_reach": 11,
        "notified": 11,
        "returned": 4,
        "remedied": 3,
        "remedied_here": 1,
        "share": {"notified": 1.0, "returned": 0.364, "remedied": 0.273},
    },
)
REACHED = Sample(kind=ReachedTold, example={"recall": "R-1", "units": 11, "left": 0})
