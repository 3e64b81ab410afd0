"""Several ids of one unit: from the link to the key of each read, and to the tracker's names."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from component.belt import RECALL, Belt
from component.fake_outlet import FakeOutlet
from component.one_partition import GATE, NOON, Topics, scanned
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome
from scantrail.domain.product import Product
from scantrail.domain.scan import Scan, content_digest
from scantrail.domain.station import Station
from scantrail.domain.unit_ids import TOLD_BY, Identifier, join_id, told_scan
from scantrail.domain.verdict import Verdict
from scantrail.domain.vocabulary import BusinessStep, Phase
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.identifiers import Identifiers
from scantrail.gateway.intake import Intake
from scantrail.gateway.notices import Notices
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known

GTIN = "09506000134352"
IMEI, SECOND = "imei:35693803564380", "imei:49015420323751"
IMEI_READ, SECOND_READ = "356938035643809", "490154203237518"
BOX = f"sgtin:{GTIN}.1"  # R-1 of the harness recalls it
BOX_READ = f"01{GTIN}211"
RECEIVING: dict[str, Any] = {"business_step": BusinessStep.RECEIVING}


def link(id_: str, unit: str = IMEI, version: int = 1, **more: Any) -> Identifier:
    return Identifier(id=id_, unit=unit, version=version, linked_at=NOON, **more)


def told(id_: str, unit: str = IMEI, version: int = 1, **more: Any) -> Scan:
    scan = told_scan(link(id_, unit, version, **more), NOON + timedelta(minutes=1))
    assert scan is not None
    return scan


# ------------------------------------------------------------------------------- the tracker


def test_received_by_one_imei_recalled_by_its_box_and_shipped_by_the_other_imei_alerts() -> None:
    """Whichever of the links the tracker learns first, and whether before or after the gate."""
    received = scanned(IMEI, "r", 0, **RECEIVING)
    shipped = scanned(SECOND, "s", 60, **GATE)
    links = [told(BOX), told(SECOND)]
    for scans in (
        [received, *links, shipped],
        [received, *reversed(links), shipped],
        [*links, received, shipped],
        [received, links[1], shipped, links[0]],
        [received, shipped, *links],
    ):
        topics = Topics().put(*scans).track()
        alerts = {(alert.unit, alert.event_id, alert.recall) for alert in topics.alerts()}
        assert alerts == {(IMEI, "s", "R-1")}
        state = topics.state(IMEI)
        assert state.current is not None
        assert (state.current.phase, state.aliases) == (Phase.SHIPPED, tuple(sorted([BOX, SECOND])))
        assert {m.scan.event_id for m in topics.of(IMEI)} >= {"r", "s"}


def test_a_link_of_what_was_never_scanned_moves_nothing_and_contradicts_nothing() -> None:
    topics = Topics().put(scanned(IMEI, "r", 0, **RECEIVING), told(BOX)).track()
    assert [(m.unit, m.outcome, m.facts_added) for m in topics.movements] == [
        (IMEI, Outcome.MOVED, ()),
        (BOX, Outcome.JOINED, ()),
        (IMEI, Outcome.JOINED, ()),
    ]
    after = topics.of(IMEI)[-1].after
    assert after is not None
    assert (after.event_id, after.station) == ("r", "pack-1")
    assert topics.alerts() == topics.rejected == []


def test_a_link_that_is_told_again_counts_once() -> None:
    """By a second gateway, later: what was recorded when is no content."""
    first = told(BOX)
    again = told_scan(link(BOX), NOON + timedelta(days=3))
    assert again is not None
    assert (again.event_id, content_digest(again)) == (first.event_id, content_digest(first))
    topics = Topics().put(scanned(IMEI, "r", 0), first, again).track()
    assert [m.version for m in topics.of(IMEI)] == [1, 2]
    assert topics.rejected == []


def test_a_link_that_is_changed_follows_the_unit_into_another() -> None:
    topics = Topics().put(
        scanned(IMEI, "r", 0), told(BOX), told(IMEI, SECOND), told(BOX, SECOND, version=2)
    )
    topics.put(scanned(BOX, "s", 60, **GATE)).track()
    state = topics.state(SECOND)
    assert state.current is not None
    assert (state.current.phase, state.aliases) == (Phase.SHIPPED, tuple(sorted([BOX, IMEI])))
    assert topics.rejected == []


def test_a_link_that_was_taken_back_is_no_name_of_the_unit_any_more() -> None:
    topics = Topics().put(scanned(IMEI, "r", 0, **RECEIVING), told(BOX))
    back = told(BOX, BOX, version=2, takes_back=join_id(BOX, IMEI, 1))
    topics.put(back).track()
    topics.put(scanned(BOX, "b", 5), scanned(IMEI, "s", 60, **GATE)).track()
    assert topics.state(IMEI).aliases == ()
    assert (topics.state(BOX).joined, [m.scan.event_id for m in topics.of(BOX)][-1]) == (None, "b")
    assert topics.alerts() == []


def test_of_a_merged_unit_an_id_can_be_taken_back_by_the_scan_that_joined_it() -> None:
    topics = Topics().put(
        scanned(IMEI, "r", 0), told(BOX), told(IMEI, SECOND), told(BOX, SECOND, version=2)
    )
    topics.track().put(told(BOX, BOX, version=3, takes_back=join_id(BOX, IMEI, 1))).track()
    assert topics.state(SECOND).aliases == (IMEI,)
    assert topics.state(BOX).joined is None
    assert topics.rejected == []


def test_what_never_was_a_link_tells_nothing() -> None:
    assert told_scan(link(BOX, BOX), NOON) is None


# -------------------------------------------------------------------------------- the intake


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
def intake(outlet: FakeOutlet) -> Intake:
    station = Station(
        id="desk", site="north", business_step=BusinessStep.INSPECTING, read_point="desk"
    )
    readers = {"desk": ReaderSettings(id="desk", station="desk", protocol="tcp")}
    steps = (BusinessStep.RECEIVING, BusinessStep.INSPECTING)
    products = {GTIN: Product(id=GTIN, name="Phone", steps=steps)}
    units = {SECOND: IMEI, BOX: IMEI}
    known = Known(readers, {"desk": station}, products, lambda key: units.get(key, key))
    outgoing: Any = outlet
    return Intake("test", known, outgoing, now=lambda: NOON)


async def test_a_read_of_any_id_is_a_scan_of_the_unit_that_shows_what_was_read(
    intake: Intake, outlet: FakeOutlet
) -> None:
    reads = [Read(text) for text in (IMEI_READ, SECOND_READ, BOX_READ, "sn:ecu.5")]
    assert (await intake.take("desk", reads)).accepted == 4
    assert [(scan.unit, scan.read) for scan in outlet.scans] == [
        (IMEI, IMEI_READ),
        (IMEI, SECOND_READ),
        (IMEI, BOX_READ),
        ("sn:ecu.5", "sn:ecu.5"),
    ]
    assert {record.key.decode() for record in outlet.kept} == {IMEI, "sn:ecu.5"}
    assert dict(outlet.kept[1].headers)["ce_subject"] == IMEI.encode()


async def test_the_order_of_steps_is_that_of_the_product_that_was_read(
    intake: Intake, outlet: FakeOutlet
) -> None:
    await intake.take("desk", [Read(BOX_READ), Read(IMEI_READ)])
    expected = (BusinessStep.RECEIVING, BusinessStep.INSPECTING)
    assert [scan.expected_after for scan in outlet.scans] == [expected, None]


async def test_a_parent_and_another_key_are_resolved_too(
    intake: Intake, outlet: FakeOutlet
) -> None:
    reads = [Read("sn:ecu.5", parent=BOX_READ), Read("sn:ecu.5", same_as=SECOND_READ)]
    assert (await intake.take("desk", reads)).accepted == 2
    assert [(scan.parent, scan.same_as) for scan in outlet.scans] == [(IMEI, None), (None, IMEI)]


async def test_a_unit_does_not_go_into_itself_under_another_id(
    intake: Intake, outlet: FakeOutlet
) -> None:
    (refused,) = (await intake.take("desk", [Read(SECOND_READ, parent=BOX_READ)])).rejected
    assert (refused.reason, outlet.scans) == ("bad_parent", [])


async def test_what_is_known_to_be_the_same_is_a_scan_that_moves_nothing(
    intake: Intake, outlet: FakeOutlet
) -> None:
    (refused,) = (await intake.take("desk", [Read(BOX_READ, same_as=BOX)])).rejected
    assert refused.reason == "bad_same_as"
    assert (await intake.take("desk", [Read(BOX_READ, same_as=SECOND_READ)])).accepted == 1
    (scan,) = outlet.scans
    assert (scan.unit, scan.same_as) == (IMEI, IMEI)
    topics = Topics().put(scanned(IMEI, "r", 0, **RECEIVING), told(BOX), told(SECOND))
    before = topics.track().state(IMEI)
    topics.put(scan).track()
    after = topics.state(IMEI)
    assert (after.current, after.aliases) == (before.current, before.aliases)
    assert topics.of(IMEI)[-1].outcome == Outcome.JOINED
    # It had come before the link was known, and is sent again.
    first = replace(scan, unit=BOX, same_as=SECOND)
    late = Topics().put(first, told(BOX), told(SECOND)).track()
    late.put(scan).track()
    assert late.rejected == []


async def test_a_correction_goes_to_the_key_that_was_read_for_it_alone_can_take_a_join_back(
    intake: Intake, outlet: FakeOutlet
) -> None:
    await intake.take("desk", [Read(BOX_READ, corrects="j")])
    (correction,) = outlet.scans
    assert (correction.unit, correction.corrects) == (BOX, "j")
    joined = scanned(BOX, "j", 1, same_as=IMEI, **RECEIVING)
    wrong = scanned(IMEI, "w", 2, business_location="hall")
    topics = Topics().put(scanned(IMEI, "r", 0, **RECEIVING), joined, wrong, correction).track()
    assert topics.state(IMEI).aliases == ()
    # Of any other scan the tracker forwards it.
    topics = Topics().put(scanned(IMEI, "r", 0, **RECEIVING), joined, wrong)
    topics.put(replace(correction, corrects="w")).track()
    current = topics.state(IMEI).current
    assert current is not None
    assert current.business_location == "packing"


# -------------------------------------------------------------------------- the copy on disk


@contextlib.contextmanager
def copy(folder: Path, notices: Notices | None = None) -> Iterator[Identifiers]:
    ids = Identifiers("test", folder, notices or Notices())
    try:
        yield ids
    finally:
        ids.close()


def take(ids: Identifiers, *links: Identifier) -> None:
    for each in links:
        ids._take(each.id, encode(each))
    ids._save()


async def tell(ids: Identifiers, outlet: FakeOutlet, until: int) -> None:
    """Let it tell until so many scans were kept, and once more."""
    outgoing: Any = outlet
    telling = asyncio.create_task(ids.tell(outgoing, now=lambda: NOON))
    async with asyncio.timeout(5):
        while len(outlet.kept) < until:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.02)
    telling.cancel()
    await asyncio.wait({telling})


async def test_each_link_is_told_once_also_over_a_restart(
    tmp_path: Path, outlet: FakeOutlet
) -> None:
    links = [link(BOX), link(SECOND)]
    with copy(tmp_path) as ids:
        take(ids, *links)
        await tell(ids, outlet, 2)
        assert [ids.unit_of(key) for key in (IMEI, SECOND, BOX)] == [IMEI, IMEI, IMEI]
        assert ids.keys_of(IMEI) == (IMEI, *sorted((SECOND, BOX)))
        assert ids.keys_of(BOX) == (BOX,)
    with copy(tmp_path) as ids:
        assert ids.unit_of(BOX) == IMEI
        take(ids, *links)  # as it is read from Kafka anew
        await tell(ids, outlet, 2)
    assert [(scan.unit, scan.same_as, scan.event_id) for scan in outlet.scans] == [
        (each.id, IMEI, join_id(each.id, IMEI, 1)) for each in links
    ]
    assert {(scan.reader, scan.station, scan.site) for scan in outlet.scans} == {(TOLD_BY,) * 3}


async def test_a_link_waits_on_disk_until_its_scan_is_durable(
    tmp_path: Path, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.identifiers.RETRY_S", 0.01)
    outlet.full = True
    with copy(tmp_path) as ids:
        take(ids, link(BOX))
        outgoing: Any = outlet
        telling = asyncio.create_task(ids.tell(outgoing))
        async with asyncio.timeout(5):
            while outlet.calls < 3:
                await asyncio.sleep(0.01)
        telling.cancel()
        await asyncio.wait({telling})
    outlet.full = False
    with copy(tmp_path) as ids:
        await tell(ids, outlet, 1)
    assert [scan.unit for scan in outlet.scans] == [BOX]


async def test_a_removal_that_fails_loses_no_link_that_was_just_taken(
    tmp_path: Path, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.identifiers.RETRY_S", 0.01)

    def no_removal(action: int, table: str | None, *_: Any) -> int:
        is_denied = action == sqlite3.SQLITE_DELETE and table == "untold"
        return sqlite3.SQLITE_DENY if is_denied else sqlite3.SQLITE_OK

    with copy(tmp_path) as ids:
        take(ids, link(BOX))
        ids._take(SECOND, encode(link(SECOND)))  # and not yet saved
        ids._db.set_authorizer(no_removal)
        await tell(ids, outlet, 3)
        ids._db.set_authorizer(None)
        ids._save()
        assert ids.unit_of(SECOND) == IMEI
        await tell(ids, outlet, 5)
    assert {scan.unit for scan in outlet.scans} == {BOX, SECOND}


async def test_what_a_failed_commit_took_back_is_read_again(
    tmp_path: Path, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.identifiers.RETRY_S", 60)

    class Full:
        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db

        def __getattr__(self, name: str) -> Any:
            return getattr(self._db, name)

        def commit(self) -> None:
            self._db.rollback()
            raise sqlite3.OperationalError("database or disk is full")

    with copy(tmp_path) as ids:
        take(ids, link(BOX))
        ids._take(SECOND, encode(link(SECOND)))
        db, full = ids._db, Full(ids._db)
        ids._db = full  # type: ignore[assignment]
        await tell(ids, outlet, 1)
        ids._db = db
        assert ids.unit_of(SECOND) == SECOND
        with pytest.raises(sqlite3.OperationalError):  # by which `follow` begins again
            ids._save()


async def test_an_earlier_version_changes_nothing_and_a_later_one_is_told(
    tmp_path: Path, outlet: FakeOutlet
) -> None:
    back = link(BOX, BOX, version=3, takes_back=join_id(BOX, SECOND, 2))
    with copy(tmp_path) as ids:
        take(ids, link(BOX, SECOND, version=2), link(BOX, version=1))
        assert ids.unit_of(BOX) == SECOND
        take(ids, back, link(BOX, SECOND, version=2))
        assert ids.unit_of(BOX) == BOX
        await tell(ids, outlet, 2)
    assert [(scan.same_as, scan.corrects) for scan in outlet.scans] == [
        (SECOND, None),
        (None, join_id(BOX, SECOND, 2)),
    ]


def test_what_cannot_be_read_changes_nothing_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    with copy(tmp_path) as ids:
        take(ids, link(BOX))
        ids._take(BOX, b"{")
        assert ids.unit_of(BOX) == IMEI
        ids._take(BOX, None)
        assert ids.unit_of(BOX) == BOX


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identifiers.db").write_bytes(content)
    with copy(tmp_path) as ids:
        assert not ids.loaded.is_set()
        take(ids, link(BOX))
        assert ids.unit_of(BOX) == IMEI


def test_where_the_disk_fails_a_read_comes_under_its_own_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def execute(self, *_: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

    with copy(tmp_path) as ids:
        take(ids, link(BOX))
        with monkeypatch.context() as patched:
            patched.setattr(ids, "_db", Failing())
            assert ids.unit_of(BOX) == BOX
        assert ids.unit_of(BOX) == IMEI


def test_links_are_followed_over_links_also_in_a_ring(tmp_path: Path) -> None:
    other, third = "imei:10000000000000", "imei:20000000000000"
    with copy(tmp_path) as ids:
        take(ids, link(BOX), link(IMEI, SECOND), link(SECOND, other))
        for key in (BOX, IMEI, SECOND, other):
            assert ids.unit_of(key) == other
        assert ids.keys_of(other) == (other, *sorted((BOX, IMEI, SECOND)))
        assert ids.keys_of(third) == (third,)
        take(ids, link(other, IMEI))
        ring = {IMEI, SECOND, other}
        for key in (BOX, *ring):
            assert set(ids.keys_of(ids.unit_of(key)) or ()) == {BOX, *ring}


# -------------------------------------------------------------------------------- on the belt

RECALLED = f"sgtin:{GTIN}.R7"  # RECALL of the belt means it


@contextlib.asynccontextmanager
async def belt_with(folder: Path) -> AsyncIterator[tuple[Belt, Identifiers]]:
    """A belt that goes by links from Kafka, and holds what is recalled."""
    belt = Belt(folder).ready()
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    with copy(folder, belt.notices) as ids:
        by_links = belt.known._replace(unit_of=ids.unit_of, keys_of=ids.keys_of)
        belt.verdicts._known = belt.verdicts._maker._known = by_links
        yield belt, ids
    await belt.close()


async def test_between_the_records_of_a_merge_no_key_of_the_unit_is_missing(
    tmp_path: Path,
) -> None:
    merge = (link(IMEI, SECOND), link(RECALLED, SECOND, version=2))
    async with belt_with(tmp_path) as (belt, ids):
        take(ids, link(RECALLED))
        for each in (None, *merge):
            if each is not None:
                take(ids, each)
            assert (await belt.verdicts.ask("exit", Read(IMEI_READ))).reason == "recalled"
        assert (await belt.verdicts.ask("exit", Read(SECOND_READ))).reason == "recalled"


def unread(id_: str, unit: object) -> bytes:
    return json.dumps({"id": id_, "unit": unit, "linked_at": "2026-03-02T09:12Z", "of": 7}).encode()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (unread(RECALLED, IMEI).replace(b'"of": 7', b'"version": "1.0"'), True),
        (unread(RECALLED, IMEI_READ).replace(b'"of": 7', b'"version": 0'), False),
        (unread(RECALLED, [IMEI]), False),
        (unread(BOX, 7), False),
        (unread("sn:ecu.5", IMEI).replace(b'"of": 7', b'"version": 0'), False),
        (b"[]", False),
        (b"{", False),
    ],
)
async def test_while_a_link_cannot_be_read_no_unit_that_it_may_be_of_is_released(
    tmp_path: Path, value: bytes, named: bool
) -> None:
    """The belt reads a phone whose box is recalled. Of a link that does not tell both of its keys
    nobody knows of which unit it is."""
    async with belt_with(tmp_path) as (belt, ids):
        asked = partial(belt.verdicts.ask, "exit", Read(IMEI_READ))
        ids._take(RECALLED, value)
        judged = await asked()
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "not_ready")
        assert f"identifiers of {RECALLED}" in judged.detail
        other = await belt.verdicts.ask("exit", Read("sn:ecu.5"))
        assert other.reason == ("clear" if named else "not_ready")
        take(ids, link(RECALLED))
        assert (await asked()).reason == "recalled"
        ids._take(RECALLED, value)
        assert (await asked()).reason == "recalled"  # by the version before
        ids._take(RECALLED, None)
        assert (await asked()).reason == "clear"


def test_a_time_is_kept_as_it_was_told() -> None:
    at = datetime(2026, 3, 2, 9, 12, tzinfo=UTC)
    scan = told_scan(Identifier(id=BOX, unit=IMEI, linked_at=at), NOON)
    assert scan is not None
    assert (scan.event_time, scan.record_time) == (at, NOON)
