"""Advance notices against what was received, as tables: each unit and how it stands.

Each scenario has what was announced (unit, its carton, its kit; `.` is none), what was scanned
(unit, the carton that the scan names), and how each unit stands while the notice is open. A unit is
product.serial; P1 and P2 are announced, what begins with c or p is a carton or a pallet.
"""

from datetime import UTC, datetime, timedelta

import pytest

from scantrail.domain.receiving import (
    UNITS_MAX,
    Announced,
    Comparison,
    NoticeLine,
    NoticeRefused,
    Quantity,
    Received,
    UnitStatus,
    announced_units,
    check_announced,
    compare,
    in_range,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

SCENARIOS = {
    "nothing came yet": (
        "P1.1 . . / P1.2 . .",
        "",
        "P1.1 expected / P1.2 expected",
    ),
    "all came, one of them was scanned twice": (
        "P1.1 . . / P1.2 . .",
        "P1.1 . / P1.2 . / P1.1 .",
        "P1.1 received / P1.2 received",
    ),
    "one too many of a product that was announced": (
        "P1.1 . .",
        "P1.1 . / P1.9 .",
        "P1.1 received / P1.9 over",
    ),
    "a product that nobody announced, and a unit without a product": (
        "P1.1 . .",
        "P7.9 . / asset .",
        "P1.1 expected / P7.9 unknown / asset unknown",
    ),
    "a serial of another product than announced": (
        "P1.1 . .",
        "P7.1 .",
        "P1.1 expected / P7.1 swapped P1.1",
    ),
    "a serial of another product, where that one's own came as well": (
        "P1.1 . .",
        "P1.1 . / P7.1 .",
        "P1.1 received / P7.1 unknown",
    ),
    "the serials of two lines were swapped": (
        "P1.1 . . / P2.2 . .",
        "P2.1 . / P1.2 .",
        "P1.1 expected / P1.2 swapped P2.2 / P2.1 swapped P1.1 / P2.2 expected",
    ),
    "units of two cartons were swapped": (
        "P1.1 c1 . / P1.2 c2 . / c1 . . / c2 . .",
        "P1.1 c2 / P1.2 c1",
        "P1.1 swapped / P1.2 swapped / c1 expected / c2 expected",
    ),
    "a unit in a carton that nobody announced": (
        "P1.1 c1 . / c1 . .",
        "P1.1 c9 / c9 .",
        "P1.1 swapped / c1 expected / c9 unknown",
    ),
    "a carton in whose scans no unit names it": (
        "P1.1 c1 . / c1 . .",
        "c1 . / P1.1 .",
        "P1.1 received / c1 received",
    ),
    "only the carton was scanned": (
        "P1.1 c1 . / P1.2 c1 . / P1.3 c2 . / c1 . . / c2 . .",
        "c1 .",
        "P1.1 by_carton / P1.2 by_carton / P1.3 expected / c1 received / c2 expected",
    ),
    "only the pallet was scanned, on which cartons stand": (
        "P1.1 c1 . / P1.2 c2 . / c1 p1 . / c2 p1 . / p1 . .",
        "p1 .",
        "P1.1 by_carton / P1.2 by_carton / c1 by_carton / c2 by_carton / p1 received",
    ),
    "a unit is scanned as on its pallet, and its carton is not named": (
        "P1.1 c1 . / c1 p1 . / p1 . .",
        "P1.1 p1",
        "P1.1 received / c1 expected / p1 expected",
    ),
    "the second scan of a unit names its carton": (
        "P1.1 c1 . / c1 . .",
        "P1.1 . / P1.1 c9",
        "P1.1 swapped / c1 expected",
    ),
}


def key(name: str) -> str:
    return f"sscc:{name}" if name[0] in "cp" else f"sn:{name}" if "." in name else f"giai:{name}"


def maybe(name: str) -> str | None:
    return None if name == "." else key(name)


def rows(table: str) -> list[list[str]]:
    return [row.split() for row in table.split(" / ") if row.strip()]


def compared(
    announced: str, scanned: str, *quantities: Quantity, closed: bool = False
) -> Comparison:
    notice = [
        Announced(key(unit), line, maybe(parent), None if kit == "." else kit)
        for line, (unit, parent, kit) in enumerate(rows(announced), start=1)
    ]
    scans = [
        Received(key(unit), f"e{n}", NOON + timedelta(seconds=n), "dock-1", maybe(parent))
        for n, (unit, parent) in enumerate(rows(scanned))
    ]
    return compare(notice, scans, quantities, is_closed=closed)


def shown(found: Comparison) -> list[str]:
    return [
        " ".join(filter(None, (each.unit, each.status, each.instead_of)))
        for each in (*found.units, *found.cartons)
    ]


@pytest.mark.parametrize(("announced", "scanned", "expected"), SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(announced: str, scanned: str, expected: str) -> None:
    told = [
        " ".join([key(unit), status, *map(key, twin)]) for unit, status, *twin in rows(expected)
    ]
    found = compared(announced, scanned)
    assert sorted(shown(found)) == sorted(told)
    backwards = " / ".join(reversed(scanned.split(" / ")))
    assert found.counts[UnitStatus.SHORT] == 0
    closed = compared(announced, scanned, closed=True)
    assert shown(closed) == [each.replace("expected", "short") for each in shown(found)]
    if scanned.count("P1.1") < 2:  # whichever came first, it stands the same
        assert shown(compared(announced, backwards)) == shown(found)


def test_completeness_counts_what_was_announced_and_nothing_else() -> None:
    found = compared("P1.1 c1 . / P1.2 . . / P1.3 . . / c1 . .", "c1 . / P1.2 . / P1.9 .")
    assert (found.here, found.announced, found.is_complete) == (2, 3, False)
    full = compared("P1.1 c1 . / P1.2 . . / c1 . .", "c1 . / P1.2 .")
    assert (full.is_complete, full.is_as_announced) == (True, True)
    over = compared("P1.1 . .", "P1.1 . / P1.9 .")
    assert (over.is_complete, over.is_as_announced) == (True, False)
    assert compared("c1 . .", "").is_as_announced  # an empty carton that has not come is no unit
    assert not compared("c1 . .", "", closed=True).is_as_announced
    # where each unit is scanned, nobody need scan the carton
    assert compared("P1.1 c1 . / c1 p1 . / p1 . .", "P1.1 .", closed=True).is_as_announced


def test_a_kit_without_a_serial_is_here_once_all_its_parts_are() -> None:
    notice = "P1.1 . k1 / P2.1 . k1 / P1.2 . k2 / P2.2 . k2"
    found = compared(notice, "P1.1 . / P2.1 . / P1.2 .")
    assert (found.kits_announced, found.kits_here) == (2, 1)


def test_quantities_are_what_a_person_counted_and_what_was_scanned_of_the_product() -> None:
    found = compared("P1.1 . .", "P1.1 . / P2.7 .", Quantity("P2", 5, 3), Quantity("P3", 2))
    assert found.quantities == (Quantity("P2", 5, 4), Quantity("P3", 2, 0))
    assert (found.here, found.announced) == (5, 8)
    full = compared("P1.1 . .", "P1.1 . / P2.7 . / P2.8 .", Quantity("P2", 1))
    assert [each.split()[1] for each in shown(full)] == ["received", "received", "over"]
    assert (full.is_complete, full.is_as_announced) == (True, False)


def test_lists_ranges_and_spelt_out_units_become_units() -> None:
    lines = [
        NoticeLine(product="drill", serials=("A1", "A2"), kit="k"),
        NoticeLine(product="drill", ranges=(("B08", "B11"),), parent="sscc:1"),
        NoticeLine(keys=("imei:35693803564380",)),
        NoticeLine(product="screws", quantity=50),
    ]
    assert list(announced_units(lines)) == [
        Announced("sn:drill.A1", 1, None, "k"),
        Announced("sn:drill.A2", 1, None, "k"),
        *(Announced(f"sn:drill.B{n:02}", 2, "sscc:1", None) for n in range(8, 12)),
        Announced("imei:35693803564380", 3),
    ]


@pytest.mark.parametrize(
    ("low", "high", "serials"),
    [
        ("007", "010", ["007", "008", "009", "010"]),
        ("A7", "A7", ["A7"]),
        ("X9-98", "X9-99", ["X9-98", "X9-99"]),
        ("A-B09", "A-B10", ["A-B09", "A-B10"]),
    ],
)
def test_a_range_has_both_its_ends_and_keeps_its_zeros(
    low: str, high: str, serials: list[str]
) -> None:
    assert list(in_range(low, high)) == serials


@pytest.mark.parametrize(
    ("low", "high", "field", "why"),
    [
        ("99", "100", "high", "characters"),
        ("A1", "B2", "high", "begin alike"),
        ("A", "B", "high", "end in digits"),
        ("7", "5", "low", "above"),
        ("000000", "999999", "high", "more than"),
    ],
)
def test_a_broken_range_is_refused(low: str, high: str, field: str, why: str) -> None:
    with pytest.raises(NoticeRefused, match=why) as refused:
        in_range(low, high)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (NoticeLine(serials=("1",)), "lines[0].product"),
        (NoticeLine(product="drill", serials=("é",)), "lines[0].serials"),
        (NoticeLine(product="drill", ranges=(("1", "2"), ("9", "8"))), "lines[0].ranges[1].low"),
    ],
)
def test_a_line_that_names_no_units_is_refused_where_it_is_wrong(
    line: NoticeLine, field: str
) -> None:
    with pytest.raises(NoticeRefused) as refused:
        list(announced_units([line]))
    assert refused.value.field == field


def test_a_notice_of_too_many_units_is_refused() -> None:
    half = NoticeLine(product="drill", ranges=(("000000", f"{UNITS_MAX - 1:06}"),))
    with pytest.raises(NoticeRefused, match="split the notice"):
        list(announced_units([half, NoticeLine(product="drill", serials=("X",))]))


def test_what_is_announced_twice_and_what_stands_on_itself_is_refused() -> None:
    with pytest.raises(NoticeRefused, match=r"lines\[1\].* by line 1 already"):
        check_announced([Announced("sn:d.1", 1), Announced("sn:d.1", 2)])
    with pytest.raises(NoticeRefused, match="inside itself"):
        check_announced([Announced("sscc:1", 1, "sscc:2"), Announced("sscc:2", 1, "sscc:1")])
    check_announced([Announced("sscc:1", 1, "sscc:2"), Announced("sscc:2", 1)])
