"""What callers send: decoded strictly, every refusal naming its field."""

import re
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, TypeVar, get_args, get_type_hints

import msgspec

from scantrail.api import folding
from scantrail.api.access import Role
from scantrail.api.party_bodies import YEARS, LoanBody
from scantrail.api.problems import bad_field
from scantrail.contracts.fields import field_of
from scantrail.contracts.records import Time, holds_nul
from scantrail.domain.alert import AlertKind
from scantrail.domain.hold import HoldKind
from scantrail.domain.identifiers import Identified, NotIdentified, product_id
from scantrail.domain.product import Captured, Serials
from scantrail.domain.severity import Severity as PolicySeverity
from scantrail.domain.vocabulary import BusinessStep

#: Ids stand in addresses, topics and labels; they are kept to what all of these take.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


TEXT_LENGTH_MAX = 200

NOTE_LENGTH_MAX = 1000

#: A time that has its zone.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class StationBody(Body, frozen=True, kw_only=True):
    """`PUT /stations/{id}`."""

    site: str
    business_step: BusinessStep
    read_point: str | None = None
    name: str | None = None
    business_location: str | None = None
    disposition: str | None = None
    possessing_party: str | None = None
    repeat_window_s: float = 10.0


class ProductBody(Body, frozen=True, kw_only=True):
    """`PUT /products/{id}`: what is decided holds from `valid_from` on, or from now."""

    name: str
    serials: Serials = Serials.MANDATORY
    steps: tuple[BusinessStep, ...] = ()
    captured: Captured = Captured.RECEIVING
    serial_missing: PolicySeverity = PolicySeverity.WARNING
    serial_not_expected: PolicySeverity = PolicySeverity.OFF
    valid_from: Moment | None = None
    schemes: tuple[str, ...] = ()
    serial_formats: tuple[str, ...] = ()
    fold_case: bool = False
    minted: bool = False


class MintBody(Body, frozen=True, kw_only=True):
    """`POST /products/{id}/serials`."""

    count: int


class KeyedBody(Body, frozen=True, kw_only=True):
    """`POST /keyed`: what a person typed at a station. `confirmed`: that it is right, however near
    it is to another; `scanned`: that a scanner read it, which mistypes nothing."""

    code: str
    station: str
    product: str | None = None
    at: Moment | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    location: str | None = None
    confirmed: bool = False
    scanned: bool = False


class PurchaserBody(Body, frozen=True, kw_only=True):
    """Who bought, or receives: name and address stay in PostgreSQL. An `id` alone is a party that
    was entered."""

    name: str | None = None
    address: str | None = None
    id: str | None = None


class LineBody(Body, frozen=True, kw_only=True):
    """One line of an order: `quantity` units of a product."""

    product: str
    quantity: int


class OrderBody(Body, frozen=True, kw_only=True):
    """`PUT /orders/{ref}`."""

    purchaser: PurchaserBody
    lines: tuple[LineBody, ...] = ()
    ship_to: PurchaserBody | None = None
    end_customer: PurchaserBody | None = None
    carrier: str | None = None
    supplier: str | None = None
    owning_party: str | None = None
    loan: LoanBody | None = None
    deliver_by: date | None = None
    #: when it was made; when it was entered, where nothing is told
    ordered_at: Moment | None = None


class IdentifiersBody(Body, frozen=True, kw_only=True):
    """`PUT /identifiers`: ids of one unit, in any spelling."""

    ids: tuple[str, ...]
    unit: str | None = None
    merge: bool = False


class ResolutionBody(Body, frozen=True, kw_only=True):
    """`POST /unidentified/{id}`: one of the two."""

    product: str | None = None
    unit: str | None = None


class HoldBody(Body, frozen=True, kw_only=True):
    """`PUT /holds/{unit}/{reason}`."""

    text: str
    kind: HoldKind | None = None


class TokenBody(Body, frozen=True, kw_only=True):
    """`POST /tokens`."""

    id: str
    role: Role
    sites: tuple[str, ...] = ()


class RangeBody(Body, frozen=True, kw_only=True):
    """Serials from `low` to `high`, both included."""

    low: str
    high: str


class NoticeLineBody(Body, frozen=True, kw_only=True):
    """A line of an advance notice: units (`codes`; `serials`, `ranges` of `product`) or a quantity.

    `carton` is the SSCC in which they come, `kit` a name of the set whose parts they are.
    """

    product: str | None = None
    codes: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()
    ranges: tuple[RangeBody, ...] = ()
    quantity: int | None = None
    carton: str | None = None
    kit: str | None = None


class CartonBody(Body, frozen=True, kw_only=True):
    """A carton or pallet by its SSCC, and the one on which it stands."""

    sscc: str
    on: str | None = None


class AdvanceNoticeBody(Body, frozen=True, kw_only=True):
    """`PUT /advance-notices/{id}`."""

    supplier: str
    site: str
    lines: tuple[NoticeLineBody, ...]
    cartons: tuple[CartonBody, ...] = ()
    stations: tuple[str, ...] = ()
    since: Time | None = None


class QuantityBody(Body, frozen=True, kw_only=True):
    """`PUT /advance-notices/{id}/quantities/{product}`: how many are here, counted by a person."""

    received: int


class CountBody(Body, frozen=True, kw_only=True):
    """`PUT /counts/{id}`."""

    site: str
    location: str


class StepBody(Body, frozen=True, kw_only=True):
    """`POST /alerts/{id}/acknowledge`, `/reopen`: by whom is told by the token."""

    note: str | None = None


class ResolveBody(Body, frozen=True, kw_only=True):
    """`POST /alerts/{id}/resolve`: what was done about it."""

    note: str


class Severity(StrEnum):
    """From the least urgent to the most."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class WebhookBody(Body, frozen=True, kw_only=True):
    """`PUT /webhooks/{id}`. No kinds: all."""

    url: str
    secret: str | None = None
    kinds: tuple[AlertKind, ...] = ()
    min_severity: Severity = Severity.INFO


class PolicyExceptionBody(Body, frozen=True, kw_only=True):
    """What is decided for a product, at a site, or for a product at a site."""

    severity: PolicySeverity
    product: str | None = None
    site: str | None = None


class AlertPolicyBody(Body, frozen=True, kw_only=True):
    """`PUT /alert-policies/{kind}`: the first exception that fits decides, else `severity`; null
    is as where nobody decides."""

    severity: PolicySeverity | None = None
    exceptions: tuple[PolicyExceptionBody, ...] = ()


class RightScanBody(Body, frozen=True, kw_only=True):
    """What a scan should have been. The unit, the station and the time are the wrong scan's where
    they are left out; all else is as it is told here."""

    unit: str | None = None
    station: str | None = None
    at: Moment | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    location: str | None = None
    lot: str | None = None
    produced_on: date | None = None


class VoidBody(Body, frozen=True, kw_only=True):
    """`POST /scans/{event id}/void`; `unit` is any spelling of the unit that was scanned."""

    unit: str
    reason: str
    scan: RightScanBody | None = None


class ReplayBody(Body, frozen=True, kw_only=True):
    """`POST /rejected/replay`."""

    reader: str
    reason: str | None = None
    cursor: str | None = None


B = TypeVar("B")


def decode_body(body: bytes, kind: type[B]) -> B:
    """A request's body as `kind`. Raises Problem 400 with the field and the mend."""
    if not body.strip():
        raise bad_field("", "the body is empty: send a JSON object")
    if holds_nul(body):
        field = _place_of_nul(body)
        raise bad_field(field, "the character U+0000 cannot be stored: leave it out")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        field, place, reason = field_of(error)
        raise bad_field(field, reason + _choices(kind, place)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_field("", f"the body is not JSON: {error}") from error


def _place_of_nul(body: bytes) -> str:
    """The first field whose text has U+0000; "" in what is no JSON, or no field's value."""
    try:
        waiting = [("", msgspec.json.decode(body))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            return place
        if isinstance(value, dict):
            dot = f"{place}." if place else ""
            waiting += [(f"{dot}{name}", each) for name, each in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(f"{place}[{n}]", each) for n, each in reversed(list(enumerate(value)))]
    return ""


def _choices(kind: type, field: str) -> str:
    """The words that an enumerated field takes, or each of a list; nothing for other fields."""
    annotated = get_type_hints(kind).get(field.partition("[")[0])
    if field.endswith("]"):
        (annotated, *_) = get_args(annotated)
    for each in (annotated, *get_args(annotated)):  # which may be None as well
        if isinstance(each, type) and issubclass(each, StrEnum):
            return f": give one of {', '.join(each)}"
    return ""


def checked_id(value: str, field: str) -> str:
    """`value` where it is fit to be an id. Raises Problem 400."""
    if not _ID.fullmatch(value):
        raise bad_field(
            field, "give 1 to 64 of A-Z a-z 0-9 . _ : -, beginning with a letter or a digit"
        )
    return value


def told_time(value: datetime, field: str) -> datetime:
    """`value` where it can be meant: further off a calendar's end is passed somewhere. Raises
    Problem 400."""
    if value.year not in YEARS:
        raise bad_field(field, f"give a time from {YEARS[0]} to {YEARS[-1]}, not of {value.year}")
    return value


def short_text(value: str, field: str) -> str:
    """`value` where it says something and fits on a label and into a scan. Raises Problem 400."""
    if not value.strip():
        raise bad_field(field, "must not be empty")
    if len(value) > TEXT_LENGTH_MAX or not value.isprintable():
        raise bad_field(field, f"give at most {TEXT_LENGTH_MAX} printable characters")
    return value


def maybe_short_text(value: str | None, field: str) -> str | None:
    """As short_text; None stays None."""
    return None if value is None else short_text(value, field)


def maybe_note(note: str | None, field: str = "note") -> str | None:
    """What a person says to what was done; None stays None. Raises Problem 400."""
    if note is not None and (not note.strip() or len(note) > NOTE_LENGTH_MAX):
        raise bad_field(field, f"give 1 to {NOTE_LENGTH_MAX} characters")
    return note


def unit_key(
    spelling: str, field: str, *, aim: str | None = None, product: str | None = None
) -> str:
    """The key of any spelling of a unit. Raises Problem 400 for what names none."""
    return identified(spelling, field, aim=aim, product=product).key


def unit_keys(spelling: str, field: str) -> list[str]:
    """The same, and behind it the key as it is spelled, where a scan may have brought it before the
    product came to fold case. Raises Problem 400."""
    try:
        return folding.keys_told(spelling)
    except NotIdentified as error:
        raise bad_field(field, error.detail) from error


def identified(
    spelling: str, field: str, *, aim: str | None = None, product: str | None = None
) -> Identified:
    """The unit of any spelling, with what else is marked on it. Raises Problem 400."""
    try:
        return folding.identified(spelling, aim=aim, product=product)
    except NotIdentified as error:
        raise bad_field(field, error.detail) from error


def product_key(name: str, field: str) -> str:
    """A product's id as keys have it. Raises Problem 400."""
    try:
        return product_id(name)
    except NotIdentified as error:
        raise bad_field(field, error.detail) from error
