"""The checker of faults: by units that lived well, and by mutants of gateway, tracker and projector
whose errors show without Kafka and PostgreSQL. tests/system/test_mix.py runs all mutants as
processes.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiokafka import TopicPartition

from component.belt import GTIN, READERS, RECALL, Belt, code, unit
from component.serving import serving
from component.test_alerter_ending import PLACE, Kafka, ending_of, judged
from faults import mutants
from faults.catalogue import Fault, kill_trackers
from faults.checker import (
    CODE,
    DOUBLED,
    INVARIANTS,
    LOST,
    TOLD_MAX,
    WAY_S,
    Broken,
    answered,
    drained,
    each_alerted,
    each_once,
    marked,
    together,
    versions,
)
from faults.installation import Installation
from faults.lags import GROUPS, lags
from faults.load import TWIN_EACH, Ledger, Question, Sent, ask
from faults.run import Result
from scantrail.alerter.app import Notices, judge_movements, read_movements
from scantrail.alerter.ending import Ending
from scantrail.cli import stack
from scantrail.contracts.records import decode_state, encode
from scantrail.contracts.topics import Topic
from scantrail.domain import custody
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.scan import Scan
from scantrail.domain.verdict import Verdict
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway import verdicts
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.verdict_http import build_verdict
from scantrail.gateway.verdicts import Verdicts
from scantrail.projector import rows as projected
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCANS, MOVEMENTS = "t.scans.v1", "t.movements.v1"
STATIONS = (
    ("dock", BusinessStep.RECEIVING),
    ("shelf", BusinessStep.STORING),
    ("gate", BusinessStep.SHIPPING),
    ("door", BusinessStep.SHIPPING),
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
    """One of a unit's life; each has been at all stations once, but at the door only those whose
    serial is on two units."""
    station, step = STATIONS[stage]
    at = NOON + timedelta(hours=stage, seconds=number)
    return Scan(
        event_id=f"{station}-1/{number}-{stage}",
        unit=f"sgtin:{GTIN}.{'S' if number % TWIN_EACH else 'T'}{number}",
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
        for number in range(0, UNITS, TWIN_EACH if STATIONS[stage][0] == "door" else 1):
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
    raised = judge_movements(
        read_movements([moved], {}), Notices(RecallMatcher(), {}, {}, {}), site_travel_s=1800.0
    )
    alerted = {each.id: (each.id, each.kind, each.unit or "", "open", 0) for each in raised}
    found = Broken()
    each_once(found, ledger, written.movements, {})
    together(found, moved, written.movements, {(MOVEMENTS, 0): len(moved)})
    versions(found, moved, states)
    each_alerted(found, ledger, alerted.values())
    return found.counts


def test_where_all_is_well_nothing_is_found() -> None:
    assert found_in_a_run() == {}


@pytest.mark.parametrize(
    "name",
    ["repeats_new", "versions_skipped", "conflicts_missing", "rows_missing", "rows_appended"],
)
def test_what_a_mutant_breaks_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, function in (
        (custody, "observe"),
        (custody, "_remembered"),
        (custody, "_broken_rule"),
        (projected, "_add_movement"),
    ):  # as they are now, and again when this test has ended
        monkeypatch.setattr(module, function, getattr(module, function))
    mutant = mutants.MUTANTS[name]
    mutant.change()
    counts = found_in_a_run()
    assert [each for each in mutant.breaks if not counts[each]] == []


def test_every_invariant_has_a_mutant() -> None:
    """The list of design and page is here a second time, so that the checker forgets none."""
    promised = {f"I{number}" for number in range(1, 10)} | {"L1", "L2"}
    assert set(INVARIANTS) == promised
    broken = {each for mutant in mutants.MUTANTS.values() for each in mutant.breaks}
    assert broken == promised | {LOST, DOUBLED}


def test_what_is_no_invariant_is_not_counted() -> None:
    found = Broken()
    found.add(CODE, "failed")
    with pytest.raises(AssertionError):
        found.add("I10", "there is none")


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


def shipped(unit: str, station: str = "gate") -> Ledger:
    sent = Sent(unit, "1-3", station, accepted_at=time.monotonic())
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
    found, of = Broken(), unit("R5")
    rows = [(id_, kind, of, status, repeats) for id_, kind, status, repeats in alerts]
    each_alerted(found, shipped(of), rows)
    told = ("I3", "I4", DOUBLED)
    assert {each: found.counts[each] for each in told if found.counts[each]} == counted


@pytest.mark.parametrize(
    ("alerts", "counted"),
    [
        ([("a", "duplicate_serial", "open")], {}),
        ([("a", "duplicate_serial", "withdrawn"), ("b", "duplicate_serial", "open")], {}),
        ([], {"I6": 1}),
        ([("a", "duplicate_serial", "withdrawn")], {"I6": 1}),
        (
            [("a", "duplicate_serial", "open"), ("b", "duplicate_serial", "open")],
            {"I6": 1, DOUBLED: 1},
        ),
        ([("a", "duplicate_serial", "open"), ("b", "recalled_at_shipping", "open")], {"I4": 1}),
    ],
    ids=["one", "another withdrawn", "none", "it withdrawn", "two", "one without a cause"],
)
def test_a_serial_that_left_twice_has_one_alert(
    alerts: list[tuple[str, str, str]], counted: dict[str, int]
) -> None:
    found, of = Broken(), unit("T7")
    rows = [(id_, kind, of, status, 0) for id_, kind, status in alerts]
    each_alerted(found, shipped(of, "door"), rows)
    assert found.counts == counted


def asked(serial: str, **more: Any) -> Question:
    told = {"verdict": Verdict.RELEASE, "reason": "clear", "took_s": 0.01, "deadline_s": 0.1} | more
    return Question(unit(serial), "gateway-1", **told)


HELD = {"verdict": Verdict.HOLD, "reason": "recalled"}


@pytest.mark.parametrize(
    ("questions", "counted"),
    [
        ([asked("Q1"), asked("RQ2", **HELD)], {}),
        ([asked("Q1"), Question(unit("RQ2"), "gateway-1")], {}),
        ([asked("Q1"), asked("RQ2")], {"I3": 1}),
        ([asked("Q1", took_s=0.1 + WAY_S - 0.01)], {}),
        ([asked("Q1", took_s=0.1 + WAY_S + 0.01)], {"L2": 1}),
        ([asked("Q1"), asked("RQ2", took_s=9.0, **HELD)], {}),
        ([asked("RQ2", took_s=9.0)], {"I3": 1, "L2": 1}),
        ([Question(unit("Q1"), "gateway-1"), asked("Q2", **HELD)], {"L2": 1}),
        ([], {}),
    ],
    ids=[
        "well",
        "no answer",
        "a recalled one released",
        "just in time",
        "late",
        "held late",
        "a recalled one released late",
        "none released",
        "none asked",
    ],
)
def test_only_what_is_not_recalled_is_released_and_that_in_time(
    questions: list[Question], counted: dict[str, int]
) -> None:
    found = Broken()
    answered(found, questions)
    assert found.counts == counted


@pytest.mark.parametrize(
    ("rows", "counted"),
    [(1, {}), (0, {"I1": 1, LOST: 1}), (2, {"I1": 1, DOUBLED: 1})],
    ids=["once", "not", "twice"],
)
def test_what_was_released_is_in_history_once(rows: int, counted: dict[str, int]) -> None:
    found = Broken()
    ledger = Ledger(questions=[asked("Q1"), asked("RQ2", **HELD)])
    each_once(found, ledger, [(unit("Q1"), f"verdict/a/{n}", NOON) for n in range(rows)], {})
    assert found.counts == counted


@pytest.mark.parametrize(
    ("seen_at", "alerts", "counted"),
    [(1.0, "a", {}), (1.0, "", {"I3": 1}), (1.0, "ab", {"I4": 1, DOUBLED: 1}), (None, "", {})],
    ids=["one", "none", "two", "of what was not recorded"],
)
def test_a_recalled_unit_that_was_asked_for_has_its_alert(
    seen_at: float | None, alerts: str, counted: dict[str, int]
) -> None:
    found = Broken()
    ledger = Ledger(questions=[asked("RQ2", seen_at=seen_at, **HELD)])
    rows = [(id_, "recalled_at_shipping", unit("RQ2"), "open", 0) for id_ in alerts]
    each_alerted(found, ledger, rows)
    assert found.counts == counted


@pytest.mark.parametrize(
    ("name", "counted"),
    [("", set()), ("recalled_released", {"I3"}), ("verdicts_late", {"L2"})],
    ids=["well", "recalled_released", "verdicts_late"],
)
async def test_what_a_gateway_that_errs_answers_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counted: set[str]
) -> None:
    monkeypatch.setattr(verdicts, "judge_unit", verdicts.judge_unit)
    monkeypatch.setattr(Verdicts, "ask", Verdicts.ask)
    if name:
        mutants.MUTANTS[name].change()
    belt = Belt(tmp_path, deadline_s=10.0).ready()
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    questions = [Question(unit(f"{begin}Q{n}"), "g") for n in range(8) for begin in ("R", "")]
    guards, outlet = Guards(READERS), cast("Any", belt.outlet)
    app = build_http(Intake("t", belt.known, outlet), guards, build_verdict(belt.verdicts, guards))
    async with serving(app) as url, aiohttp.ClientSession() as http:
        codes = [code(each.unit.rpartition(".")[2]) for each in questions]
        await asyncio.gather(*map(partial(ask, http, url), codes, questions))
    await belt.close()
    assert not [each for each in questions if each.reason is None]
    found = Broken()
    answered(found, [replace(each, deadline_s=0.1) for each in questions])
    assert set(found.counts) == counted


@pytest.mark.parametrize(
    ("ahead", "skew_s", "is_broken"),
    [
        (timedelta(), None, False),
        (timedelta(), 7200.0, True),
        (timedelta(hours=2), 7195.0, False),
        (timedelta(hours=2), None, True),
        (timedelta(hours=2), -7200.0, True),
        (timedelta(days=-1), None, False),
        (timedelta(days=-1), -86400.0, True),
        (timedelta(days=-20000), -20000 * 86400.0 - 300, False),
        (timedelta(days=-20000), None, True),
    ],
)
def test_scans_of_clocks_that_are_wrong_are_marked(
    ahead: timedelta, skew_s: float | None, is_broken: bool
) -> None:
    found = Broken()
    ledger = Ledger({"1-1": Sent("u", "1-1", "scale", accepted_at=1.0, ahead=ahead)})
    marked(found, ledger, {"1-1": skew_s})
    assert found.counts["I2"] == (1 if is_broken else 0)


def test_every_group_is_looked_at() -> None:
    assert set(GROUPS) == set(stack.GROUPS)


@pytest.mark.parametrize(
    ("told", "left"),
    [({0: 7, 1: 5}, {}), ({0: 6, 1: 5}, {0: 1}), ({1: 5}, {0: 5}), ({0: 9, 1: 9}, {})],
    ids=["all", "one is left", "never told", "further by now"],
)
def test_a_group_that_does_not_come_to_the_end_is_behind(
    told: dict[int, int], left: dict[int, int]
) -> None:
    zero, one = TopicPartition("t.scans.v1", 0), TopicPartition("t.scans.v1", 1)
    places = {0: zero, 1: one}
    # What retention has taken away nobody can do.
    begins, ends = {zero: 2, one: 5}, {zero: 7, one: 5}
    done = {"tracker": {places[number]: offset for number, offset in told.items()}}
    behind = lags({"tracker": [zero, one]}, begins, ends, done)
    assert behind == {("tracker", places[number]): lag for number, lag in left.items()}
    found = Broken()
    drained(found, behind)
    assert found.counts["L1"] == len(left)


@pytest.mark.parametrize(("name", "left"), [("", 0), ("offsets_forgotten", 7)])
async def test_what_an_alerter_that_does_not_commit_has_yet_to_do_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, left: int
) -> None:
    monkeypatch.setattr(Ending, "_commit", Ending._commit)
    if name:
        mutants.MUTANTS[name].change()
    kafka = Kafka()
    ending = ending_of(kafka)
    await ending.take(judged(7))
    await ending.stop()
    done = {"alerter": {PLACE: max(kafka.done, default=0)}}
    behind = lags({"alerter": [PLACE]}, {PLACE: 0}, {PLACE: 7}, done)
    found = Broken()
    drained(found, behind)
    assert sum(behind.values()) == left
    assert found.counts["L1"] == (1 if left else 0)


def test_all_that_is_lost_or_doubled_is_counted_and_some_of_it_told() -> None:
    ledger, units = Ledger(), TOLD_MAX + 3
    for number in range(2 * units):
        ledger.sent[f"{number}-0"] = Sent("u", f"{number}-0", "dock", accepted_at=1.0)
    twice = [("u", f"dock-1/{number}-0", at) for number in range(units) for at in (1, 2)]
    found = Broken()
    each_once(found, ledger, twice, {})
    assert (found.counts[LOST], found.counts[DOUBLED]) == (units, units)
    assert len(found) == 2 * TOLD_MAX
    line = a_result(broken=found).line()
    assert re.search(rf" s +{units} +{units} ", line), line
    assert line.endswith("  <- BROKEN")


def a_result(**more: Any) -> Result:
    fault = Fault("F0", "a fault", kill_trackers, within_s=10)
    told = {"fault": fault, "scans": 5, "recovered_s": 1.0, "undrained": 0, "broken": Broken()}
    return Result(**told | more)


def test_a_scan_that_is_in_history_and_set_aside_is_doubled() -> None:
    ledger = Ledger({"1-0": Sent("u", "1-0", "dock", accepted_at=1.0)})
    found = Broken()
    each_once(found, ledger, [("u", "dock-1/1-0", NOON)], {"dock-1/1-0": 1})
    assert found.counts[DOUBLED] == 1


def test_what_did_not_come_in_time_and_what_took_too_long_is_said() -> None:
    result = a_result(recovered_s=11.0, undrained=3)
    assert not result.is_well
    assert [line.split()[0] for line in result.lines()] == ["3", "it"]


@pytest.mark.parametrize(
    ("ended", "lived_through", "is_well"),
    [
        ({}, True, True),
        ({"gateway-2": 1}, True, False),
        ({"projector-1": 2}, True, False),
        ({"tracker-1": 1}, True, True),
        ({"gateway-2": 1}, False, True),
    ],
    ids=["none", "a gateway", "a projector", "a tracker", "where it may"],
)
def test_what_ends_by_itself_is_counted_and_where_it_must_not_it_is_broken(
    ended: dict[str, int], lived_through: bool, is_well: bool
) -> None:
    fault = Fault("F0", "a fault", kill_trackers, lived_through=lived_through)
    result = a_result(fault=fault, ended=ended)
    assert result.is_well == is_well
    assert re.search(rf" {sum(ended.values())}(  <- BROKEN)?$", result.line())


def test_what_the_harness_killed_did_not_end_by_itself(tmp_path: Path) -> None:
    site, ends, runs = Installation(tmp_path, tmp_path), Counter[str](), {"gateway-1": True}

    def kill(name: str) -> None:
        ends[name] += runs[name]
        runs[name] = False

    site.supervisor = cast(
        "Any",
        SimpleNamespace(
            ends=ends.__getitem__,
            pid=lambda name: runs[name] or None,
            kill=kill,
            stop_all=lambda *_: None,
        ),
    )
    site.kill("gateway-1")
    site.kill("gateway-1")  # it does not run yet
    assert not site.ended()
    ends["gateway-1"] += 1
    ends["tracker-2"] += 2
    assert site.ended() == {"gateway-1": 1, "tracker-2": 2}
    site.__exit__(None, None, None)
