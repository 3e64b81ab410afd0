"""What the routes of products take and tell, with examples."""

from datetime import datetime

import msgspec

from scantrail.api.answers import page_of, with_published
from scantrail.api.bodies import KeyedBody, MintBody, ProductBody
from scantrail.api.description import Sample
from scantrail.domain.product import Captured, Product, Serials
from scantrail.domain.severity import Severity
from scantrail.domain.vocabulary import BusinessStep

_AT = "2026-06-01T00:00:00+00:00"
_RING = "sn:RING-9.0000001C"

ProductTold = with_published(Product)

_POLICY = {
    "valid_from": None,
    "serials": "mandatory",
    "steps": ["receiving", "shipping"],
    "captured": "receiving",
    "serial_missing": "warning",
    "serial_not_expected": "off",
}
_PRODUCT = {
    **_POLICY,
    "id": "09506000134352",
    "name": "Phone",
    "schemes": ["imei", "serial"],
    "serial_formats": ["AB-####"],
    "fold_case": True,
    "minted": False,
    "policies": [],
    "version": 1,
    "published": True,
}

NEW_PRODUCT = Sample(
    kind=ProductBody,
    example={
        "name": "Phone",
        "serials": "mandatory",
        "steps": ["receiving"],
        "valid_from": _AT,
        "serial_formats": ["AB-####"],
        "fold_case": True,
    },
)
PRODUCT = Sample(kind=ProductTold, example=_PRODUCT)
PRODUCTS = page_of("products", ProductTold, _PRODUCT)


class PolicyTold(msgspec.Struct, kw_only=True):
    """What was decided at `version` of the product. `counts`: nothing else was since, of the same
    `valid_from` (null: since ever)."""

    version: int
    valid_from: datetime | None
    entered_at: datetime
    counts: bool
    serials: Serials
    steps: list[BusinessStep]
    captured: Captured
    serial_missing: Severity = Severity.WARNING
    serial_not_expected: Severity = Severity.OFF


POLICIES = page_of(
    "policies", PolicyTold, {**_POLICY, "version": 1, "entered_at": _AT, "counts": True}
)


class MintedTold(msgspec.Struct):
    number: int
    serial: str
    unit: str
    minted_at: datetime


class NewlyMintedTold(msgspec.Struct):
    """Those that were minted now; their labels at `labels`."""

    product: str
    serials: list[MintedTold]
    labels: str


_MINTED = {"number": 1, "serial": "0000001C", "unit": _RING, "minted_at": _AT}

MINT = Sample(kind=MintBody, example={"count": 2})
NEWLY_MINTED = Sample(
    kind=NewlyMintedTold,
    example={
        "product": "RING-9",
        "serials": [_MINTED],
        "labels": "/products/RING-9/labels?first=1&count=1",
    },
)
MINTED = page_of("serials", MintedTold, _MINTED)
LABELS = Sample(kind=str, example="^XA…^XZ", media="text/plain")


class KeyedTold(msgspec.Struct):
    """`known`: whether it was known before it was typed."""

    event_id: str
    unit: str
    known: bool


KEYED = Sample(kind=KeyedBody, example={"code": "(01)09506000134352(21)A1", "station": "dock-1"})
KEYED_TOLD = Sample(
    kind=KeyedTold,
    example={"event_id": "keyed/5d41402a", "unit": "sgtin:09506000134352.A1", "known": True},
)
