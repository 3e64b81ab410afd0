"""The tree of what lies where, stays in words, and how a station and its readers are."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from scantrail.api.pages.holdings import Place, how_long, tree_of
from scantrail.api.pages.site import reader_of
from scantrail.api.station_feed import per_minute

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def place(site: str, location: str, units: int) -> Place:
    return Place(site, location, units, NOW, NOW)


def test_a_location_with_parts_is_a_branch_and_counts_add_up() -> None:
    tree = tree_of(
        [
            place("north", "Hall A", 1),
            place("north", "Hall A, aisle 4", 10),
            place("north", "Hall A/aisle 5", 100),
            place("south", "Dock 9", 5),
            place("south", ",", 7),
        ]
    )
    hall = tree["north"].below["Hall A"]
    assert (hall.units, hall.own and hall.own.units) == (111, 1)
    assert {name: each.units for name, each in hall.below.items()} == {
        "aisle 4": 10,
        "aisle 5": 100,
    }
    assert (tree["north"].units, tree["south"].units) == (111, 12)


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
