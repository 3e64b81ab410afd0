"""Warranty of a unit: one test tells one history, or one promise that holds for all of them."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.warranty import (
    Cover,
    Happening,
    HappeningKind,
    WarrantyStart,
    WarrantyState,
    WarrantyTerm,
    cover_of,
    inherited,
    months_after,
    state_on,
    term_on,
)

BERLIN = ZoneInfo("Europe/Berlin")
TERMS = [WarrantyTerm(product="P", valid_from=date(2020, 1, 1), months=24)]
FROM_REGISTRATION = [
    WarrantyTerm(
        product="P", valid_from=date(2020, 1, 1), months=12, start=WarrantyStart.REGISTRATION
    )
]


def at(day: str, hour: int = 12) -> datetime:
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


def happened(kind: str, day: str, hour: int = 12, **more: object) -> Happening:
    return Happening(kind=HappeningKind(kind), at=at(day, hour), **more)  # type: ignore[arg-type]


def sold(day: str, order: str | None = "SO-1", purchaser: str | None = "ada") -> Happening:
    return happened("shipped", day, order=order, purchaser=purchaser)


def cover(*happenings: Happening, terms: list[WarrantyTerm] = TERMS) -> Cover | None:
    return cover_of("U", happenings, terms, UTC)


def covered(*happenings: Happening, terms: list[WarrantyTerm] = TERMS) -> Cover:
    found = cover(*happenings, terms=terms)
    assert found is not None
    return found


# ---------------------------------------------------------------------------------- the calendar


@pytest.mark.parametrize(
    ("day", "months", "end"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-10-31", 4, "2027-02-28"),
        ("2026-05-01", 0, "2026-05-01"),
    ],
)
def test_months_are_the_calendars_and_month_ends_are_clamped(
    day: str, months: int, end: str
) -> None:
    assert months_after(date.fromisoformat(day), months) == date.fromisoformat(end)


@given(st.dates(date(1990, 1, 1), date(2100, 12, 31)), st.integers(0, 1200))
def test_the_last_day_is_in_the_right_month_and_never_before_its_number(
    day: date, months: int
) -> None:
    end = months_after(day, months)
    assert (end.year - day.year) * 12 + end.month - day.month == months
    assert end.day == day.day or (end.day < day.day and (end + timedelta(days=1)).day == 1)


def test_a_sale_late_in_the_evening_is_of_the_sites_day_not_of_utcs() -> None:
    shipping = Happening(
        kind=HappeningKind.SHIPPED, at=datetime(2026, 1, 30, 23, 30, tzinfo=UTC), zone=BERLIN
    )
    found = covered(shipping)
    assert (found.since, found.until) == (date(2026, 1, 31), date(2028, 1, 31))


def test_the_term_of_the_day_of_the_sale_is_kept_when_the_product_gets_another() -> None:
    shorter = WarrantyTerm(product="P", valid_from=date(2026, 1, 1), months=6)
    assert covered(sold("2025-12-31"), terms=[shorter, *TERMS]).until == date(2027, 12, 31)
    assert covered(sold("2026-01-01"), terms=[shorter, *TERMS]).until == date(2026, 7, 1)
    none_any_more = WarrantyTerm(product="P", valid_from=date(2026, 1, 1), months=0)
    assert term_on([none_any_more, *TERMS], date(2026, 3, 1)) is None
    found = cover(sold("2026-03-01"), terms=[none_any_more, *TERMS])
    assert state_on(found, date(2026, 3, 1)) is WarrantyState.NO_TERM


# ---------------------------------------------------------------------------------- histories


def test_the_last_day_is_covered_and_the_next_is_not() -> None:
    found = cover(sold("2026-03-01"))
    assert state_on(found, date(2028, 3, 1)) is WarrantyState.COVERED
    assert state_on(found, date(2028, 3, 2)) is WarrantyState.EXPIRED


def test_what_was_never_shipped_or_only_moved_between_sites_is_not_covered() -> None:
    assert state_on(cover(), date(2026, 3, 1)) is WarrantyState.NOT_SHIPPED
    moved = cover(sold("2026-03-01", None, None), happened("arrived", "2026-03-02"))
    assert moved is None
    assert cover(sold("2026-03-01"), happened("shipping_voided", "2026-03-02")) is None


def test_months_may_begin_with_the_first_registration() -> None:
    found = covered(sold("2026-03-01"), terms=FROM_REGISTRATION)
    assert state_on(found, date(2026, 3, 2)) is WarrantyState.NOT_REGISTERED
    found = covered(
        sold("2026-03-01"),
        happened("registered", "2026-09-01"),
        happened("registered", "2026-05-31"),
        terms=FROM_REGISTRATION,
    )
    assert (found.since, found.until) == (date(2026, 5, 31), date(2027, 5, 31))


def test_what_came_for_repair_and_went_back_is_covered_as_before() -> None:
    back = sold("2026-06-01", None, None)
    assert covered(sold("2026-03-01"), back).since == date(2026, 3, 1)
    same_purchaser = sold("2026-06-01", "SO-9")
    assert covered(sold("2026-03-01"), same_purchaser).since == date(2026, 3, 1)


def test_what_was_restocked_and_sold_again_begins_anew_with_its_new_purchaser() -> None:
    taken_back = happened("taken_back", "2026-05-01")
    found = covered(sold("2026-03-01"), taken_back)
    assert state_on(found, date(2026, 5, 2)) is WarrantyState.TAKEN_BACK
    found = covered(sold("2026-03-01"), taken_back, sold("2026-06-01", "SO-2", "bo"))
    assert (found.since, found.order, found.purchaser) == (date(2026, 6, 1), "SO-2", "bo")


def test_a_void_has_its_reason_and_may_be_taken_back() -> None:
    void = happened("voided", "2026-04-01", text="opened by others")
    found = covered(sold("2026-03-01"), void)
    assert state_on(found, date(2026, 4, 2)) is WarrantyState.VOID
    assert found.void_reason == "opened by others"
    again = cover(sold("2026-03-01"), void, happened("reinstated", "2026-04-03"))
    assert state_on(again, date(2026, 4, 4)) is WarrantyState.COVERED


def test_the_replacement_is_covered_to_the_same_day_whenever_it_was_shipped() -> None:
    old = covered(sold("2026-03-01"), happened("replaced", "2026-08-01", unit="V"))
    assert state_on(old, date(2026, 8, 1)) is WarrantyState.REPLACED
    for own in (None, cover_of("V", [sold("2026-08-02", None, None)], TERMS, UTC)):
        new = inherited(old, own)
        assert (new.of_unit, new.since, new.until) == ("U", date(2026, 3, 1), date(2028, 3, 1))
        assert (new.purchaser, new.replaced_by) == ("ada", None)
        assert state_on(new, date(2028, 3, 1)) is WarrantyState.COVERED


def test_a_replacement_that_is_replaced_itself_passes_on_what_is_left() -> None:
    old = covered(sold("2026-03-01"), happened("replaced", "2026-08-01", unit="V"))
    own = cover_of(
        "V",
        [sold("2026-08-02", None, None), happened("replaced", "2027-01-01", unit="W")],
        TERMS,
        UTC,
    )
    second = inherited(old, own)
    assert state_on(second, date(2027, 1, 2)) is WarrantyState.REPLACED
    third = inherited(second, None)
    assert (third.until, third.replaced_by) == (date(2028, 3, 1), None)


def test_a_void_passes_to_the_replacement_too_and_one_of_its_own_is_its_own() -> None:
    void = happened("voided", "2026-04-01", text="opened by others")
    old = covered(sold("2026-03-01"), void, happened("replaced", "2026-08-01", unit="V"))
    assert state_on(inherited(old, None), date(2026, 9, 1)) is WarrantyState.VOID
    old = covered(sold("2026-03-01"), happened("replaced", "2026-08-01", unit="V"))
    own = cover_of("V", [sold("2026-08-02"), happened("voided", "2026-09-01", text="x")], [], UTC)
    assert state_on(inherited(old, own), date(2026, 9, 2)) is WarrantyState.VOID


def test_a_replacement_may_bring_the_registration_that_never_came() -> None:
    old = covered(
        sold("2026-03-01"),
        happened("replaced", "2026-08-01", unit="V"),
        terms=FROM_REGISTRATION,
    )
    registered = happened("registered", "2026-08-10")
    own = cover_of("V", [sold("2026-08-02"), registered], FROM_REGISTRATION, UTC)
    assert inherited(old, own).until == date(2027, 8, 10)


def test_a_replacement_that_came_back_and_was_sold_again_has_a_cover_of_its_own() -> None:
    old = covered(sold("2026-03-01"), happened("replaced", "2026-08-01", unit="V"))
    way = (sold("2026-08-02", None, None), happened("taken_back", "2026-09-01"))
    back = inherited(old, cover_of("V", way, TERMS, UTC))
    assert state_on(back, date(2026, 9, 2)) is WarrantyState.TAKEN_BACK
    own = cover_of("V", [*way, sold("2026-10-01", "SO-7")], TERMS, UTC)
    assert inherited(old, own) is own


def test_what_befell_the_replacement_before_is_not_the_purchasers() -> None:
    """A unit of another, replaced, repaired and restocked, takes a place itself."""
    old = covered(sold("2026-03-01"), happened("replaced", "2026-08-01", unit="V"))
    before = (
        sold("2025-01-01", "SO-0", "cy"),
        happened("voided", "2025-02-01", text="opened"),
        happened("replaced", "2025-03-01", unit="X"),
        happened("taken_back", "2025-03-02"),
    )
    for way in (before, (*before, sold("2026-08-02", None, None))):
        new = inherited(old, cover_of("V", way, TERMS, UTC))
        assert state_on(new, date(2026, 9, 1)) is WarrantyState.COVERED
        assert (new.purchaser, new.until) == ("ada", date(2028, 3, 1))


def test_a_departure_that_is_voided_was_no_sale_and_on_the_way_back_changes_nothing() -> None:
    void = happened("shipping_voided", "2026-06-02")
    assert cover(sold("2026-03-01"), void) is None
    repaired = (happened("returned", "2026-05-01"), sold("2026-06-01", None, None), void)
    assert covered(sold("2026-03-01"), *repaired).since == date(2026, 3, 1)


# ---------------------------------------------------------------------------------- of any history

_DAYS = st.integers(0, 400)
_HAPPENINGS = st.lists(
    st.builds(
        lambda kind, day, order: Happening(
            kind=kind,
            at=at("2026-01-01") + timedelta(days=day, seconds=day),
            order=order,
            purchaser=order and f"of {order}",
            text="why",
            unit="V",
        ),
        st.sampled_from(HappeningKind),
        _DAYS,
        st.sampled_from([None, "SO-1", "SO-2"]),
    ),
    max_size=8,
    unique_by=lambda happening: happening.at,
)


@given(_HAPPENINGS, st.randoms(use_true_random=False), st.sampled_from([TERMS, FROM_REGISTRATION]))
def test_the_order_in_which_a_history_comes_changes_nothing(
    happenings: list[Happening], chance: random.Random, terms: list[WarrantyTerm]
) -> None:
    shuffled = happenings.copy()
    chance.shuffle(shuffled)
    assert cover_of("U", shuffled, terms, UTC) == cover_of("U", happenings, terms, UTC)


@given(_HAPPENINGS, _DAYS, st.sampled_from([TERMS, FROM_REGISTRATION]))
def test_no_cover_without_a_sale_and_none_before_it(
    happenings: list[Happening], day: int, terms: list[WarrantyTerm]
) -> None:
    found = cover_of("U", happenings, terms, UTC)
    shippings = [each.at for each in happenings if each.kind is HappeningKind.SHIPPED]
    if found is None:
        assert state_on(found, date(2026, 6, 1)) is WarrantyState.NOT_SHIPPED
        return
    assert found.sold_at in shippings
    if found.since is not None and found.until is not None:
        assert found.sold_at.date() <= found.since <= found.until
    state = state_on(found, date(2026, 1, 1) + timedelta(days=day))
    if state is WarrantyState.COVERED:
        assert found.until is not None
        assert found.replaced_by is found.taken_back_at is found.void_since is None
