"""The register of regulated units: what scans tell, and that nothing entered is ever changed."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from scantrail.domain.party import Licence, licence_gap
from scantrail.domain.register import (
    Announcement,
    Entry,
    EntryKind,
    Move,
    OrderParties,
    Source,
    Stay,
    announced_by,
    appended,
    entered_late,
    kept_until,
    mended,
    missing,
    overdue,
    stays,
)
from scantrail.domain.vocabulary import BusinessStep as B

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = {
    "PO-1": OrderParties(supplier="acme-arms", receiver="us"),
    "SO-1": OrderParties(receiver="ada"),
    "SO-2": OrderParties(receiver="bo"),
}


def moved(*told: str) -> list[Move]:
    """`receiving@PO-1` is a scan for an order; each happens an hour after the one before."""
    moves = []
    for hour, words in enumerate(told):
        step, _, order = words.partition("@")
        is_delivery = step == "delivered"
        moves.append(
            Move(
                event_id=f"e{hour}",
                at=NOON + timedelta(hours=hour),
                business_step=B.ARRIVING if is_delivery else B(step),
                order=order or None,
                is_delivery=is_delivery,
            )
        )
    return moves


def short(stay: Stay) -> tuple[object, ...]:
    def hour(at: datetime | None) -> int | None:
        return None if at is None else int((at - NOON).total_seconds() // 3600)

    return hour(stay.acquired_at), stay.acquired_from, hour(stay.disposed_at), stay.disposed_to


@pytest.mark.parametrize(
    ("scans", "lines"),
    [
        ([], []),
        (["receiving@PO-1"], [(0, "acme-arms", None, None)]),
        (["receiving@PO-1", "storing", "inspecting"], [(0, "acme-arms", None, None)]),
        (["receiving@PO-1", "shipping@SO-1"], [(0, "acme-arms", 1, "ada")]),
        (["receiving@PO-1", "shipping@SO-9"], [(0, "acme-arms", 1, None)]),
        # shipping and departing are one leaving, whichever names the order
        (["receiving@PO-1", "departing", "shipping@SO-1"], [(0, "acme-arms", 1, "ada")]),
        # delivered to the purchaser is no acquisition of ours
        (["receiving@PO-1", "shipping@SO-1", "delivered"], [(0, "acme-arms", 1, "ada")]),
        # a return is a new acquisition, from whom it went to
        (
            ["receiving@PO-1", "shipping@SO-1", "returning", "shipping@SO-2"],
            [(0, "acme-arms", 1, "ada"), (2, "ada", 3, "bo")],
        ),
        # void_shipping: it never left
        (["receiving@PO-1", "shipping@SO-1", "void_shipping"], [(0, "acme-arms", None, None)]),
        (
            ["receiving@PO-1", "shipping@SO-1", "void_shipping", "shipping@SO-2"],
            [(0, "acme-arms", 3, "bo")],
        ),
        (["receiving@PO-1", "decommissioning"], [(0, "acme-arms", 1, None)]),
        # nobody scanned how it came
        (["storing"], [(None, None, None, None)]),
        (["storing", "receiving@PO-1"], [(1, "acme-arms", None, None)]),
        (["shipping@SO-1"], [(None, None, 0, "ada")]),
        (["shipping@SO-1", "shipping@SO-2"], [(None, None, 0, "ada")]),
        (["shipping@SO-1", "returning"], [(None, None, 0, "ada"), (1, "ada", None, None)]),
    ],
)
def test_scans_tell_stays(scans: list[str], lines: list[tuple[object, ...]]) -> None:
    assert [short(stay) for stay in stays(moved(*scans), ORDERS)] == lines


@pytest.mark.parametrize(
    ("scans", "lines"),
    [
        (["receiving"], [(0, "announcer", None, None)]),
        (["receiving@PO-1"], [(0, "acme-arms", None, None)]),  # the scan's order tells another
        (["receiving@SO-1"], [(0, "announcer", None, None)]),  # it has no supplier
        (["storing", "receiving"], [(1, "announcer", None, None)]),
        (
            ["receiving", "shipping@SO-1", "returning"],
            [(0, "announcer", 1, "ada"), (2, "ada", None, None)],
        ),
    ],
)
def test_who_announced_a_unit_supplied_it_where_no_order_tells(
    scans: list[str], lines: list[tuple[object, ...]]
) -> None:
    moves = [
        replace(move, supplier="announcer" if move.business_step is B.RECEIVING else None)
        for move in moved(*scans)
    ]
    assert [short(stay) for stay in stays(moves, ORDERS)] == lines


def test_the_newest_notice_of_the_site_by_then_tells_who_supplied() -> None:
    def told(supplier: str, hour: int, site: str = "north") -> Announcement:
        return Announcement(supplier=supplier, site=site, since=NOON + timedelta(hours=hour))

    notices = [told("old", 0), told("new", 1), told("to-come", 3), told("theirs", 1, "south")]
    at = NOON + timedelta(hours=2)
    assert announced_by(notices, site="north", at=at, business_step=B.RECEIVING) == "new"
    assert announced_by(notices, site="north", at=NOON, business_step=B.RECEIVING) == "old"
    assert announced_by(notices, site="east", at=at, business_step=B.RECEIVING) is None
    assert announced_by(notices, site="north", at=at, business_step=B.RETURNING) is None


class Book:
    """A register of one unit, to which is appended and nothing else."""

    def __init__(self) -> None:
        self.lines: dict[int, list[Entry]] = {}

    def tell(self, moves: list[Move], orders: dict[str, OrderParties] = ORDERS) -> list[str]:
        """Append what these moves tell; the kinds of the new entries."""
        new = appended(self.lines, stays(moves, orders))
        begun: dict[str, int] = {}
        for entry in new:
            line = entry.line or begun.setdefault(entry.stay.opened_event, len(self.lines) + 1)
            self.lines.setdefault(line, []).append(replace(entry, line=line))
        assert appended(self.lines, stays(moves, orders)) == [], "told again it tells nothing new"
        return [entry.kind.value for entry in new]

    def mend(self, line: int, **changes: datetime | str | None) -> None:
        self.lines[line].append(mended(self.lines[line][-1], changes, "a slip"))

    def last(self, line: int = 1) -> tuple[object, ...]:
        return short(self.lines[line][-1].stay)


def test_a_stay_is_a_line_that_is_begun_and_filled() -> None:
    book = Book()
    scans = ["receiving@PO-1", "storing", "shipping@SO-1", "returning"]
    assert book.tell(moved(*scans[:1])) == ["acquisition"]
    assert book.tell(moved(*scans[:2])) == []
    assert book.tell(moved(*scans[:3])) == ["disposition"]
    assert book.tell(moved(*scans)) == ["acquisition"]
    assert [len(entries) for entries in book.lines.values()] == [2, 1]


def test_all_at_once_enters_the_same() -> None:
    book = Book()
    told = book.tell(moved("receiving@PO-1", "shipping@SO-1", "returning"))
    assert told == ["acquisition", "disposition", "acquisition"]
    assert (book.last(1), book.last(2)) == ((0, "acme-arms", 1, "ada"), (2, "ada", None, None))


def test_an_order_that_comes_after_its_scan_is_a_correction_and_the_first_entry_stays() -> None:
    book = Book()
    moves = moved("receiving@PO-1", "shipping@SO-1")
    book.tell(moves, {"PO-1": ORDERS["PO-1"]})
    assert book.last() == (0, "acme-arms", 1, None)
    assert book.tell(moves) == ["correction"]
    assert book.last() == (0, "acme-arms", 1, "ada")
    assert [entry.kind.value for entry in book.lines[1]] == [
        "acquisition",
        "disposition",
        "correction",
    ]


def test_a_late_receiving_corrects_the_line_that_began_without_it() -> None:
    book = Book()
    late, out = moved("receiving@PO-1", "shipping@SO-1")
    assert book.tell([out]) == ["disposition"]
    assert book.tell([late, out]) == ["correction"]
    assert list(book.lines) == [1]
    assert book.last() == (0, "acme-arms", 1, "ada")


def test_a_voided_shipping_is_taken_back_by_a_correction() -> None:
    book = Book()
    came, out = moved("receiving@PO-1", "shipping@SO-1")
    book.tell([came, out])
    assert book.tell([came]) == ["correction"]
    assert book.last() == (0, "acme-arms", None, None)
    assert [short(entry.stay)[3] for entry in book.lines[1]] == [None, "ada", None]


def test_a_voided_receiving_is_void_and_the_scan_in_its_place_mends_it() -> None:
    book = Book()
    (wrong,) = moved("receiving@PO-1")
    book.tell([wrong])
    right = replace(wrong, event_id="right", at=NOON + timedelta(hours=5))
    assert book.tell([right]) == ["correction"]
    assert book.last() == (5, "acme-arms", None, None)
    assert book.tell([]) == ["void"]
    assert book.tell([right]) == ["correction"]
    assert len(book.lines[1]) == 4


def test_what_a_person_mended_stays_and_later_scans_fill_the_rest() -> None:
    book = Book()
    moves = moved("receiving", "shipping@SO-1")
    book.tell(moves[:1])
    book.mend(1, acquired_from="acme-arms")
    assert book.tell(moves[:1]) == []
    assert book.tell(moves) == ["disposition"]
    assert book.last() == (0, "acme-arms", 1, "ada")
    book.mend(1, disposed_to="bo")
    assert book.tell(moves, ORDERS | {"SO-1": OrderParties(receiver="eve")}) == []
    assert book.last()[3] == "bo"


def test_a_person_mends_no_events() -> None:
    entry = Entry(
        line=1,
        kind=EntryKind.ACQUISITION,
        source=Source.SCANS,
        stay=Stay(opened_event="e0", opened_at=NOON),
    )
    with pytest.raises(ValueError, match="opened_event"):
        mended(entry, {"opened_event": "e1"}, "x")


def test_what_is_missing_is_overdue_once_its_days_have_passed() -> None:
    (stay,) = stays(moved("storing", "shipping@SO-9"), ORDERS)
    assert missing(stay) == ["acquired_at", "acquired_from", "disposed_to"]
    assert overdue(stay, NOON + timedelta(days=7), 7) == []
    assert overdue(stay, NOON + timedelta(days=7, minutes=30), 7) == [
        "acquired_at",
        "acquired_from",
    ]
    assert overdue(stay, NOON + timedelta(days=8), 7) == missing(stay)
    assert missing(stays(moved("receiving@PO-1", "decommissioning"), ORDERS)[0]) == []
    assert entered_late(NOON, NOON + timedelta(days=7, seconds=1), 7)
    assert not entered_late(NOON, NOON + timedelta(days=7), 7)
    assert not entered_late(None, NOON, 7)


def test_a_line_is_kept_from_its_disposition_on() -> None:
    stay = Stay(opened_event="e", opened_at=NOON)
    assert kept_until(stay, 20) is None
    assert kept_until(replace(stay, disposed_at=NOON), 20) == date(2046, 3, 1)
    leap = datetime(2028, 2, 29, tzinfo=UTC)
    assert kept_until(replace(stay, disposed_at=leap), 5) == date(2033, 2, 28)


@pytest.mark.parametrize(
    ("day", "why"),
    [
        (date(2026, 1, 1), "has a licence of kind firearms only from 2026-02-01 on"),
        (date(2026, 2, 1), None),
        (date(2026, 2, 28), None),
        (date(2026, 3, 1), "has a licence of kind firearms that expired on 2026-02-28"),
    ],
)
def test_a_licence_holds_from_its_first_day_to_its_last(day: date, why: str | None) -> None:
    licence = Licence(
        number="7", kind="firearms", valid_from=date(2026, 2, 1), valid_until=date(2026, 2, 28)
    )
    other = replace(licence, kind="explosives", valid_until=None)
    assert licence_gap([licence, other], "firearms", day) == why
    assert licence_gap([other], "firearms", day) == "has no licence of kind firearms"
    endless = replace(licence, valid_until=None)
    assert licence_gap([licence, endless], "firearms", date(2099, 1, 1)) is None
