"""The projector between a real Kafka and a real PostgreSQL: rows and offsets together, always."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from reads import rejected_read
from scantrail.contracts.records import (
    UnreadableRecord,
    decode_scan,
    encode,
    movements,
    rejection_headers,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertKind, AlertStatus
from scantrail.domain.scan import Origin
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.child_processes import free_ports
from scantrail.infra.database import connect_database
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.health import Health
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of
from scantrail.projector import app
from scantrail.projector.rows import Rows, rejected_read_id
from scantrail.projector.writing import TOPICS, StaleWriter, Writer

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
MADE = {"lot": "L7", "produced_on": date(2026, 2, 3)}
SHIPPED = {"business_step": BusinessStep.SHIPPING, "business_location": None, "order": "SO-1"}


def alert(number: int, status: AlertStatus = AlertStatus.RAISED, **more: Any) -> Alert:
    fields = {
        "id": f"{number:032x}",
        "kind": AlertKind.DUPLICATE_SERIAL,
        "severity": "warning",
        "status": status,
        "unit": "sgtin:09506000134352.1",
        "event_id": "e-1",
        "station": "dock-1",
        "site": "north",
        "event_time": decode_time("2026-03-01T12:00:00Z"),
        "text": "was seen twice",
    }
    return Alert(**(fields | more))


def decode_time(text: str) -> Any:
    return msgspec.convert(text, type=datetime)


async def move(site: "Site", serial: str, minute: float = 0, **more: Any) -> None:
    (movement,) = site.movements(site.scan(serial, minute, **more))
    await site.put_movement(movement, site.unit(serial))


async def until_rows(site: "Site", query: str, expected: list[tuple[Any, ...]]) -> None:
    """The answer becomes `expected`; tells the difference where it does not in time."""
    with contextlib.suppress(AssertionError):
        await site.until(lambda: site.rows(query) == expected, 15.0)
    assert site.rows(query) == expected


async def caught_up(site: "Site", topic: Topic = Topic.MOVEMENTS) -> None:
    """The stored offsets are the ends of the topic's partitions."""
    log = await site.log(topic)
    ends: dict[int, int] = {}
    for record in await log.records():
        ends[record.partition] = record.offset + 1

    def stored() -> dict[int, int]:
        query = "SELECT partition, next_offset FROM consumer_offset WHERE topic = %s"
        return dict(site.rows(query, name_of(site.settings, topic)))

    await site.until(lambda: stored() == ends)


# ------------------------------------------------------------------------------ records to rows


async def test_a_movement_becomes_a_row_of_history_and_the_units_row(site: "Site") -> None:
    scans = (
        site.scan("0042", 0, disposition="in_progress", read="raw\x1dread", **MADE),
        site.scan("0042", 10, clock_skew_s=400.0, sequence=7, **SHIPPED),
    )
    for movement in site.movements(*scans):
        await site.put_movement(movement, site.unit("0042"))
    await site.start("projector")
    await caught_up(site)
    shipped = scans[1]
    assert site.rows("SELECT * FROM unit") == [
        (
            site.unit("0042"),
            "09506000134352",
            "0042",
            2,
            "shipped",
            "north",
            "dock-1",
            "dock-1.antenna",
            None,
            "shipping",
            None,
            "acme",
            "SO-1",
            shipped.record_time,
            shipped.event_id,
            shipped.record_time,
            False,
            None,
            None,
            "L7",
            date(2026, 2, 3),
        )
    ]
    first, second = site.rows("SELECT * FROM movement ORDER BY version")
    assert first == (
        site.unit("0042"),
        scans[0].event_id,
        scans[0].record_time,
        1,
        "moved",
        scans[0].event_time,
        None,
        "reader-1",
        1,
        "dock-1",
        "north",
        "dock-1.antenna",
        "receiving",
        "Hall A",
        "in_progress",
        "acme",
        None,
        "raw\x1dread",
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        "L7",
        date(2026, 2, 3),
        False,
    )
    assert second[3:9] == (2, "moved", shipped.event_time, 400.0, "reader-1", 7)
    assert second[16] == "SO-1"


async def test_the_lot_that_was_told_once_stays_until_another_is_told(site: "Site") -> None:
    scans = [
        site.scan("7", 0, **MADE),
        site.scan("7", 1),
        site.scan("7", 2, lot="L8"),
    ]
    told = [("L7", MADE["produced_on"]), ("L7", MADE["produced_on"]), ("L8", MADE["produced_on"])]
    await site.start("projector")
    for movement, expected in zip(site.movements(*scans), told, strict=True):
        await site.put_movement(movement, site.unit("7"))
        await caught_up(site)
        assert site.rows("SELECT lot, produced_on FROM unit") == [expected]
    for movement in site.movements(*(replace(scan, unit=site.unit("8")) for scan in scans[:2])):
        await site.put_movement(movement, site.unit("8"))  # in one batch or two
    await caught_up(site)
    assert site.rows("SELECT lot FROM unit WHERE serial = '8'") == [("L7",)]


@pytest.mark.parametrize("in_one_batch", [False, True], ids=["one-by-one", "together"])
async def test_the_lot_that_a_voided_scan_told_is_what_standing_scans_tell(
    site: "Site", in_one_batch: bool
) -> None:
    """Or a recall by lot means a unit that is not of it, and lets one go that is."""
    day = MADE["produced_on"]
    told = {
        "another": (site.scan("a", 0, **MADE), site.scan("a", 1, event_id="wrong", lot="L8")),
        "none": (site.scan("b", 0), site.scan("b", 1, event_id="wrong", **MADE)),
        "the same": (site.scan("c", 0, event_id="wrong", **MADE), site.scan("c", 1, **MADE)),
    }
    wrong = {"corrects": "wrong"}
    scans = [(*two, replace(two[1], event_id="void", sequence=9, **wrong)) for two in told.values()]
    scans = [(*some[:2], replace(some[2], lot=None, produced_on=None)) for some in scans]
    if not in_one_batch:
        await site.start("projector")
    for some in scans:
        for movement in site.movements(*some):
            await site.put_movement(movement, some[0].unit)
            if not in_one_batch:
                await caught_up(site)
    if in_one_batch:
        await site.start("projector")
    await until_rows(
        site,
        "SELECT serial, lot, produced_on FROM unit ORDER BY serial",
        [("a", "L7", day), ("b", None, None), ("c", "L7", day)],
    )


async def test_a_scan_that_was_voided_before_it_came_tells_no_lot(site: "Site") -> None:
    await site.start("projector")
    void = site.scan("7", 1, corrects="wrong")
    wrong = site.scan("7", 0, event_id="wrong", **MADE)
    for movement in site.movements(void, wrong):
        await site.put_movement(movement, site.unit("7"))
    await caught_up(site)
    assert site.rows("SELECT version, lot, produced_on FROM unit") == [(2, None, None)]


async def test_a_lot_that_was_told_of_a_key_before_it_was_joined_is_voided_there_too(
    site: "Site",
) -> None:
    box, main = site.scan("box", 0, event_id="wrong", **MADE), site.unit("main")
    join = site.scan("box", 1, same_as=main)
    await site.start("projector")
    for movement in site.movements(box, join):
        await site.put_movement(movement, box.unit)
    void = site.scan("main", 2, corrects="wrong", forwarded_from=(box.unit,))
    for movement in site.movements(site.scan("main", 0, **MADE), void):
        await site.put_movement(movement, main)
    day = MADE["produced_on"]
    query = "SELECT serial, joined IS NULL, lot, produced_on FROM unit ORDER BY serial"
    await until_rows(site, query, [("box", False, None, None), ("main", True, "L7", day)])


async def test_what_is_inside_a_carton_and_what_was_derived_for_it_are_told(site: "Site") -> None:
    """With its carton, until it is scanned elsewhere, and by whose scan it moved."""
    carton = "sscc:095060001343520000"
    packed = site.scan("7", 0, event_id="p", parent=carton, business_step=BusinessStep.PACKING)
    origin = Origin(unit=carton, event_id="c-1", depth=1)
    moved = site.scan("7", 5, event_id="d", station="dock-2", derived_from=origin)
    for movement in site.movements(packed, moved):
        await site.put_movement(movement, site.unit("7"))
    await site.start("projector")
    await until_rows(site, "SELECT station, parent FROM unit", [("dock-2", carton)])
    assert site.rows(
        "SELECT event_id, parent, derived_from, derived_event_id FROM movement ORDER BY version"
    ) == [("p", carton, None, None), ("d", None, carton, "c-1")]


async def test_doubles_and_lower_versions_change_nothing(site: "Site") -> None:
    scans = [site.scan("1", minute, station=f"s-{minute}") for minute in range(4)]
    one, two, three, four = site.movements(*scans)
    unit = site.unit("1")
    for movement in (two, one, two, one, three, two):  # one batch
        await site.put_movement(movement, unit)
    await site.start("projector")
    await caught_up(site)
    history = "SELECT version, station FROM movement ORDER BY version"
    rows = [(1, "s-0"), (2, "s-1"), (3, "s-2")]
    assert site.rows(history) == rows
    assert site.rows("SELECT version, station FROM unit") == [(3, "s-2")]
    for movement in (one, two, three):  # other batches
        await site.put_movement(movement, unit)
        await caught_up(site)
    assert site.rows(history) == rows
    assert site.rows("SELECT version, station FROM unit") == [(3, "s-2")]
    await site.put_movement(four, unit)
    await until_rows(site, "SELECT version, station FROM unit", [(4, "s-3")])


async def test_of_one_scan_told_under_two_versions_the_higher_stays(site: "Site") -> None:
    low, high = (
        encode(msgspec.json.decode(movement) | {"version": version, "outcome": outcome})
        for movement, version, outcome in (
            (site.movements(site.scan("1"))[0], 1, "moved"),
            (site.movements(site.scan("1"))[0], 5, "late"),
        )
    )
    await site.start("projector")
    query = "SELECT version, outcome FROM movement"
    for movement in (high, low):
        await site.put_movement(movement, site.unit("1"))
        await caught_up(site)
        assert site.rows(query) == [(5, "late")]


async def test_alerts_are_open_withdrawn_and_keep_what_people_did(site: "Site") -> None:
    async def publish(told: Alert) -> None:
        await site.publish(Topic.ALERTS, told.id, encode(told))
        await caught_up(site, Topic.ALERTS)

    projector = await site.start("projector")
    await publish(alert(1, told_by="e-1"))
    await publish(alert(2, recall="R-1"))
    await publish(alert(2, AlertStatus.WITHDRAWN, recall="R-1"))
    query = "SELECT id, status, recall, withdrawn, repeats FROM alert ORDER BY id"
    first, second = (f"{number:032x}" for number in (1, 2))
    assert site.rows(query) == [
        (first, "open", None, False, 0),
        (second, "withdrawn", "R-1", True, 0),
    ]
    site.execute("UPDATE alert SET status = 'resolved' WHERE id = %s", first)
    await publish(alert(1, told_by="e-1"))  # the alerter was killed, and judged again
    assert site.rows(query)[0] == (first, "resolved", None, False, 0)
    await publish(alert(1, told_by="e-2"))
    assert site.rows(query)[0] == (first, "resolved", None, False, 1)
    await publish(alert(1, AlertStatus.WITHDRAWN, told_by="e-3"))
    assert site.rows(query)[0] == (first, "resolved", None, True, 1)
    await publish(alert(1, told_by="e-2"))
    assert site.rows(query)[0] == (first, "resolved", None, True, 1)
    await publish(alert(1, told_by="e-4"))
    assert site.rows(query)[0] == (first, "open", None, False, 1)
    history = "SELECT alert, number, step, status, cause FROM alert_event ORDER BY 1, 2"
    before = site.rows(query), site.rows(history)
    assert [row[2] for row in before[1]] == [
        *("raised", "repeated", "withdrawn", "raised_again"),
        *("raised", "withdrawn"),
    ]
    await site.stop(projector)
    site.execute("DELETE FROM consumer_offset")  # read again from the beginning
    await site.start("projector")
    await caught_up(site, Topic.ALERTS)
    assert (site.rows(query), site.rows(history)) == before


async def test_rejected_reads_wait_and_wait_again_after_a_replay_in_vain(site: "Site") -> None:
    at = site.scan("1").event_time
    read = rejected_read("raw", at)
    await site.start("projector")
    await site.publish(Topic.READS_REJECTED, "handheld", encode(read))
    query = "SELECT * FROM rejected"
    row = (
        rejected_read_id(read),
        "read",
        "handheld",
        None,
        "unknown_reader",
        "no [[reader]] has id 'handheld'",
        encode(read),
        at,
        None,
        None,
        None,
    )
    await until_rows(site, query, [row])
    site.execute("UPDATE rejected SET replayed_at = now()")
    await site.publish(Topic.READS_REJECTED, "handheld", encode(read))  # the same record again
    await caught_up(site, Topic.READS_REJECTED)
    assert site.rows("SELECT replayed_at IS NOT NULL FROM rejected") == [(True,)]
    again = msgspec.structs.replace(
        read, reason="unknown_station", record_time=at + timedelta(minutes=1)
    )
    await site.publish(Topic.READS_REJECTED, "handheld", encode(again))
    await until_rows(site, "SELECT reason, replayed_at FROM rejected", [("unknown_station", None)])


async def test_two_reads_to_which_a_device_gave_one_id_are_both_kept(site: "Site") -> None:
    """It counts from 1 at each boot."""
    at = site.scan("1").event_time
    first = rejected_read("one", at)
    others = (
        msgspec.structs.replace(first, read="another"),
        msgspec.structs.replace(first, event_time=at + timedelta(minutes=1)),
    )
    await site.start("projector")
    for read in (first, *others):
        await site.publish(Topic.READS_REJECTED, "handheld", encode(read))
    ids = sorted((rejected_read_id(read),) for read in (first, *others))
    await until_rows(site, 'SELECT id FROM rejected ORDER BY id COLLATE "C"', ids)


async def test_rejected_scans_keep_key_value_and_reason(site: "Site") -> None:
    headers = rejection_headers(
        reason="not_json", detail="odd", topic="t", partition=0, offset=1, version="1"
    )
    await site.start("projector")
    for _ in range(2):  # the second as after a crash of the tracker
        await site.publish(Topic.SCANS_REJECTED, "key", b"\x00\xff", headers=headers)
    bare = await site.publish(Topic.SCANS_REJECTED, "key", None)
    place = f"{bare.topic}/{bare.partition}"
    await until_rows(
        site,
        "SELECT id, source, reason, detail, payload FROM rejected ORDER BY payload DESC",
        [
            ("t/0/1", "scan", "not_json", "odd", b"\x00\xff"),
            (f"{place}/{bare.offset}", "scan", "unknown", "", b""),
        ],
    )


async def test_a_unit_on_whose_scan_the_tracker_failed_is_held_until_a_newer_movement(
    site: "Site",
) -> None:
    await move(site, "1")
    headers = rejection_headers(
        reason="code_failed",
        detail="ZeroDivisionError()",
        topic="t",
        partition=0,
        offset=1,
        version="1",
        unit_version=1,
    )
    await site.publish(Topic.SCANS_REJECTED, site.unit("1"), b"{}", headers=headers)
    await site.start("projector")
    await site.start("api")
    await caught_up(site)
    await until_rows(site, "SELECT unit, unit_version FROM rejected", [(site.unit("1"), 1)])
    assert (await site.ask("GET", f"/units/{site.unit('1')}")).json()["held"] is True
    two = site.movements(site.scan("1"), site.scan("1", 5))
    await site.put_movement(two[1], site.unit("1"))
    await until_rows(site, "SELECT version FROM unit", [(2,)])
    assert (await site.ask("GET", f"/units/{site.unit('1')}")).json()["held"] is False


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "not_json"),
        (b"{}", "not_a_movement"),
        (b"\xff\xfe", "not_json"),
        (b'{"unit": "\\u0000"}', "nul_character"),
        (None, "no_value"),
    ],
)
async def test_an_unreadable_movement_becomes_a_rejected_row_and_the_offset_moves(
    site: "Site", value: bytes | None, reason: str
) -> None:
    labels = {"topic": "movements", "reason": "unreadable"}

    def counted() -> float | None:
        return REGISTRY.get_sample_value("scantrail_rejected_total", labels)

    bad = await site.publish(Topic.MOVEMENTS, site.unit("1"), value)
    await move(site, "1")
    before = counted() or 0.0
    await site.start("projector")
    await caught_up(site)
    await site.until(lambda: counted() == before + 1)
    assert site.rows("SELECT id, source, reason, payload FROM rejected") == [
        (f"{bad.topic}/{bad.partition}/{bad.offset}", "scan", reason, value or b"")
    ]
    assert site.rows("SELECT unit FROM unit") == [(site.unit("1"),)]


@pytest.mark.parametrize(
    ("field", "reason"), [("sequence", "not_a_scan"), ("version", "not_a_movement")]
)
async def test_a_movement_with_a_number_that_no_column_holds_does_not_stop_the_projector(
    site: "Site", field: str, reason: str
) -> None:
    (movement,) = site.movements(site.scan("1"))
    told = msgspec.json.decode(movement)
    (told if field == "version" else told["scan"])[field] = 2**63
    await site.put_movement(encode_big(told), site.unit("1"))
    await move(site, "2")
    await site.start("projector")
    await caught_up(site)
    assert site.rows("SELECT unit FROM unit") == [(site.unit("2"),)]
    assert site.rows("SELECT reason FROM rejected") == [(reason,)]


@pytest.mark.parametrize("number", [2**63, 2**64])
async def test_a_scan_with_a_sequence_that_nothing_holds_is_unreadable(
    site: "Site", number: int
) -> None:
    scan = msgspec.to_builtins(site.scan("1")) | {"sequence": number}
    with pytest.raises(UnreadableRecord, match="sequence"):
        decode_scan(site.unit("1").encode(), encode_big(scan))


def encode_big(told: Any) -> bytes:
    return json.dumps(msgspec.to_builtins(told)).encode()


@pytest.mark.parametrize("records_max", [5_000, 3])
async def test_of_a_batch_only_the_record_that_postgresql_refuses_is_set_aside(
    site: "Site", records_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "RECORDS_MAX", records_max)
    site.execute(
        "CREATE FUNCTION narrow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF new.serial = 'odd' THEN RAISE 'too wide for an index' USING ERRCODE = '54000'; END IF;"
        " RETURN new; END $$"
    )
    site.execute(
        "CREATE TRIGGER narrow BEFORE INSERT ON unit FOR EACH ROW EXECUTE FUNCTION narrow()"
    )
    odd = "odd"
    serials = [*"0123", odd, *"5678"]
    for serial in serials:
        await move(site, serial)
    before = refused(Topic.MOVEMENTS)
    await site.start("projector")
    await caught_up(site)
    assert refused(Topic.MOVEMENTS) == before + 1
    units = {unit for (unit,) in site.rows("SELECT unit FROM unit")}
    assert units == {site.unit(serial) for serial in serials if serial != odd}
    ((reason, detail, payload),) = site.rows("SELECT reason, detail, payload FROM rejected")
    assert reason == "refused_by_database"
    assert "SQLSTATE 54000" in detail
    assert movements.decode(payload).unit == site.unit(odd)
    await move(site, "9")
    await caught_up(site)
    assert site.rows("SELECT 1 FROM unit WHERE serial = '9'") == [(1,)]


def refused(topic: Topic) -> float:
    """As the projector counts."""
    labels = {"topic": topic.value, "reason": "refused_by_database"}
    return REGISTRY.get_sample_value("scantrail_rejected_total", labels) or 0.0


async def test_what_postgresql_refuses_is_counted_by_the_topic_it_came_from(site: "Site") -> None:
    site.execute(
        "CREATE FUNCTION narrow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE 'too wide for an index' USING ERRCODE = '54000'; END $$"
    )
    site.execute(
        "CREATE TRIGGER narrow BEFORE INSERT ON alert FOR EACH ROW EXECUTE FUNCTION narrow()"
    )
    before = {topic: refused(topic) for topic in TOPICS}
    await site.publish(Topic.ALERTS, alert(1).id, encode(alert(1)))
    await site.start("projector")
    await caught_up(site, Topic.ALERTS)
    assert site.rows("SELECT reason FROM rejected") == [("refused_by_database",)]
    assert {topic: refused(topic) for topic in TOPICS} == {
        **before,
        Topic.ALERTS: before[Topic.ALERTS] + 1,
    }


async def test_full_batches_are_copied_ahead_and_every_value_comes_as_it_was(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "RECORDS_MAX", 3)
    ahead: list[int] = []

    async def copied(writer: Writer, rows: Rows) -> Any:
        told = await copied_in_truth(writer, rows)
        ahead.append(len(rows.movements))
        return told

    copied_in_truth = Writer.copied
    monkeypatch.setattr(Writer, "copied", copied)
    reads = {
        f"{number:03}": odd
        for number, odd in enumerate(
            ("\\N", "a\tb", "a\nb\r", "\\.", "ünï\u2028", "\\", " ", "'\"") * 8
        )
    }
    for serial, read in reads.items():
        await move(site, serial, read=read, **(MADE if read == " " else {}))
    await site.start("projector")
    await caught_up(site)
    rows = site.rows(
        "SELECT u.serial, m.read, m.lot, u.lot FROM movement m JOIN unit u USING (unit)"
    )
    lots = {" ": MADE["lot"]}
    told = {(serial, read, lots.get(read), lots.get(read)) for serial, read in reads.items()}
    assert (set(rows), len(rows)) == (told, len(reads))
    assert ahead
    assert set(ahead) <= {1, 2, 3}


# ---------------------------------------------------------------------------- rows and offset


async def test_what_comes_soon_after_a_transaction_is_gathered_for_one(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "APART_S", 3600.0)
    monkeypatch.setattr(app, "RECORDS_FEW", 3)
    await site.start("projector")
    await move(site, "1")
    await until_rows(site, "SELECT count(*) FROM movement", [(1,)])  # after a pause, at once
    for serial in "234":
        await move(site, serial)
    await until_rows(site, "SELECT count(*), count(DISTINCT xmin::text) FROM movement", [(4, 2)])


async def test_rows_and_offset_are_written_together_or_not_at_all(site: "Site") -> None:
    """A trigger breaks the last table that is written: neither rows nor offsets are there."""
    site.execute(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'broken here'; END $$"
    )
    site.execute(
        "CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON consumer_offset"
        " FOR EACH ROW EXECUTE FUNCTION broken()"
    )
    await move(site, "1")
    await site.publish(Topic.ALERTS, alert(1).id, encode(alert(1)))
    running = site.launch("projector")
    assert "broken here" in str(await running.ends())
    site.forget(running)
    for table in ("movement", "unit", "alert", "consumer_offset"):
        assert site.rows(f"SELECT * FROM {table}") == [], table
    site.execute("DROP TRIGGER broken ON consumer_offset")
    site.execute("ALTER TABLE unit ADD CONSTRAINT none CHECK (false)")
    running = site.launch("projector")
    assert "none" in str(await running.ends())
    site.forget(running)
    for table in ("movement", "unit", "consumer_offset"):
        assert site.rows(f"SELECT * FROM {table}") == [], table
    site.execute("ALTER TABLE unit DROP CONSTRAINT none")
    await site.start("projector")
    await caught_up(site)
    await caught_up(site, Topic.ALERTS)
    assert [len(site.rows(f"SELECT * FROM {table}")) for table in ("movement", "unit")] == [1, 1]


async def test_a_projector_whose_offset_was_moved_by_another_goes_on_where_the_rows_end(
    site: "Site",
) -> None:
    """As one to whom our partitions went, before we were told, that has taken the second record."""
    events = "SELECT event_id FROM movement ORDER BY 1"
    running = await site.start("projector")
    await move(site, "1", event_id="first")
    await caught_up(site)
    site.execute("UPDATE consumer_offset SET next_offset = next_offset + 1")
    rows = site.rows("SELECT * FROM consumer_offset ORDER BY 1, 2")
    await move(site, "1", 5, event_id="second")
    await site.until_logged("going on where the rows end")
    (told, *_) = [log for log in site.logs if log["event"] == "going on where the rows end"]
    assert "was written by another projector" in told["reason"]
    assert site.rows(events) == [("first",)]
    assert site.rows("SELECT * FROM consumer_offset ORDER BY 1, 2") == rows
    await move(site, "1", 9, event_id="third")
    await caught_up(site)
    assert site.rows(events) == [("first",), ("third",)]
    assert running.ready


async def test_of_two_writers_that_begin_at_the_same_places_one_writes_and_the_other_nothing(
    site: "Site",
) -> None:
    """Of one partition something is stored, of the other nothing yet."""
    topic = name_of(site.settings, Topic.MOVEMENTS)
    known, new = TopicPartition(topic, 0), TopicPartition(topic, 1)
    site.execute("INSERT INTO consumer_offset VALUES (%s, 0, 4)", topic)
    engine = connect_database(site.settings)
    writers = [Writer(engine, {topic: Topic.MOVEMENTS}) for _ in range(2)]
    for writer in writers:
        await writer.begin([known, new])
    batch = {known: [SimpleNamespace(offset=6)], new: [SimpleNamespace(offset=0)]}
    told = await asyncio.gather(
        *(writer.write(batch, Rows(), Health()) for writer in writers), return_exceptions=True
    )
    assert {type(each) for each in told} == {type(None), StaleWriter}
    rows = site.rows("SELECT * FROM consumer_offset ORDER BY 1, 2")
    assert rows == [(topic, 0, 7), (topic, 1, 1)]
    await engine.dispose()


async def test_two_writers_at_once_leave_each_row_once_and_one_of_them_is_refused_or_idle(
    site: "Site",
) -> None:
    """Of two in one group each has its partitions; together they write all, once."""
    first = await site.start("projector")
    await move(site, "a")
    await caught_up(site)
    second = await site.start("projector")
    for number in range(40):
        await move(site, f"{number}")
    await site.stop(first)
    for number in range(40, 60):
        await move(site, f"{number}")
    await caught_up(site)
    assert site.rows("SELECT count(*), count(DISTINCT unit) FROM movement") == [(61, 61)]
    await site.until(lambda: second.ready)


@pytest.mark.parametrize("age", ["older", "empty"])
async def test_a_database_restored_to_an_older_state_converges(site: "Site", age: str) -> None:
    """Restored below a running projector: it must not go on behind the gap."""
    tables = ("movement", "unit", "consumer_offset")
    running = await site.start("projector")
    kept: list[str] = []
    if age == "older":
        for number in range(5):
            await move(site, f"{number}")
        await caught_up(site)
    for table in tables:
        site.execute(f"CREATE TABLE backup_{table} AS SELECT * FROM {table}")
        kept.append(table)
    for number in range(10):
        await move(site, f"{number}", 10)
        await move(site, f"later-{number}")
    await caught_up(site)
    restore = "".join(
        f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM backup_{table};" for table in kept
    )
    site.execute(f"DO $$ BEGIN {restore} END $$")
    for partition in range(site.settings.partitions):
        (movement,) = site.movements(site.scan("last"))
        await site.put_movement(movement, site.unit("last"), partition=partition)
    await caught_up(site)
    assert running.ready
    expected = {site.unit(f"later-{n}") for n in range(10)} | {site.unit(f"{n}") for n in range(10)}
    units = {unit for (unit,) in site.rows("SELECT unit FROM unit")}
    assert units == expected | {site.unit("last")}


# ----------------------------------------------------------------------------- PostgreSQL away


async def test_postgresql_is_killed_and_comes_back_and_nothing_is_lost(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    open_site: Any,
) -> None:
    async with open_site(own_settings) as site:
        running = await site.start("projector")
        for number in range(20):
            await move(site, f"{number}")
        await site.until(lambda: site.rows("SELECT 1 FROM movement LIMIT 1"))
        own_postgres.kill()
        for number in range(20, 40):
            await move(site, f"{number}")
        await site.until(lambda: running.health.lacking == ["database"])
        assert not running.task.done()
        await asyncio.to_thread(own_postgres.start)
        await site.until(lambda: running.ready)
        await caught_up(site)
        assert site.rows("SELECT count(*), count(DISTINCT unit) FROM movement") == [(40, 40)]


@pytest.fixture
async def severed() -> AsyncIterator[Callable[..., Any]]:
    """A way to PostgreSQL that is cut once, in the middle of what the client says."""
    servers: list[asyncio.Server] = []

    async def between(database_url: str, words: bytes) -> tuple[str, asyncio.Event]:
        target = urlsplit(database_url)
        cut = asyncio.Event()

        async def pump(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, watched: bool
        ) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    if watched and words in data and not cut.is_set():
                        cut.set()
                        break
                    sink.write(data)
                    await sink.drain()

        async def accept(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_connection(HOST, target.port)
            pumps = [
                asyncio.create_task(pump(stream, forth, True)),
                asyncio.create_task(pump(back, writer, False)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for each in (forth, writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
            await asyncio.wait(pumps)

        port = free_ports(1)[0]
        servers.append(await asyncio.start_server(accept, HOST, port))
        place = f"{target.username}:{target.password}@{HOST}:{port}"
        return urlunsplit(target._replace(netloc=place)), cut

    yield between
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "words",
    [b"COPY staging_movement", b"INSERT INTO unit", b"INSERT INTO consumer_offset", b"COMMIT"],
)
async def test_a_connection_lost_at_any_step_of_a_batch_is_waited_out(
    site: "Site", severed: Callable[..., Any], words: bytes
) -> None:
    url, cut = await severed(site.settings.database_url, words)
    running = await site.start("projector", replace(site.settings, database_url=url))
    await move(site, "1")
    await move(site, "2")
    await asyncio.wait_for(cut.wait(), 10)
    await caught_up(site)
    await site.until(lambda: running.ready)
    assert site.rows("SELECT count(*), count(DISTINCT unit) FROM movement") == [(2, 2)]


async def test_a_database_that_was_not_migrated_ends_the_projector(site: "Site") -> None:
    """It must not say that it is ready, and write nothing for ever."""
    site.execute("ALTER TABLE consumer_offset RENAME TO other")
    running = site.launch("projector")
    error = await running.ends()
    assert "consumer_offset" in str(error)
    site.forget(running)
    site.execute("ALTER TABLE other RENAME TO consumer_offset")
    (movement,) = site.movements(site.scan("1"))
    await site.put_movement(movement, site.unit("1"))
    await site.start("projector")
    await until_rows(site, "SELECT unit FROM unit", [(site.unit("1"),)])
