"""What callers send about sites, warranty, claims and returns."""

from datetime import date

from scantrail.api.bodies import Body, Moment, PurchaserBody
from scantrail.domain.claim import ClaimState
from scantrail.domain.returns import ReturnState
from scantrail.domain.warranty import WarrantyStart


class SiteBody(Body, frozen=True, kw_only=True):
    """`PUT /sites/{id}`: `time_zone` is a name of the IANA data base, such as Europe/Berlin."""

    time_zone: str


class TermBody(Body, frozen=True, kw_only=True):
    """`PUT /products/{id}/warranty`: for units sold on `valid_from` or later; 0 months: none."""

    months: int
    start: WarrantyStart = WarrantyStart.SHIPPING
    valid_from: date | None = None


class RegistrationBody(Body, frozen=True, kw_only=True):
    """`POST /registrations`. `order` is for a unit that no scan tells of: its line is the proof."""

    unit: str
    at: Moment | None = None
    order: str | None = None
    registrant: PurchaserBody | None = None


class WarrantyDecisionBody(Body, frozen=True, kw_only=True):
    """`POST /warranty-decisions`: void, or not void any more, and why."""

    unit: str
    is_void: bool
    reason: str


class ClaimBody(Body, frozen=True, kw_only=True):
    """`POST /claims`: `unit`, or `product` with its `serial` where it has one, and `order`."""

    id: str
    fault: str
    unit: str | None = None
    product: str | None = None
    serial: str | None = None
    order: str | None = None


class ClaimEventBody(Body, frozen=True, kw_only=True):
    """`POST /claims/{id}/events`."""

    state: ClaimState
    note: str | None = None
    replacement: str | None = None


class ReturnLineBody(Body, frozen=True, kw_only=True):
    """A `unit`, or of a product without serials a `quantity`."""

    unit: str | None = None
    product: str | None = None
    quantity: int = 1


class ReturnBody(Body, frozen=True, kw_only=True):
    """`POST /returns`: what the purchaser of `order` may send back, under the reference `rma`."""

    rma: str
    order: str
    lines: tuple[ReturnLineBody, ...]
    note: str | None = None


class ReturnDecisionBody(Body, frozen=True, kw_only=True):
    """`POST /returns/{rma}/decisions`."""

    line: int
    state: ReturnState
    quantity: int = 1
    note: str | None = None
    replacement: str | None = None
