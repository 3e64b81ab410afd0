"""`scantrail check` beside a tracker, its store, a projector and an api that run."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rocksdict

from integration.processes import Process, started
from scantrail.cli import check as checks
from scantrail.cli import commands
from scantrail.cli.check import CannotCheck, Checked, check
from scantrail.contracts.records import decode_state, encode, encode_state, movements
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.failpoints import FAILPOINT
from scantrail.projector.rebuilding import rebuild_database
from scantrail.tracker.stores import store_folders

if TYPE_CHECKING:
    from integration.conftest import Site

CARTON = "sscc:095060001343520000"
UNITS = [f"{n}" for n in range(30)]


@pytest.fixture
async def at_work(site: "Site", tmp_path: Path) -> AsyncIterator[tuple["Site", Process]]:
    """An installation in which all sorts of scans were folded and projected; its tracker runs."""
    site.settings = replace(site.settings, tracker_store="rocksdb")
    await site.start("projector")
    with started(site.settings, tmp_path, "tracker") as (tracker,):
        await asyncio.to_thread(tracker.await_ready)
        await scan_all(site)
        folded = len(await (await site.log(Topic.MOVEMENTS)).records())
        count = "SELECT count(*) FROM movement"
        await site.until(lambda: site.rows(count) == [(folded,)])
        yield site, tracker


async def scan_all(site: "Site") -> None:
    scans = [site.scan(serial, n) for n in range(3) for serial in UNITS]
    scans += [site.scan("0", 30, business_step=BusinessStep.SHIPPING, order="SO-1")]
    scans += [site.scan("0", 1.5, station="late")]
    scans += [site.scan("1", 40, business_step=BusinessStep.PACKING, parent=CARTON)]
    wrong = site.scan("2", 1)
    scans += [site.scan("2", 50, corrects=wrong.event_id)]
    carton = replace(site.scan("c"), unit=CARTON, event_id="c-1")
    scans += [replace(carton, station="dock-9", event_id="c-2", event_time=scans[-1].event_time)]
    await site.publish_all(Topic.SCANS, [(scan.unit, encode(scan)) for scan in scans])
    await site.publish(Topic.SCANS, site.unit("x"), b"{")

    async def is_folded() -> bool:
        told = [
            movements.decode(r.value) for r in await (await site.log(Topic.MOVEMENTS)).records()
        ]
        return len(told) >= len(scans) + 1  # one is derived for what is inside the carton

    await site.until(is_folded, 40.0)


async def checked(site: "Site", *, history: bool = False) -> Checked:
    return await check(site.settings, lambda told: None, history=history)


async def test_where_all_agree_there_is_no_difference_and_what_was_compared_is_told(
    at_work: tuple["Site", Process], capsys: pytest.CaptureFixture[str]
) -> None:
    site, _ = at_work
    await site.start("api")
    await site.ask("PUT", "/stations/dock-1", json={"site": "n", "business_step": "receiving"})
    done = await checked(site, history=True)
    assert done.differences == []
    assert done.counts == {
        "units": 31,
        "units in local stores": 31,
        "movements": 96,
        "records of movements": 96,
        "audit rows": 1,
    }
    assert done.told().startswith("no differences: 31 units, 31 units in local stores, 96 mov")


async def test_while_scans_come_nothing_that_is_under_way_is_a_difference(
    at_work: tuple["Site", Process],
) -> None:
    site, _ = at_work
    is_over, minute = False, 100

    async def scan_on() -> None:
        nonlocal minute
        while not is_over:
            scans = [site.scan(serial, minute) for serial in UNITS]
            scans += [site.scan(f"new-{minute}-{n}") for n in range(10)]
            await site.publish_all(Topic.SCANS, [(scan.unit, encode(scan)) for scan in scans])
            minute += 1
            await site.until(is_near, 60.0)  # a tracker that falls behind is another story

    def is_near() -> bool:
        ((version,),) = site.rows("SELECT version FROM unit WHERE serial = '5'")
        return minute - 100 - (int(version) - 3) < 20

    scanning = asyncio.create_task(scan_on())
    try:
        for _ in range(2):
            assert (await checked(site, history=True)).differences == []
    finally:
        is_over = True
        await scanning
    assert minute > 105


REBUILD = "scantrail db rebuild"
UNIT = "sgtin:09506000134352"


#: What is done to the database, and what is told of it; None: of every unit something.
DAMAGE: list[tuple[str, list[str] | None]] = [
    (
        "DELETE FROM unit WHERE serial = '3'",
        [
            f"{UNIT}.3: its history has 3 movements, and the unit has no row: {REBUILD}",
            f"{UNIT}.3: the database has no row of it, the changelog version 3: {REBUILD}",
        ],
    ),
    (
        "UPDATE unit SET station = 'elsewhere', business_location = NULL WHERE serial = '4'",
        [
            f"{UNIT}.4: station is elsewhere in the database, dock-1 in the changelog; place is"
            f" nothing in the database, Hall A in the changelog: {REBUILD}"
        ],
    ),
    (
        "UPDATE unit SET phase = 'shipped' WHERE serial = '4'",
        [
            f"{UNIT}.4: phase is shipped in the database, on_site in the changelog: {REBUILD}",
        ],
    ),
    (
        "UPDATE unit SET parent = NULL WHERE serial = '1'",
        [
            f"{UNIT}.1: parent is nothing in the database, {CARTON} in the changelog: {REBUILD}",
        ],
    ),
    (
        "UPDATE unit SET joined = 'sn:y.1' WHERE serial = '5'",
        [
            f"{UNIT}.5: joined is sn:y.1 in the database, nothing in the changelog: {REBUILD}",
        ],
    ),
    (
        "UPDATE unit SET held = true WHERE serial = '5'",
        [f"{UNIT}.5: hold is True in the database, False in the changelog: {REBUILD}"],
    ),
    (
        "UPDATE unit SET version = 2 WHERE serial = '6'",
        [
            f"{UNIT}.6: its history has 3 movements of 2: {REBUILD}",
            f"{UNIT}.6: the database has version 2, the changelog 3: {REBUILD}",
        ],
    ),
    (
        "DELETE FROM movement WHERE unit LIKE '%%.7' AND version = 2",
        [f"{UNIT}.7: its history has 2 movements of 3, without version 2: {REBUILD}"],
    ),
    (
        "UPDATE movement SET event_id = '8-0' WHERE unit LIKE '%%.8' AND version = 2;"
        " UPDATE movement SET record_time = now() WHERE unit LIKE '%%.8' AND version = 2",
        [
            f"{UNIT}.8: its history tells an event twice: 3 movements of 2 events: {REBUILD}",
        ],
    ),
    (
        "INSERT INTO unit (unit, serial, version) VALUES ('sn:x.1', '1', 1)",
        [
            f"sn:x.1: its history has 0 movements of 1, without version 1: {REBUILD}",
            f"sn:x.1: the database has version 1 of it, the changelog nothing: {REBUILD}",
        ],
    ),
    (
        "DELETE FROM unit; DELETE FROM movement",
        None,
    ),
]


async def test_each_kind_of_damage_to_the_database_is_told_with_its_mend_which_mends_it(
    at_work: tuple["Site", Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _ = at_work
    monkeypatch.setattr(checks, "TRACKER_STILL_S_MAX", 1.0)
    rounds = at_once(DAMAGE)
    assert len(rounds) == 3
    for damages, told in rounds:
        assert (await checked(site)).differences == [], damages
        for statement in ";".join(damages).split(";"):
            site.execute(statement)
        done = await checked(site)
        if told is None:
            assert len(done.differences) == 31
        else:
            assert sorted(done.differences) == sorted(told)
        assert f"\n{len(done.differences)} differences: 31 un" in done.told()
        await rebuild_database(site.settings, lambda told: None)
    assert (await checked(site, history=True)).differences == []


def at_once(
    damages: list[tuple[str, list[str] | None]],
) -> list[tuple[list[str], list[str] | None]]:
    """Damages of different units together, for each round costs a rebuild; what is of all alone."""
    rounds: list[tuple[list[str], list[str]]] = []
    alone: list[tuple[list[str], None]] = []
    for damage, told in damages:
        if told is None:
            alone.append(([damage], None))
            continue
        units = {line.split(": ")[0] for line in told}
        for some, lines in rounds:
            if units.isdisjoint(line.split(": ")[0] for line in lines):
                some.append(damage)
                lines.extend(told)
                break
        else:
            rounds.append(([damage], list(told)))
    return [*rounds, *alone]


async def test_a_movement_that_was_altered_is_found_against_the_topic(
    at_work: tuple["Site", Process],
) -> None:
    site, _ = at_work
    site.execute("UPDATE movement SET read_point = 'x' WHERE unit LIKE '%%.9' AND version = 2")
    assert (await checked(site)).differences == []
    assert (await checked(site, history=True)).differences == [
        f"{UNIT}.9: its history has the movement of version 2 otherwise than the topic: {REBUILD}"
    ]
    site.execute("DELETE FROM movement WHERE unit LIKE '%%.9'")
    assert (
        f"{UNIT}.9: its history lacks the movement of version 3: {REBUILD}"
        in (await checked(site, history=True)).differences
    )


async def test_an_audit_that_was_altered_is_told(site: "Site") -> None:
    await site.start("projector")
    await site.start("api")
    await site.ask("PUT", "/stations/dock-1", json={"site": "n", "business_step": "receiving"})
    assert (await checked(site)).differences == []
    site.execute("ALTER TABLE audit DISABLE TRIGGER ALL")
    site.execute("UPDATE audit SET reference = 'dock-2'")
    (told,) = (await checked(site)).differences
    assert told.startswith("audit: row 1 is broken: ")
    assert told.endswith(": restore the audit from a backup")


async def test_what_postgresql_refuses_is_told_as_that(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TRACKER_STILL_S_MAX", 0.5)  # none runs here
    site.execute(
        "CREATE FUNCTION narrow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF new.version = 2 THEN RAISE 'too wide for an index' USING ERRCODE = '54000'; END IF;"
        " RETURN new; END $$"
    )
    site.execute(
        "CREATE TRIGGER narrow BEFORE INSERT ON movement FOR EACH ROW EXECUTE FUNCTION narrow()"
    )
    await site.start("projector")
    for movement in site.movements(*(site.scan("1", n) for n in range(3))):
        await site.put_movement(movement, site.unit("1"))
    await site.until(lambda: site.rows("SELECT 1 FROM unit WHERE version = 3"))
    done = await checked(site, history=True)
    see = "scantrail rejected list --reason refused_by_database"
    assert f"{UNIT}.1: its history has 2 movements of 3, without version 2: {see}" in (
        done.differences
    )
    assert f"{UNIT}.1: its history lacks the movement of version 2: {see}" in done.differences


async def states(site: "Site", serial: str) -> list[bytes]:
    records = await (await site.log(Topic.UNITS)).records()
    return [r.value for r in records if r.key == site.unit(serial).encode()]


async def test_a_changelog_that_is_wrong_is_told_from_a_database_that_is(
    at_work: tuple["Site", Process],
) -> None:
    site, tracker = at_work
    tracker.terminate()
    assert tracker.status_within(20.0) == 0
    state = decode_state((await states(site, "3"))[-1])
    assert state.current is not None
    moved = state._replace(current=state.current._replace(station="nowhere"))
    await site.publish(Topic.UNITS, site.unit("3"), encode_state(moved))
    await site.publish(Topic.UNITS, site.unit("4"), state_of_nothing := b"\x93\xa1x\x01\x05")
    await site.publish(Topic.UNITS, site.unit("odd"), b"{")
    done = await checked(site)
    assert len(state_of_nothing) == 5
    assert (
        f"{UNIT}.3: station is dock-1 in the database, nowhere in the changelog:"
        f" scantrail refold {UNIT}.3" in done.differences
    )
    assert f"{UNIT}.odd: its only record in the changelog is no state" in "".join(done.differences)


async def test_a_store_that_has_other_states_than_its_changelog_is_told(
    at_work: tuple["Site", Process],
) -> None:
    """Of what the changelog tells later than the store is, nothing is said."""
    site, tracker = at_work
    tracker.terminate()
    assert tracker.status_within(20.0) == 0
    folders = dict(store_folders(Path(site.settings.data_dir)))
    records = await (await site.log(Topic.UNITS)).records()
    partition = {r.key: r.partition for r in records}
    damaged: dict[str, str] = {}
    options = rocksdict.Options(raw_mode=True)
    for serial, value in (("3", b"{"), ("4", None), ("invented", b"{")):
        key = site.unit(serial).encode()
        folder = folders[partition.get(key, 0)]
        db = rocksdict.Rdict(str(folder), options=options)
        if value is None:
            db.delete(key)
        else:
            db.put(key, value)
        db.close()
        damaged[serial] = f"stop its tracker, remove {folder}, and start it"
    last = decode_state((await states(site, "5"))[-1])
    await site.publish(Topic.UNITS, site.unit("5"), encode_state(last._replace(offset=10_000)))
    assert sorted((await checked(site)).differences) == [
        f"{UNIT}.3: the local store has folded it up to offset None of `scans`, the changelog up to"
        f" {decode_state((await states(site, '3'))[-1]).offset}: {damaged['3']}",
        f"{UNIT}.4: the local store does not have it, and the changelog does: {damaged['4']}",
        f"{UNIT}.invented: the local store has it, and the changelog does not:"
        f" {damaged['invented']}",
    ]
    for folder in folders.values():
        next(folder.glob("CURRENT")).write_text("nothing")
    done = await checked(site)
    assert len(done.differences) == len(folders)
    assert all("cannot be read" in told for told in done.differences)


async def test_a_projector_that_is_behind_is_waited_for_and_one_that_stands_still_is_told(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    (movement,) = site.movements(site.scan("1"))
    await site.put_movement(movement, site.unit("1"))
    monkeypatch.setattr(checks, "TRACKER_STILL_S_MAX", 0.5)  # none runs here
    monkeypatch.setattr(checks, "STILL_S_MAX", 0.5)
    with pytest.raises(CannotCheck, match=r"the projector is 1 records? behind .*: is it running"):
        await checked(site)
    monkeypatch.setattr(checks, "STILL_S_MAX", 30.0)
    checking = asyncio.create_task(checked(site))
    await site.start("projector")
    assert (await checking).counts["movements"] == 1


async def test_a_tracker_that_died_between_movement_and_changelog_is_behind_and_nothing_differs(
    site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TRACKER_STILL_S_MAX", 0.5)
    await site.start("projector")
    with started(site.settings, tmp_path, "tracker", environ={FAILPOINT: "sent:1"}) as (tracker,):
        await site.publish(Topic.SCANS, site.unit("1"), encode(site.scan("1")))
        await asyncio.to_thread(tracker.status_within, 40.0)
    await site.until(lambda: site.rows("SELECT 1 FROM unit"))
    with pytest.raises(CannotCheck, match=r"the tracker is 1 scans behind .*: is it running"):
        await checked(site)
    with started(site.settings, tmp_path, "tracker"):

        async def is_kept() -> bool:
            return bool(await states(site, "1"))

        await site.until(is_kept, 40.0)
        assert (await checked(site)).differences == []


async def test_the_command_ends_with_1_where_anything_differs(
    site: "Site", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.start("projector")
    monkeypatch.setattr(commands, "load_settings", lambda *_: site.settings)
    assert await asyncio.to_thread(commands.run, ["check"]) == 0
    assert capsys.readouterr().out.startswith("no tracker's store is in ")
    site.execute("INSERT INTO unit (unit, serial, version) VALUES ('sn:x.1', '1', 1)")
    monkeypatch.setattr(checks, "TRACKER_STILL_S_MAX", 0.2)
    assert await asyncio.to_thread(commands.run, ["check"]) == 1
    assert "sn:x.1: the database has version 1 of it" in capsys.readouterr().out
