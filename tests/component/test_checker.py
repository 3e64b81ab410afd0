"""The checker of faults: by units that lived well, and by mutants of tracker and projector whose
errors show without Kafka and PostgreSQL. tests/system/test_mix.py runs all mutants as processes.
"""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faults import mutants
from faults.catalogue import Fault, kill_trackers
from faults.checker import (
    DOUBLED,
    LOST,
    TOLD_MAX,
    Broken,
    each_alerted,
    each_once,
    together,
    versions,
)
from faults.load import GTIN, Ledger, Sent
from faults.run import Result
from scantrail.contracts.records import decode_state, encode
from scantrail.contracts.topics import Topic
from scantrail.domain import custody
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.projector import rows as projected
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCANS, MOVEMENTS = "t.scans.v1", "t.movements.v1"
STATIONS = (
    ("dock", BusinessStep.RECEIVING),
    ("shelf", BusinessStep.STORING),
    ("gate", BusinessStep.SHIPPING),
)
UNITS = 100


@dataclass
class Record:
    """A record as aiokafka gives it, as far as it is looked at."""

    offset: int
    key: bytes
    value: bytes
    topic: str
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = field(default=())


def scan(number: int, stage: int) -> Scan:
    """One of a unit's life; each unit has been at all stations once."""
    station, step = STATIONS[stage]
    at = NOON + timedelta(hours=stage, seconds=number)
    return Scan(
        event_id=f"{station}-1/{number}-{stage}",
        unit=f"sgtin:{GTIN}.S{number}",
        event_time=at,
        record_time=at,
        reader=f"{station}-1",
        sequence=number,
        station=station,
        site="north",
        read_point=station,
        business_step=step,
        business_location=None,
    )


def found_in_a_run() -> Counter[str]:
    """What the checker counts where all units lived, and every tenth scan was sent again."""
    told, ledger = list[Scan](), Ledger()
    for stage in range(len(STATIONS)):
        for number in range(UNITS):
            each = scan(number, stage)
            told += [each, replace(each, record_time=each.record_time + timedelta(seconds=1))][
                : 2 if number % 10 == 0 else 1
            ]
            sent = Sent(each.unit, f"{number}-{stage}", each.station, accepted_at=1.0)
            ledger.sent[sent.event_id] = sent
    tracking = Tracking("t", FailureLimit(Path("/nowhere"), "1"), observe=custody.observe)
    records = [
        Record(offset, each.unit.encode(), encode(each), SCANS) for offset, each in enumerate(told)
    ]
    made = tracking.decide(records, lambda key: None)
    moved = [
        Record(offset, key, value, MOVEMENTS)
        for offset, (key, value, _) in enumerate(made.records[MOVEMENTS])
    ]
    written = projected.Rows()
    projected.add_records(written, Topic.MOVEMENTS, moved)
    states = {state.unit: state for state in (decode_state(value) for _, value in made.states)}
    found = Broken()
    each_once(found, ledger, written.movements, {})
    together(found, moved, written.movements, {(MOVEMENTS, 0): len(moved)})
    versions(found, moved, states)
    return found.counts


def test_where_all_is_well_nothing_is_found() -> None:
    assert found_in_a_run() == {}


@pytest.mark.parametrize(
    "name", ["repeats_new", "versions_skipped", "rows_missing", "rows_appended"]
)
def test_what_a_mutant_breaks_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, function in (
        (custody, "observe"),
        (custody, "_remembered"),
        (projected, "_add_movement"),
    ):  # as they are now, and again when this test has ended
        monkeypatch.setattr(module, function, getattr(module, function))
    mutant = mutants.MUTANTS[name]
    mutant.change()
    counts = found_in_a_run()
    assert [each for each in mutant.breaks if not counts[each]] == []


def test_every_invariant_that_is_named_has_a_mutant() -> None:
    named = {f"I{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9)}
    assert {each for mutant in mutants.MUTANTS.values() for each in mutant.breaks} == {
        *named,
        LOST,
        DOUBLED,
    }


def movement(number: int) -> Record:
    each = scan(number, 0)
    seen = custody.observe(None, each, offset=0)
    tracking = Tracking("t", FailureLimit(Path("/nowhere"), "1"))
    record = Record(0, each.unit.encode(), encode(each), SCANS)
    [(key, value, _)] = tracking.decide([record], lambda key: None).records[MOVEMENTS]
    assert seen.accepted
    return Record(number, key, value, MOVEMENTS)


def row_of(number: int) -> tuple[str, str, Any]:
    each = scan(number, 0)
    return each.unit, each.event_id, each.record_time


@pytest.mark.parametrize(
    ("next_offset", "rows", "is_broken"),
    [(2, {0, 1}, False), (1, {0}, False), (0, set(), False), (2, {0}, True), (1, {0, 1}, True)],
    ids=["all", "some", "none", "the offset ahead", "rows ahead"],
)
def test_rows_and_offset_are_of_one_transaction(
    next_offset: int, rows: set[int], is_broken: bool
) -> None:
    found = Broken()
    told = [movement(0), movement(1)]
    together(found, told, {row_of(each) for each in rows}, {(MOVEMENTS, 0): next_offset})
    assert found.counts["I8"] == (1 if is_broken else 0)


def test_a_movement_that_is_told_again_after_a_crash_is_no_row_ahead() -> None:
    found = Broken()
    again = replace(movement(0), offset=7)
    together(found, [movement(0), again], {row_of(0)}, {(MOVEMENTS, 0): 1})
    assert found == []


def shipped(unit: str) -> Ledger:
    sent = Sent(unit, "1-3", "gate", accepted_at=time.monotonic())
    return Ledger({sent.event_id: sent})


@pytest.mark.parametrize(
    ("alerts", "counted"),
    [
        ([("a", "recalled_at_shipping", "open", 0)], {}),
        ([], {"I3": 1}),
        (
            [
                ("a", "recalled_at_shipping", "open", 0),
                ("b", "recalled_already_shipped", "open", 0),
            ],
            {"I4": 1, DOUBLED: 1},
        ),
        ([("a", "recalled_at_shipping", "open", 1)], {"I4": 1, DOUBLED: 1}),
        (
            [("a", "recalled_at_shipping", "open", 0), ("b", "duplicate_serial", "open", 0)],
            {"I4": 1},
        ),
        (
            [("a", "recalled_at_shipping", "open", 0), ("b", "duplicate_serial", "withdrawn", 0)],
            {},
        ),
    ],
    ids=["one", "none", "two ids", "twice", "without a cause", "withdrawn"],
)
def test_an_alert_is_there_once(
    alerts: list[tuple[str, str, str, int]], counted: dict[str, int]
) -> None:
    found, unit = Broken(), f"sgtin:{GTIN}.R5"
    rows = [(id_, kind, unit, status, repeats) for id_, kind, status, repeats in alerts]
    each_alerted(found, shipped(unit), rows)
    told = ("I3", "I4", DOUBLED)
    assert {each: found.counts[each] for each in told if found.counts[each]} == counted


def test_all_that_is_lost_or_doubled_is_counted_and_some_of_it_told() -> None:
    ledger, units = Ledger(), TOLD_MAX + 3
    for number in range(2 * units):
        ledger.sent[f"{number}-0"] = Sent("u", f"{number}-0", "dock", accepted_at=1.0)
    twice = [("u", f"dock-1/{number}-0", at) for number in range(units) for at in (1, 2)]
    found = Broken()
    each_once(found, ledger, twice, {})
    assert (found.counts[LOST], found.counts[DOUBLED]) == (units, units)
    assert len(found) == 2 * TOLD_MAX
    result = Result(Fault("F0", "a fault", kill_trackers), 2 * units, 1.0, 0, found)
    assert result.line().endswith(f"{units:6} {units:8}  <- BROKEN")


def test_a_scan_that_is_in_history_and_set_aside_is_doubled() -> None:
    ledger = Ledger({"1-0": Sent("u", "1-0", "dock", accepted_at=1.0)})
    found = Broken()
    each_once(found, ledger, [("u", "dock-1/1-0", NOON)], {"dock-1/1-0": 1})
    assert found.counts[DOUBLED] == 1


def test_what_did_not_come_in_time_and_what_took_too_long_is_said() -> None:
    result = Result(Fault("F0", "a fault", kill_trackers, within_s=10), 5, 11.0, 3, Broken())
    assert not result.is_well
    assert [line.split()[0] for line in result.lines()] == ["3", "it"]
