"""The tree of what lies where, stays in words, and how a station and its readers are."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from scantrail.api.pages.frame import template_config
from scantrail.api.pages.holdings import (
    Counted,
    Place,
    branch_of,
    how_long,
    parts_of,
    tree_of,
)
from scantrail.api.pages.site import LISTED, NESTED, levels_of, reader_of
from scantrail.api.station_feed import per_minute

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def place(site: str, location: str, units: int, *, days: int = 0) -> Place:
    since = NOW - timedelta(days=days)
    return Place(site, location, units, since, since)


def test_a_location_with_parts_is_a_branch_and_counts_add_up() -> None:
    tree = tree_of(
        [
            place("north", "Hall A", 1),
            place("north", "Hall A, aisle 10", 10, days=4),
            place("north", "Hall A/aisle 9", 100),
            place("south", "Dock 9", 5),
            place("south", ",", 7),
        ]
    )
    hall = tree.below["north"].below["Hall A"]
    assert (hall.units, hall.own) == (111, 1)
    assert [(each.name, each.units) for each in hall.first(9)] == [
        ("aisle 9", 100),
        ("aisle 10", 10),
    ]
    assert [each.name for each in hall.first(1, skip=1)] == ["aisle 10"]
    assert (tree.units, tree.below["south"].units) == (123, 12)
    assert hall.since_oldest == NOW - timedelta(days=4)
    assert hall.since_mean == NOW - timedelta(days=40) / 111


def test_of_two_spellings_of_a_place_no_unit_is_lost() -> None:
    tree = tree_of([place("north", "Hall A, aisle 4", 3), place("north", "Hall A/aisle 4", 4)])
    aisle = tree.below["north"].below["Hall A"].below["aisle 4"]
    assert (tree.units, aisle.units, aisle.own) == (7, 7, 7)


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("Hall A", ["Hall A"]),
        ("Hall A, aisle 4", ["Hall A", "aisle 4"]),
        ("/Hall A//aisle 4/", ["Hall A", "aisle 4"]),
        (",", [","]),
        (" ", ["without a name"]),
        ("1/2/3/4/5/6/7/8/9", ["1", "2", "3", "4", "5", "6", "7", "8, 9"]),
    ],
)
def test_a_location_is_read_in_parts_and_found_again(location: str, parts: list[str]) -> None:
    assert parts_of(location) == parts
    tree = tree_of([place("north", location, 3)])
    found = branch_of(tree, "north", ", ".join(parts))
    assert found is not None
    assert (found.path, found.at, found.units) == (("north", *parts), ", ".join(parts), 3)
    assert branch_of(tree, "north", "Hall Z, aisle 4") is None


@pytest.mark.parametrize("label", ["," * 256, "a/" * 128, "/," * 128, "9" * 256])
def test_a_label_with_anything_on_it_does_not_keep_the_screen_from_people(label: str) -> None:
    """A screen of 256 levels ended in a RecursionError."""
    shown = rendered([place("north", label, 1), place("north", "Hall A", 1)])
    assert "Hall A" in shown


def test_of_tens_of_thousands_of_places_a_screenful_is_made() -> None:
    places = [place("north", f"Hall {n % 70}, bin {n}", 1) for n in range(20_000)]
    shown = rendered(places)
    assert shown.count("<li>") < 600
    assert "62 more in north" in shown
    assert "278 more in Hall 0" in shown


def rendered(places: list[Place]) -> str:
    tree = tree_of(places)
    template = template_config().engine_instance.engine.get_template("site.html")
    return template.render(
        frame="part.html",
        may=lambda role: False,
        branch=tree,
        above=[],
        wanted={},
        skip=0,
        listed=LISTED,
        nested=NESTED,
        levels=levels_of(tree),
        counted=Counted(NOW),
        now=NOW,
        how_long=how_long,
        stations=[],
        is_cut=False,
        readers={},
        per_minute={},
    )


@pytest.mark.parametrize(
    ("stay", "expected"),
    [
        (timedelta(seconds=-5), "under a minute"),
        (timedelta(seconds=59), "under a minute"),
        (timedelta(seconds=60), "1 minute"),
        (timedelta(minutes=59), "59 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=23), "23 hours"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=400), "400 days"),
    ],
)
def test_a_stay_is_told_in_a_number_and_a_word(stay: timedelta, expected: str) -> None:
    assert how_long(stay) == expected


def test_reads_a_minute_weigh_in_the_minute_before() -> None:
    minutes = {9: 60, 10: 30}
    assert [per_minute(minutes, 10, passed) for passed in (0.0, 0.5, 1.0)] == [90, 60, 30]
    assert per_minute(minutes, 11, 0.0) == 30
    assert per_minute({}, 11, 0.5) == 0


def row(**more: Any) -> Any:
    told = {"id": "r-1", "station": "dock-1", "is_up": None, "since": None, "heard_at": None}
    return SimpleNamespace(**(told | {"counts": {}} | more))


@pytest.mark.parametrize(
    ("status", "word", "is_well"),
    [
        (row(), "never heard", False),
        (row(heard_at=NOW - timedelta(minutes=10)), "heard", True),
        (row(heard_at=NOW - timedelta(minutes=11)), "silent", False),
        (row(is_up=True, since=NOW), "up", True),
        (row(is_up=False, since=NOW), "away", False),
    ],
    ids=["never", "heard", "silent", "up", "away"],
)
def test_a_reader_is_told_in_a_word(status: Any, word: str, is_well: bool) -> None:
    told = reader_of(status, NOW)
    assert (told.word, told.is_well, told.no_read_share) == (word, is_well, None)


def test_no_reads_are_a_share_of_all_that_was_tried() -> None:
    counts = {"accepted": 5, "repeat": 3, "no_read": 2, "invalid": 100, "control": 100}
    told = reader_of(row(counts=counts), NOW)
    assert (told.reads, told.no_reads, told.no_read_share) == (8, 2, 0.2)
