"""Reads everything, and names each invariant that is broken (docs/faults.md)."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any

import psycopg
from aiokafka import TopicPartition

from faults.installation import Installation
from faults.lags import Lags
from faults.load import (
    OF_RECALLS,
    TOLD_LATE_MAX,
    Ledger,
    Question,
    Sent,
    is_recalled,
    is_twin,
    short,
)
from faults.releases import DEFECT
from scantrail.cli.check import CannotCheck, check
from scantrail.contracts.records import alerts, decode_scan, decode_state, is_link, movements
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertKind
from scantrail.domain.custody import UnitState, observe
from scantrail.domain.scan import Scan, ordered_at
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import partitions_of
from scantrail.tracker.app import CODE_FAILED

#: More than that of one kind is not told.
TOLD_MAX = 5

#: Everything that this installation promises. Each is looked at after every fault.
INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "L1", "L2")

#: A release is decided by the gateway's deadline; then it is on its way, and between processes of
#: which this machine has more than cores.
WAY_S = 1.0

#: Nobody waits for a scan longer.
AWAY_MAX = timedelta(minutes=15)

#: Columns of the table, besides the invariants.
LOST, DOUBLED = "lost", "doubled"

#: Where the code failed on a scan: set aside, it breaks no invariant.
CODE = "code"


class Broken(list[str]):
    """One line each: the invariant, and of what it is broken. `counts` has all of them, by
    invariant and column; told are TOLD_MAX of each."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self._kinds = Counter[tuple[str, str | None]]()

    def add(self, invariant: str, what: str, column: str | None = None) -> None:
        """Count it, and tell it while there are few of its kind."""
        assert invariant in (*INVARIANTS, CODE), f"there is no invariant {invariant}"
        self.counts.update([invariant, *([column] if column else [])])
        self._kinds[invariant, column] += 1
        if self._kinds[invariant, column] <= TOLD_MAX:
            self.append(f"{invariant} {what}")


async def broken(site: Installation, ledger: Ledger, left: Lags) -> Broken:
    """What is broken once everything is drained, but for what is `left`."""
    found = Broken()
    settings = site.base
    drained(found, left)
    answered(found, ledger.questions)
    records = await read_topics(settings, Topic.SCANS, Topic.MOVEMENTS, Topic.UNITS, Topic.ALERTS)
    with psycopg.connect(settings.database_url) as database:
        # Of one moment, whatever a projector that is behind writes meanwhile.
        database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        history = list(database.execute("SELECT unit, event_id, record_time FROM movement"))
        rejected = _rejected(database, {event_id for _, event_id, _ in history})
        each_once(found, ledger, history, rejected)
        _code_failed(found, database)
        skews = database.execute("SELECT event_id, clock_skew_s FROM movement")
        marked(found, ledger, {short(event_id): skew for event_id, skew in skews})
        rows = {
            row[0]: row[1:]
            for row in database.execute("SELECT unit, version, station, event_id, phase FROM unit")
        }
        states = folded(found, records[Topic.SCANS], records[Topic.UNITS], rejected, rows)
        alerted = database.execute("SELECT id, kind, unit, status, repeats FROM alert").fetchall()
        nexts = {
            (topic, partition): next_offset
            for topic, partition, next_offset in database.execute(
                "SELECT topic, partition, next_offset FROM consumer_offset"
            )
        }
    each_alerted(found, ledger, alerted)
    together(found, records[Topic.MOVEMENTS], set(history), nexts)
    _alerts_together(found, records[Topic.ALERTS], {row[0] for row in alerted}, nexts)
    versions(found, records[Topic.MOVEMENTS], states)
    try:
        done = await check(settings, lambda line: None, history=True)
    except CannotCheck as error:
        found.add("I5", str(error))
    else:
        for line in done.differences:
            found.add("I9" if line.startswith("audit") else "I5", line)
    return found


async def read_topics(settings: Settings, *topics: Topic) -> dict[Topic, list[Any]]:
    """Each topic from its first record to where it ends now; by partition in order."""
    consumer = await connect_consumer(settings)
    try:
        found: dict[Topic, list[Any]] = {}
        for topic, partitions in (await partitions_of(settings, *topics)).items():
            found[topic] = await _read(consumer, partitions)
        return found
    finally:
        await consumer.stop()


async def _read(consumer: Any, partitions: list[TopicPartition]) -> list[Any]:
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    await consumer.seek_to_beginning(*partitions)
    found: list[Any] = []
    while any([await consumer.position(tp) < end for tp, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=200)).values():
            found += records
    return found


def _rejected(database: "psycopg.Connection[Any]", moved: Collection[str]) -> Counter[str]:
    """How often each event was set aside: a read under its own id, a scan under its record's place,
    which has it inside.

    A scan on which the code failed is set aside each time that it is sent, until the code takes it:
    it counts once, and not at all where it is among those that `moved` a unit.
    """
    found, failed = Counter[str](), set[str]()
    query = "SELECT id, source, reason, payload FROM rejected"
    for row_id, source, reason, payload in database.execute(query):
        event_id = row_id.partition("#")[0] if source == "read" else _event_in(payload) or row_id
        if reason == CODE_FAILED:
            failed.add(event_id)
        else:
            found[event_id] += 1
    found.update(failed.difference(moved))
    return found


def _event_in(payload: bytes) -> str | None:
    try:
        event_id = json.loads(payload)["event_id"]
    except (ValueError, LookupError, TypeError):  # what was rejected need not be a scan
        return None
    return str(event_id)


def each_once(
    found: Broken,
    ledger: Ledger,
    history: Iterable[tuple[str, str, Any]],
    rejected: Mapping[str, int],
) -> None:
    """I1: every accepted scan is in history once, or rejected once, and never both. `history`:
    unit, event id and record time of each row; `rejected`: how often each event was set aside."""
    moved = Counter((unit, short(event_id)) for unit, event_id, _ in history)
    set_aside = Counter[str]()
    for event_id, times in rejected.items():
        set_aside[short(event_id)] += times
    for sent in ledger.accepted:
        times = moved[sent.unit, sent.event_id], set_aside[sent.event_id]
        if sum(times) != 1:
            told = f"{times[0]} times in history, {times[1]} times rejected"
            column = DOUBLED if sum(times) else LOST
            found.add("I1", f"scan {sent.event_id} of {sent.unit} is {told}", column)
    rows = Counter(unit for unit, _ in moved.elements())
    for asked in ledger.questions:
        if asked.is_released and rows[asked.unit] != 1:
            told = f"was released, and its question is {rows[asked.unit]} times in history"
            found.add("I1", f"{asked.unit} {told}", DOUBLED if rows[asked.unit] else LOST)


def _code_failed(found: Broken, database: "psycopg.Connection[Any]") -> None:
    """No fault of the world around makes the code fail; F25 does, on purpose."""
    failed = "SELECT id, detail FROM rejected WHERE reason = %s"
    for row_id, detail in database.execute(failed, (CODE_FAILED,)):
        if DEFECT not in detail:
            found.add(CODE, f"failed on scan {row_id}, which was set aside: {detail}")


def folded(
    found: Broken,
    scans: Iterable[Any],
    changelog: Iterable[Any],
    rejected: Collection[str],
    rows: Mapping[str, tuple[Any, ...]],
) -> dict[str, UnitState]:
    """I2: the changelog's state, and the row, are the fold in the order in which it happened, of
    all scans but those set aside. Also the newest state of each unit, for others. `rows`: version,
    station, event id and phase of each unit."""
    by_unit: dict[str, dict[str, Scan]] = defaultdict(dict)
    for record in scans:
        if not is_link(record.value):
            scan = decode_scan(record.key, record.value)
            if scan.event_id not in rejected:
                by_unit[scan.unit].setdefault(scan.event_id, scan)
    newest: dict[str, UnitState] = {}
    for record in changelog:
        state = decode_state(record.value)
        if state.unit not in newest or state.offset >= newest[state.unit].offset:
            newest[state.unit] = state
    for unit, each in by_unit.items():
        state = None
        happened = sorted(each.values(), key=lambda s: (ordered_at(s), s.station, s.sequence))
        for offset, scan in enumerate(happened):
            state = observe(state, scan, offset=offset).state
        assert state is not None
        if unit not in newest:
            found.add("I2", f"{unit}: the changelog has no state of it")
            continue
        if newest[unit].current != state.current:
            found.add(
                "I2", f"{unit}: the changelog tells {newest[unit].current}, not {state.current}"
            )
        place, row = state.current, rows.get(unit)
        wanted = place and (state.version, place.station, place.event_id, place.phase.value)
        if row != wanted:
            found.add("I2", f"{unit}: the database tells {row}, not {wanted}")
    return newest


def marked(found: Broken, ledger: Ledger, skews: Mapping[str, float | None]) -> None:
    """I2: no order is that of a wrong clock, as its scans, and no others, are marked. `skews`: by
    how much it is ahead, in s, of each scan in history."""
    for sent in ledger.accepted:
        if sent.event_id not in skews:
            continue
        skew = skews[sent.event_id]
        is_wrong = not -TOLD_LATE_MAX < sent.ahead <= timedelta()
        # Its way to the gateway may have been as long as a fault lasts.
        if (skew is not None) != is_wrong or (
            skew is not None and abs(timedelta(seconds=skew) - sent.ahead) > AWAY_MAX
        ):
            told = f"off by {sent.ahead}, and is told to be off by {skew} s"
            found.add("I2", f"the clock of scan {sent.event_id} of {sent.unit} is {told}")


def each_alerted(
    found: Broken, ledger: Ledger, rows: Collection[tuple[str, str, str, str, int]]
) -> None:
    """I3: every shipping scan of a recalled unit has its alert: of the scan, or of the sweep where
    that found it first; so has every question. I6: a serial that left twice has its alert, and one
    only. I4: no alert takes effect twice, and none stands that has no cause. `rows`: id, kind,
    unit, status and repeats of each alert."""
    standing = Counter((unit, kind) for _, kind, unit, status, _ in rows if status != "withdrawn")
    leaving: list[Sent | Question] = [*ledger.accepted, *ledger.questions]
    for told in leaving:
        if not told.to_alert:
            continue
        times = sum(standing[told.unit, kind] for kind in told.to_alert)
        if told.to_alert != OF_RECALLS:
            if times != 1:
                word = f"{told.unit} left twice: {times} alerts that its serial is on two units"
                found.add("I6", word, DOUBLED if times else None)
            continue
        word = f"{told.unit} was to leave: {times} alerts that it is recalled"
        if not times:
            found.add("I3", word)
        elif times > 1:
            found.add("I4", word, DOUBLED)
    for alert_id, kind, unit, status, repeats in rows:
        if status == "open" and not _has_cause(kind, unit):
            found.add("I4", f"alert {alert_id}, {kind} of {unit}, stands without a cause")
        if repeats:
            word = f"alert {alert_id}, {kind} of {unit}, took effect {repeats + 1} times"
            found.add("I4", word, DOUBLED)


def _has_cause(kind: str, unit: str) -> bool:
    """Of units of any load: most do nothing odd."""
    if kind in OF_RECALLS:
        return is_recalled(unit)
    return kind == AlertKind.DUPLICATE_SERIAL and is_twin(unit)


def answered(found: Broken, questions: Collection[Question]) -> None:
    """I3: a unit whose recall the gateways knew was not released. L2: who waits no longer than the
    deadline hears every release; and something is released, or no question tells anything."""
    for asked in questions:
        if not asked.is_released:
            continue
        if is_recalled(asked.unit):
            found.add("I3", f"{asked.unit} is recalled, and {asked.gateway} released it")
        if asked.took_s > asked.deadline_s + WAY_S:
            told = f"after {asked.took_s:.1f} s, {asked.deadline_s:g} s are allowed"
            found.add("L2", f"{asked.gateway} released {asked.unit} {told}")
    if questions and not any(asked.is_released for asked in questions):
        reasons = Counter(asked.reason or "no answer" for asked in questions)
        found.add("L2", f"of {len(questions)} units that were asked for none left: {dict(reasons)}")


def drained(found: Broken, left: Lags) -> None:
    """L1: every group has done what its topics had when the load was over."""
    for (group, place), lag in left.items():
        found.add("L1", f"{group} has yet to do {lag} records of {place.topic}/{place.partition}")


def together(
    found: Broken,
    told: Iterable[Any],
    rows: Collection[tuple[str, str, Any]],
    nexts: Mapping[tuple[str, int], int],
) -> None:
    """I8: of one moment, history has what the offsets are past, and nothing else. `told`: the
    records of movements; `rows`: unit, event id, record time; `nexts`: by topic and partition."""
    is_past: dict[tuple[str, str, Any], bool] = {}
    for record in told:
        movement = movements.decode(record.value)
        key = movement.unit, movement.scan.event_id, movement.scan.record_time
        is_past[key] = is_past.get(key, False) or _is_past(record, nexts)
    for key, past in is_past.items():
        if past != (key in rows):
            told_of = "past it, and it has no row" if past else "before it, and it has a row"
            found.add("I8", f"movement {key[1]} of {key[0]}: the offset is {told_of}")


def _alerts_together(
    found: Broken, told: Iterable[Any], ids: Collection[str], nexts: Mapping[tuple[str, int], int]
) -> None:
    """I8, of alerts: those of the desk's own have rows before any record."""
    past = {alerts.decode(record.value).id for record in told if _is_past(record, nexts)}
    for alert_id in sorted(past - set(ids)):
        found.add("I8", f"alert {alert_id}: the offset is past it, and it has no row")


def _is_past(record: Any, nexts: Mapping[tuple[str, int], int]) -> bool:
    return bool(record.offset < nexts.get((record.topic, record.partition), 0))


def versions(found: Broken, told: Iterable[Any], states: Mapping[str, UnitState]) -> None:
    """I7: versions are gapless and never go down; a repetition is the same to the byte."""
    known: dict[tuple[str, int], bytes] = {}
    highest: Counter[str] = Counter()
    for record in told:
        movement = movements.decode(record.value)
        at = movement.unit, movement.version
        if known.setdefault(at, record.value) != record.value:
            found.add("I7", f"version {at[1]} of {at[0]} is told in two ways")
        if movement.version > highest[movement.unit] + 1:
            found.add("I7", f"version {at[1]} of {at[0]} follows on {highest[movement.unit]}")
        highest[movement.unit] = max(highest[movement.unit], movement.version)
    for unit, state in states.items():
        if highest[unit] != state.version:
            found.add(
                "I7", f"{unit} is at version {state.version}, its movements at {highest[unit]}"
            )
