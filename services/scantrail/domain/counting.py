"""A count of one location: what should stand there against what was scanned there.

The scans of a count are scans like any other: where they find a unit, there it is from then on. The
count itself only says what differs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class CountStatus(StrEnum):
    """How a unit stands in a count."""

    #: it should be there, and was scanned
    FOUND = "found"
    #: it should be there, and was not scanned
    MISSING = "missing"
    #: it was scanned, and should not be there
    SURPLUS = "surplus"
    #: it was there, and was scanned elsewhere since: picked, say, while the others were counted
    LEFT = "left"
    #: it came while the others were counted, by a scan of its own, and was counted too
    ARRIVED = "arrived"


class Counted(NamedTuple):
    """A scan of the count. `at` is when it happened."""

    unit: str
    event_id: str
    at: datetime


class CountedUnit(NamedTuple):
    """A unit, how it stands, and the first scan of the count that saw it."""

    unit: str
    status: CountStatus
    counted: Counted | None


def compare_count(
    expected: Iterable[str],
    counted: Iterable[Counted],
    moved: Mapping[str, bool],
) -> list[CountedUnit]:
    """Each unit that was expected or counted, by its key.

    `moved` has the units that other scans moved while the count was open: True where the last of
    them left it at this location.
    """
    first = dict[str, Counted]()
    for scan in sorted(counted, key=lambda each: (each.at, each.event_id)):
        first.setdefault(scan.unit, scan)
    there = set(expected)

    def status(unit: str) -> CountStatus:
        if unit in first:
            if unit in there:
                return CountStatus.FOUND
            return CountStatus.ARRIVED if moved.get(unit) else CountStatus.SURPLUS
        return CountStatus.LEFT if moved.get(unit) is False else CountStatus.MISSING

    return [CountedUnit(unit, status(unit), first.get(unit)) for unit in sorted(there | set(first))]


def count_statuses(units: Iterable[CountedUnit]) -> dict[CountStatus, int]:
    """How many units have each status."""
    counts = Counter(each.status for each in units)
    return {status: counts[status] for status in CountStatus}
