"""Warranty: from when until when a unit is covered, and by what.

A cover is made by a sale: the unit's shipping, or where no unit is scanned the line of an order.
Times are aware. A cover ends with a day, in the time zone of the site that shipped.
"""

from calendar import monthrange
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from enum import StrEnum
from typing import Final

#: A hundred years: more is a slip.
MONTHS_MAX: Final = 1200


class WarrantyStart(StrEnum):
    """What begins the months of a term."""

    SHIPPING = "shipping"
    REGISTRATION = "registration"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarrantyTerm:
    """What is promised with units of a product that are sold on `valid_from` or later."""

    product: str
    valid_from: date
    months: int
    start: WarrantyStart = WarrantyStart.SHIPPING


class HappeningKind(StrEnum):
    """What of a unit's history bears on its warranty."""

    SHIPPED = "shipped"  # it left, for an order or for none
    RETURNED = "returned"  # it is here again, and still its purchaser's
    ARRIVED = "arrived"  # received or arrived at a site: a transfer, or never sold at all
    SHIPPING_VOIDED = "shipping_voided"  # it had not left
    REGISTERED = "registered"
    TAKEN_BACK = "taken_back"  # restocked or scrapped: it is ours again
    REPLACED = "replaced"
    VOIDED = "voided"  # the warranty, with a reason
    REINSTATED = "reinstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One of these. `zone` is that of the site; `text` the reason why, `unit` the replacement."""

    kind: HappeningKind
    at: datetime
    order: str | None = None
    purchaser: str | None = None
    zone: tzinfo | None = None
    text: str | None = None
    unit: str | None = None


class WarrantyState(StrEnum):
    """Where a unit's warranty stands on a day."""

    NOT_SHIPPED = "not_shipped"
    NO_TERM = "no_term"  # its product promised none on the day of the sale
    NOT_REGISTERED = "not_registered"  # its months begin with a registration that has not come
    COVERED = "covered"
    EXPIRED = "expired"
    VOID = "void"
    REPLACED = "replaced"  # what was left of it passed to the replacement
    TAKEN_BACK = "taken_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """A sale and what came of its promise.

    `since` and `until` are the first and the last day that are covered, in `zone`; None while the
    months have not begun. `of_unit` is the unit that was sold: an earlier one, where the unit
    replaces it.
    """

    of_unit: str
    sold_at: datetime
    zone: tzinfo
    order: str | None = None
    purchaser: str | None = None
    term: WarrantyTerm | None = None
    registered_at: datetime | None = None
    since: date | None = None
    until: date | None = None
    void_since: datetime | None = None
    void_reason: str | None = None
    came_back: bool = False  # since it was sold, for a repair for instance
    replaced_by: str | None = None
    replaced_at: datetime | None = None
    taken_back_at: datetime | None = None
    renewed_at: datetime | None = None  # when the cover of the sale before this one ended


def months_after(day: date, months: int) -> date:
    """The day of that number so many months later; the month's last where it has none.

    From the 31st of January one month ends with the 28th or 29th of February. ValueError or
    OverflowError beyond the calendar's end.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def term_on(terms: Iterable[WarrantyTerm], day: date) -> WarrantyTerm | None:
    """The term that was valid on a day: the last that began by then. No months: nothing promised.

    A later one changes nothing for units that were sold before.
    """
    begun = [term for term in terms if term.valid_from <= day]
    newest = max(begun, key=lambda term: term.valid_from, default=None)
    return None if newest is None or newest.months == 0 else newest


def cover_of(
    unit: str, happenings: Iterable[Happening], terms: Sequence[WarrantyTerm], zone: tzinfo
) -> Cover | None:
    """The cover of the unit's newest sale, whatever the order in which its history is given.

    `zone` is for happenings that tell none. None where it was not sold. One that was taken back and
    sold again begins anew; one that came for repair and was sent back does not. A departure that
    no order names is a sale until the unit arrives somewhere, or leaves for an order.
    """
    cover: Cover | None = None
    for each in sorted(happenings, key=lambda happening: (happening.at, _RANK[happening.kind])):
        cover = _after(unit, cover, each, terms, each.zone or zone)
    return cover


#: Of things at one moment, a sale first: what is told of a unit then is told of that.
_RANK: Final = {kind: rank for rank, kind in enumerate(HappeningKind)} | {HappeningKind.SHIPPED: -1}


def _after(
    unit: str,
    cover: Cover | None,
    each: Happening,
    terms: Sequence[WarrantyTerm],
    zone: tzinfo,
) -> Cover | None:
    kind = each.kind
    if kind is HappeningKind.SHIPPED:
        return _sold(unit, cover, each, terms, zone)
    if cover is None:
        return None
    if kind in (HappeningKind.ARRIVED, HappeningKind.SHIPPING_VOIDED):
        is_transfer = cover.order is None or kind is HappeningKind.SHIPPING_VOIDED
        return None if is_transfer and not (_is_ended(cover) or cover.came_back) else cover
    if kind is HappeningKind.TAKEN_BACK and cover.taken_back_at is None:
        return replace(cover, taken_back_at=each.at)
    if _is_ended(cover):
        return cover
    if kind is HappeningKind.RETURNED:
        return replace(cover, came_back=True)
    if kind is HappeningKind.REPLACED:
        return replace(cover, replaced_by=each.unit, replaced_at=each.at)
    if kind is HappeningKind.VOIDED:
        return replace(cover, void_since=each.at, void_reason=each.text)
    if kind is HappeningKind.REINSTATED:
        return replace(cover, void_since=None, void_reason=None)
    return _registered(cover, each.at)


def _is_ended(cover: Cover) -> bool:
    return cover.replaced_at is not None or cover.taken_back_at is not None


def _sold(
    unit: str,
    cover: Cover | None,
    shipping: Happening,
    terms: Sequence[WarrantyTerm],
    zone: tzinfo,
) -> Cover:
    if cover is not None and _belongs_to(cover, shipping):
        return cover
    day = shipping.at.astimezone(zone).date()
    term = term_on(terms, day)
    begins = term is not None and term.start is WarrantyStart.SHIPPING
    return Cover(
        of_unit=unit,
        sold_at=shipping.at,
        zone=zone,
        order=shipping.order,
        purchaser=shipping.purchaser,
        term=term,
        since=day if begins else None,
        until=months_after(day, term.months) if begins and term is not None else None,
        renewed_at=None if cover is None else cover.taken_back_at or cover.replaced_at,
    )


def _belongs_to(cover: Cover, shipping: Happening) -> bool:
    """Whether a departure is none of another sale: its order's again, or the way back."""
    if _is_ended(cover):
        return False
    if shipping.order is None or shipping.order == cover.order:
        return True
    return None not in (cover.order, cover.purchaser) and shipping.purchaser == cover.purchaser


def _registered(cover: Cover, at: datetime) -> Cover:
    """The first registration counts."""
    if cover.registered_at is not None:
        return cover
    cover = replace(cover, registered_at=at)
    if cover.term is None or cover.term.start is not WarrantyStart.REGISTRATION:
        return cover
    day = at.astimezone(cover.zone).date()
    return replace(cover, since=day, until=months_after(day, cover.term.months))


def inherited(cover: Cover, own: Cover | None) -> Cover:
    """The cover of a unit that replaced another: what was left of the other's, to the same day.

    `cover` is the other's as it was replaced; `own` what the unit's own history makes. What befell
    the unit before is not the purchaser's; once it was taken back and sold anew, `own` counts.
    """
    since = cover.replaced_at
    passed = replace(cover, replaced_by=None, replaced_at=None, taken_back_at=None)
    if own is None or since is None:
        return passed
    if own.renewed_at is not None and own.renewed_at > since:
        return own
    if own.registered_at is not None and own.registered_at > since:
        passed = _registered(passed, own.registered_at)
    if own.void_since is not None and own.void_since > since and passed.void_since is None:
        passed = replace(passed, void_since=own.void_since, void_reason=own.void_reason)
    if own.replaced_at is not None and own.replaced_at > since:
        passed = replace(passed, replaced_by=own.replaced_by, replaced_at=own.replaced_at)
    if own.taken_back_at is not None and own.taken_back_at > since:
        passed = replace(passed, taken_back_at=own.taken_back_at)
    return passed


def state_on(cover: Cover | None, day: date) -> WarrantyState:
    """Where the warranty stands on a day of the cover's zone; the first that holds."""
    if cover is None:
        return WarrantyState.NOT_SHIPPED
    if cover.replaced_by is not None:
        return WarrantyState.REPLACED
    if cover.taken_back_at is not None:
        return WarrantyState.TAKEN_BACK
    if cover.void_since is not None:
        return WarrantyState.VOID
    if cover.term is None:
        return WarrantyState.NO_TERM
    if cover.until is None:
        return WarrantyState.NOT_REGISTERED
    return WarrantyState.COVERED if day <= cover.until else WarrantyState.EXPIRED
