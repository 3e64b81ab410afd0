"""Counts as a table: what should stand there, what was scanned, what moved meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest

from scantrail.domain.counting import Counted, CountStatus, compare_count, count_statuses

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: expected | counted | moved away (-) or here (+) meanwhile | how each stands
SCENARIOS = {
    "all there": "a b | b a | | a:found b:found",
    "nothing scanned yet": "a b | | | a:missing b:missing",
    "one missing, one too many": "a b | a c | | a:found b:missing c:surplus",
    "counted twice": "a | a a | | a:found",
    "picked while the others were counted": "a b | b | -a | a:left b:found",
    "counted, and then picked": "a | a | -a | a:found",
    "put away there meanwhile, and counted": "a | a c | +c | a:found c:arrived",
    "put away there meanwhile, and not counted: nobody asked for it": "a | a | +c | a:found",
    "put down there again, and not counted": "a | | +a | a:missing",
    "seen elsewhere and counted here": " | c | -c | c:surplus",
    "an empty shelf": " | | | ",
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(scenario: str) -> None:
    expected, scanned, moved, stands = (part.split() for part in scenario.split("|"))
    counted = [
        Counted(unit, f"e{n}", NOON + timedelta(seconds=n)) for n, unit in enumerate(scanned)
    ]
    where = {each[1:]: each[0] == "+" for each in moved}
    for scans in (counted, counted[::-1]):
        found = compare_count(expected, scans, where)
        assert [f"{each.unit}:{each.status}" for each in found] == stands


def test_the_first_scan_of_a_unit_is_told_and_each_status_is_counted() -> None:
    scans = [Counted("a", "e2", NOON + timedelta(seconds=1)), Counted("a", "e1", NOON)]
    found = compare_count(["a", "b"], scans, {})
    assert [each.counted and each.counted.event_id for each in found] == ["e1", None]
    assert count_statuses(found) == {
        CountStatus.FOUND: 1,
        CountStatus.MISSING: 1,
        CountStatus.SURPLUS: 0,
        CountStatus.LEFT: 0,
        CountStatus.ARRIVED: 0,
    }
