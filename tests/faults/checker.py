"""Reads everything, and names each invariant that is broken (docs/faults.md)."""

from collections import Counter, defaultdict
from typing import Any

import psycopg
from aiokafka import TopicPartition

from faults.installation import Installation
from faults.load import Ledger, short
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


#: One alert, whichever comes first (domain.alert.alert_id).
OF_RECALLS = (AlertKind.RECALLED_AT_SHIPPING, AlertKind.RECALLED_ALREADY_SHIPPED)


class Broken(list[str]):
    """One line each: the invariant, and of what it is broken."""

    def add(self, invariant: str, what: str) -> None:
        """Told TOLD_MAX times of each invariant; then counted by nobody."""
        if sum(line.startswith(f"{invariant} ") for line in self) < TOLD_MAX:
            self.append(f"{invariant} {what}")


async def broken(site: Installation, ledger: Ledger) -> Broken:
    """What is broken once everything is drained."""
    found = Broken()
    settings = site.base
    records = await read_topics(settings, Topic.SCANS, Topic.MOVEMENTS, Topic.UNITS, Topic.ALERTS)
    with psycopg.connect(settings.database_url) as database:
        _each_once(found, ledger, database)
        states = _folded(found, records[Topic.SCANS], records[Topic.UNITS], database)
        _alerts(found, ledger, records[Topic.ALERTS], database)
    _versions(found, records[Topic.MOVEMENTS], states)
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


def _each_once(found: Broken, ledger: Ledger, database: "psycopg.Connection[Any]") -> None:
    """I1: every accepted scan is in history once, or rejected once, and never both; no fault of
    the world around makes the code fail."""
    history = Counter(
        (unit, short(event_id))
        for unit, event_id in database.execute("SELECT unit, event_id FROM movement")
    )
    rejected = Counter(
        short(each.partition("#")[0]) for (each,) in database.execute("SELECT id FROM rejected")
    )
    for sent in ledger.accepted:
        times = history[sent.unit, sent.event_id], rejected[sent.event_id]
        if sum(times) != 1:
            told = f"{times[0]} times in history, {times[1]} times rejected"
            found.add("I1", f"scan {sent.event_id} of {sent.unit} is {told}")
    failed = "SELECT id, detail FROM rejected WHERE reason = %s"
    for row_id, detail in database.execute(failed, (CODE_FAILED,)):
        found.add("I1", f"scan {row_id} was set aside, for the code failed: {detail}")


def _folded(
    found: Broken, scans: list[Any], changelog: list[Any], database: "psycopg.Connection[Any]"
) -> dict[str, UnitState]:
    """I2: the changelog's state, and the row, are the fold in the order in which it happened. Also
    the newest state of each unit, for others."""
    by_unit: dict[str, dict[str, Scan]] = defaultdict(dict)
    for record in scans:
        if not is_link(record.value):
            scan = decode_scan(record.key, record.value)
            by_unit[scan.unit].setdefault(scan.event_id, scan)
    newest: dict[str, UnitState] = {}
    for record in changelog:
        state = decode_state(record.value)
        if state.unit not in newest or state.offset >= newest[state.unit].offset:
            newest[state.unit] = state
    rows = {
        row[0]: row[1:]
        for row in database.execute("SELECT unit, version, station, event_id, phase FROM unit")
    }
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


def _alerts(
    found: Broken, ledger: Ledger, told: list[Any], database: "psycopg.Connection[Any]"
) -> None:
    """I3: every shipping scan of a recalled unit has its alert: of the scan, or of the sweep where
    that found it first. I4: no alert takes effect twice, and none stands that has no cause."""
    query = "SELECT id, kind, unit, status, repeats FROM alert"
    rows = database.execute(query).fetchall()
    recalled = Counter(unit for _, kind, unit, *_ in rows if kind in OF_RECALLS)
    for sent in ledger.accepted:
        is_recalled = sent.unit.rpartition(".")[2].startswith("R")
        if sent.station == "gate" and is_recalled and recalled[sent.unit] != 1:
            found.add(
                "I3", f"{sent.unit} was shipped: {recalled[sent.unit]} alerts that it is recalled"
            )
    for alert_id, kind, unit, status, repeats in rows:
        if kind not in OF_RECALLS and status == "open":
            found.add("I4", f"alert {alert_id}, {kind} of {unit}, stands without a cause")
        if repeats:
            found.add("I4", f"alert {alert_id}, {kind} of {unit}, took effect {repeats + 1} times")
    missing = {alerts.decode(record.value).id for record in told} - {row[0] for row in rows}
    for alert_id in missing:
        found.add("I8", f"alert {alert_id} is in the topic, and not in the database")


def _versions(found: Broken, told: list[Any], states: dict[str, UnitState]) -> None:
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
