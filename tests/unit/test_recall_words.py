"""What a recall says and does, in words; and the picture of where its units are."""

from typing import Any

import pytest

from scantrail.api.pages.recall_parts import picture
from scantrail.api.pages.recall_words import changed_parts, clause_words, effects


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ({"kind": "list", "serials": ["A", "B"], "count": 2}, "listed serials: A, B"),
        ({"kind": "list", "count": 1_000_000}, "listed serials: 1,000,000"),
        ({"kind": "lot", "lots": [*"ABCDEFG"], "count": 7}, "lots: A, B, C, D, E and 2 more"),
        ({"kind": "range", "low": "A1", "high": "A9"}, "serials A1 to A9, both included"),
        ({"kind": "lot_range", "low": "L1", "high": "L9"}, "lots L1 to L9, both included"),
        ({"kind": "prefix", "prefix": "AB"}, "serials that begin with AB"),
        ({"kind": "pattern", "pattern": "A##"}, "serials like A##, where each # is a digit"),
        (
            {"kind": "date", "from": "2026-01-01", "to": None},
            "produced from 2026-01-01, that day included",
        ),
        ({"kind": "all"}, "every unit of the products"),
    ],
)
def test_a_clause_is_told_in_words(clause: dict[str, Any], words: str) -> None:
    assert clause_words(clause) == words


def counts(on_site: int = 0, shipped: int = 0, in_transit: int = 0, **more: int) -> dict[str, Any]:
    return {
        "on_site": on_site,
        "shipped": {"units": shipped},
        "in_transit": in_transit,
        "gone": 0,
        "undecided": 0,
    } | more


def test_what_making_it_active_does_is_told_of_each_unit() -> None:
    told = effects(
        counts(1, 1_200, 7, gone=2),
        {"on_site": 3, "shipped": 1},
        goes_by_marks=True,
        has_products=False,
    )
    assert told == [
        "1 unit on site is held: no gateway lets one leave.",
        "1,200 units shipped: an alert each, 7 of them in transit.",
        "3 units on site, of which nobody told lot or day, are held until a person decides.",
        "1 unit shipped, of which nobody told lot or day: no alert is raised, look at them below.",
        "2 units gone: nothing happens to them.",
        "Until all units on site were looked at, every unit of any product is held.",
        "Units that are scanned from then on are held, or raise an alert, as well.",
    ]
    assert effects(counts(), {}, goes_by_marks=False, has_products=True) == [
        "No unit on site is meant: none is held.",
        "No shipped unit is meant: no alert is raised.",
        "Units that are scanned from then on are held, or raise an alert, as well.",
    ]


def test_the_picture_shows_each_part_by_its_share_and_the_least_one_too() -> None:
    parts = picture(counts(1_000_000, 500_001, 1, gone=1, undecided=0))
    assert [(part.words, part.units) for part in parts] == [
        ("on site", 1_000_000),
        ("shipped and delivered", 500_000),
        ("in transit", 1),
        ("gone", 1),
    ]
    assert all(part.width >= 6 for part in parts)
    assert [part.x for part in parts] == [sum(p.width for p in parts[:n]) for n in range(4)]
    assert 995 <= parts[-1].x + parts[-1].width <= 1000
    assert 1.9 < parts[0].width / parts[1].width < 2.1
    assert picture(counts()) == []


def test_a_version_tells_what_it_changed() -> None:
    first = {"status": "draft", "title": "A", "selectors": [{"kind": "all"}], "remedy": None}
    second = first | {"status": "active", "selectors": [], "version": 2}
    assert changed_parts(None, first) == []
    assert changed_parts(first, second) == ["status", "clauses"]
