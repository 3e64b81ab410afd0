"""`scantrail db rebuild` on a real Kafka and PostgreSQL, beside a projector and an api that run."""

import asyncio
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from integration.conftest import NOON
from integration.processes import run_command
from integration.test_alerts_edge import alert
from reads import rejected_read
from scantrail.cli.rebuild import told_of_rebuild
from scantrail.contracts.records import encode, rejection_headers
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertStatus
from scantrail.domain.reader import ReaderStatus
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra import tables
from scantrail.infra.database import connect_database
from scantrail.infra.failpoints import FAILPOINT
from scantrail.infra.health import Health
from scantrail.infra.settings import SettingsError
from scantrail.infra.topic_admin import name_of
from scantrail.projector import rebuilding
from scantrail.projector.rebuilding import TABLES, CannotRebuild, Rebuilt, rebuild_database
from scantrail.projector.writing import StaleWriter, Writer

if TYPE_CHECKING:
    from integration.conftest import Site

SHIPPED = {"business_step": BusinessStep.SHIPPING, "business_location": None, "order": "SO-1"}

Rows = dict[str, Counter[Any]]


async def rebuilt(site: "Site") -> Rebuilt:
    return await rebuild_database(site.settings, lambda told: None)


def all_rows(site: "Site", *names: str) -> Rows:
    """Every row of every table, or of those that are named."""
    wanted = names or tuple(tables.metadata.tables)
    return {
        name: Counter(map(repr, site.rows(f"SELECT * FROM {name}")))  # some columns have no order
        for name in wanted
    }


async def move_all(site: "Site", serials: list[str], minute: float = 0, **more: Any) -> None:
    """A first movement of each of these units."""
    made = [site.movements(site.scan(serial, minute, **more))[0] for serial in serials]
    keys = [site.unit(serial) for serial in serials]
    await site.publish_all(Topic.MOVEMENTS, list(zip(keys, made, strict=True)))


async def caught_up(site: "Site") -> None:
    """All that is in the topics is in the database."""
    ends: dict[tuple[str, int], int] = {}
    for topic in (
        Topic.MOVEMENTS,
        Topic.ALERTS,
        Topic.SCANS_REJECTED,
        Topic.READS_REJECTED,
        Topic.READER_STATUS,
    ):
        for record in await (await site.log(topic)).records():
            ends[record.topic, record.partition] = record.offset + 1

    def stored() -> dict[tuple[str, int], int]:
        return {(topic, part): at for topic, part, at in site.rows("SELECT * FROM consumer_offset")}

    await site.until(lambda: stored() == ends)


async def ask(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.is_success, answer.text
    return answer.json()


async def lived_in(site: "Site") -> None:
    """An installation in which everything has happened: the rows that rebuilding must give back."""
    scans = [site.scan("1", n, station=f"dock-{n % 3}") for n in range(12)]
    for movement in site.movements(*scans, site.scan("1", 20, **SHIPPED), site.scan("1", 3.5)):
        await site.put_movement(movement, site.unit("1"))
    await move_all(site, [f"many-{n}" for n in range(60)])
    packed = site.scan("7", 0, parent="sscc:095060001343520000", business_step=BusinessStep.PACKING)
    await site.put_movement(site.movements(packed)[0], site.unit("7"))
    await site.publish(Topic.MOVEMENTS, "odd", b"{")
    for number in range(1, 7):
        raised = alert(site, number)
        await site.publish(Topic.ALERTS, raised.id, encode(raised))
    for number in range(3):
        told = rejected_read(f"abc{number}", NOON, event_id=f"r/1/{number}")
        await site.publish(Topic.READS_REJECTED, "r", encode(told))
    headers = rejection_headers(
        reason="not_json", detail="x", topic="t", partition=0, offset=3, version="1"
    )
    await site.publish(Topic.SCANS_REJECTED, "k", b"{{", headers=headers)
    for minute in range(3):
        status = ReaderStatus(
            id="r",
            station="dock-1",
            protocol="tcp-text",
            started_at=NOON,
            told_at=NOON + timedelta(minutes=minute),
            is_up=True,
            since=NOON,
            heard_at=None,
            clock_ahead_s=None,
            counts={"accepted": minute},
            context={},
        )
        await site.publish(Topic.READER_STATUS, "r", encode(status))
    await ask(site, "PUT", "/webhooks/w", json={"url": "http://127.0.0.1:9/x"})
    await caught_up(site)
    await ask(site, "PUT", "/stations/dock-1", json={"site": "n", "business_step": "receiving"})
    await ask(
        site,
        "PUT",
        "/orders/SO-1",
        json={"purchaser": {"id": "p", "name": "Ada", "address": "York"}, "lines": []},
    )
    ids = [alert(site, number).id for number in range(1, 7)]
    steps = {0: ["acknowledge"], 1: ["acknowledge", "resolve"], 2: ["resolve"]}
    for number, some in steps.items():
        for step in some:
            await ask(site, "POST", f"/alerts/{ids[number]}/{step}", json={"note": "seen to"})
    for number in (2, 4):  # a cause goes after a person came, and comes again
        for status, told_by in ((AlertStatus.WITHDRAWN, "w-1"), (AlertStatus.RAISED, "e-2")):
            told_alert = alert(site, number, told_by, status=status)
            await site.publish(Topic.ALERTS, told_alert.id, encode(told_alert))
    await caught_up(site)
    await ask(site, "POST", f"/alerts/{ids[3]}/acknowledge", json={"note": "again?"})
    site.execute("UPDATE rejected SET replayed_at = now() WHERE id LIKE 'r/1/1%%'")


DAMAGE = (
    "DELETE FROM unit WHERE serial IN ('many-1', 'many-2', '7')",
    "UPDATE unit SET station = 'elsewhere', version = version + 5 WHERE serial = '1'",
    "INSERT INTO unit (unit, serial, version) VALUES ('sn:x.1', '1', 1)",
    "DELETE FROM movement WHERE version IN (2, 5, 9)",
    "UPDATE movement SET site = 'south', outcome = 'late' WHERE version = 3",
    "DELETE FROM alert WHERE id LIKE '%%6'",
    "DELETE FROM alert_event WHERE alert LIKE '%%6' OR (alert LIKE '%%4' AND number = 2)",
    "UPDATE alert SET text = 'nothing', status = 'resolved' WHERE id LIKE '%%5'",
    "DELETE FROM rejected WHERE source = 'scan'",
    "UPDATE rejected SET reason = 'other' WHERE replayed_at IS NOT NULL",
    "DELETE FROM reader_status",
)


async def test_damaged_rows_are_as_they_were_and_all_others_are_untouched(site: "Site") -> None:
    """While projector and api run, which go on without being started anew."""
    api = await site.start("api")
    projector = await site.start("projector")
    await lived_in(site)
    before = all_rows(site)
    for statement in DAMAGE:
        site.execute(statement)
    damaged = all_rows(site)
    assert {name for name in before if before[name] != damaged[name]} == {
        "unit",
        "movement",
        "alert",
        "alert_event",
        "rejected",
        "reader_status",
    }
    done = await rebuilt(site)
    after = all_rows(site)
    # A webhook's deliveries go on by themselves.
    for told in (before, after):
        told["webhook_delivery"] = Counter({"rows": told["webhook_delivery"].total()})
    assert after == before
    assert done.rows_after["unit"] == 62
    assert (done.rows_before["reader_status"], done.rows_after["reader_status"]) == (0, 1)
    assert done.missed == 0
    assert "rebuilt from" in told_of_rebuild(done)
    # what comes then is written to the new tables, by the same processes
    await site.put_movement(site.movements(site.scan("8"))[0], site.unit("8"))
    late = alert(site, 9)
    await site.publish(Topic.ALERTS, late.id, encode(late))
    await caught_up(site)
    assert (await ask(site, "GET", f"/units/{site.barcode('8')}"))["station"] == "dock-1"
    await ask(site, "POST", f"/alerts/{late.id}/acknowledge", json={})
    assert site.rows("SELECT status, events FROM alert WHERE id = %s", late.id) == [
        ("acknowledged", 2)
    ]
    assert api.ready
    assert projector.ready
    schemas = site.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'public%%'")
    assert schemas == [("public",)]


async def test_the_new_tables_have_the_shape_and_the_rights_of_the_old_ones(site: "Site") -> None:
    role = f"reader_{site.settings.topic_prefix[-8:]}"
    site.execute(f"CREATE ROLE {role}")
    site.execute(f"GRANT SELECT ON unit, movement TO {role} WITH GRANT OPTION")
    site.execute(f"GRANT SELECT (id, kind), UPDATE (text) ON alert TO {role}")
    site.execute("GRANT SELECT ON rejected TO PUBLIC")
    site.execute("ALTER TABLE unit SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)")
    site.execute("ALTER TABLE alert SET (toast.autovacuum_enabled = false)")

    def shape() -> list[Any]:
        return [
            site.rows(query)
            for query in (
                "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2",
                "SELECT table_name, column_name, data_type, is_nullable, column_default"
                " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
                "SELECT relname, a.grantee, a.privilege_type, a.is_grantable FROM pg_class c,"
                " aclexplode(relacl) a WHERE relnamespace = 'public'::regnamespace"
                " AND a.grantee <> relowner ORDER BY 1, 2, 3",
                "SELECT conrelid::regclass::text, conname FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
                "SELECT relname, c.reloptions, (SELECT reloptions FROM pg_class t"
                " WHERE t.oid = c.reltoastrelid) FROM pg_class c"
                " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1",
                "SELECT attrelid::regclass::text, attname, attacl FROM pg_attribute"
                " WHERE attacl IS NOT NULL AND attrelid IN (SELECT oid FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace) ORDER BY 1, 2",
            )
        ]

    before = shape()
    assert len(before[2]) >= 3  # those of the processes' roles besides
    assert len(before[5]) >= 3
    await rebuilt(site)
    assert shape() == before
    site.execute(f"DROP OWNED BY {role}")
    site.execute(f"DROP ROLE {role}")


async def test_scans_that_come_meanwhile_are_not_lost_and_readers_see_no_gap(
    site: "Site", long_form: bool
) -> None:
    """In the long form they come faster than the projector writes them."""
    projector = await site.start("projector")
    await site.start("api")
    await move_all(site, [f"first-{n}" for n in range(2_000)])
    await caught_up(site)
    sent, is_over = list[str](), False

    async def is_near() -> bool:
        # In a thread: what rebuilds, in this loop, locks the table for a while.
        query = "SELECT count(*) FROM unit WHERE serial LIKE 'meanwhile-%%'"
        ((seen,),) = await asyncio.to_thread(site.rows, query)
        return len(sent) - int(seen) < 200

    async def scan_on() -> None:
        while not is_over:
            serials = [f"meanwhile-{len(sent) + n}" for n in range(20)]
            await move_all(site, serials)
            sent.extend(serials)
            if not long_form:
                await site.until(is_near, 60.0)

    async def look_on() -> int:
        looked = 0
        while not is_over:
            answer = await site.ask("GET", f"/units/{site.barcode('first-7')}")
            assert answer.status_code == 200, answer.text
            looked += 1
        return looked

    scanning, looking = asyncio.create_task(scan_on()), asyncio.create_task(look_on())
    try:
        for _ in range(2):
            await rebuilt(site)
    finally:
        is_over = True
        await scanning
    assert await looking > 10
    assert len(sent) > 20
    await caught_up(site)
    assert site.rows("SELECT count(*), count(DISTINCT unit) FROM movement") == [
        (2_000 + len(sent), 2_000 + len(sent))
    ]
    assert site.rows("SELECT count(*) FROM unit") == [(2_000 + len(sent),)]
    assert projector.ready


def run_rebuild(site: "Site", **more: str) -> subprocess.CompletedProcess[str]:
    return run_command(site.settings, "db", "rebuild", timeout_s=60, **more)


@pytest.mark.parametrize(
    "place", ["rebuilding", "rebuilt", "carried_over", "exchanged", "committed"]
)
async def test_killed_at_any_step_what_serves_goes_on_and_a_second_run_begins_clean(
    site: "Site", place: str
) -> None:
    await site.start("projector")
    await move_all(site, [f"{n}" for n in range(50)])
    raised = alert(site, 1)
    await site.publish(Topic.ALERTS, raised.id, encode(raised))
    await caught_up(site)
    whole = all_rows(site, *TABLES)
    site.execute("DELETE FROM unit WHERE serial LIKE '1%%'")
    damaged = all_rows(site, *TABLES)
    killed = await asyncio.to_thread(run_rebuild, site, **{FAILPOINT: f"{place}:1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert all_rows(site, *TABLES) == (whole if place == "committed" else damaged)
    await move_all(site, ["after"])
    await caught_up(site)  # nothing is left locked
    again = await asyncio.to_thread(run_rebuild, site)
    assert again.returncode == 0, again.stderr
    assert "rebuilt from" in again.stdout
    assert site.rows("SELECT count(*) FROM unit") == [(51,)]
    assert site.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'public_%%'") == []


async def test_where_no_projector_runs_it_goes_to_the_topics_end(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever held an old position is refused: nothing of it is written."""
    monkeypatch.setattr(rebuilding, "STILL_S_MAX", 0.2)
    running = await site.start("projector")
    await move_all(site, [f"{n}" for n in range(40)])
    await caught_up(site)
    await site.stop(running)
    name = name_of(site.settings, Topic.MOVEMENTS)
    engine = connect_database(site.settings)
    late = Writer(engine, {name: Topic.MOVEMENTS})
    partitions = [TopicPartition(name, n) for n in range(site.settings.partitions)]
    await late.begin(partitions)
    await move_all(site, [f"new-{n}" for n in range(40)])
    site.execute("UPDATE consumer_offset SET next_offset = 3")
    raised = alert(site, 1)
    await site.publish(Topic.ALERTS, raised.id, encode(raised))
    told: list[str] = []
    await rebuild_database(site.settings, told.append)
    assert any("no projector goes on" in line for line in told)
    assert site.rows("SELECT count(*) FROM unit") == [(80,)]
    # of alerts webhooks have yet to be told
    assert site.rows("SELECT count(*) FROM alert") == [(0,)]
    records = await (await site.log(Topic.MOVEMENTS)).records()
    for tp in partitions:
        batch = {tp: [r for r in records if r.partition == tp.partition][-1:]}
        with pytest.raises(StaleWriter):
            await late.take(batch, Health())
    await engine.dispose()
    rows = all_rows(site, "unit", "movement")
    await site.start("projector")
    await caught_up(site)
    assert all_rows(site, "unit", "movement") == rows
    assert site.rows("SELECT count(*) FROM alert") == [(1,)]


async def test_alerts_that_no_record_tells_and_rejected_reads_that_are_too_old_are_kept(
    site: "Site",
) -> None:
    await site.start("projector")
    raised = alert(site, 1)
    await site.publish(Topic.ALERTS, raised.id, encode(raised))
    await caught_up(site)
    for statement in (
        "INSERT INTO alert SELECT 'old', kind, severity, 'acknowledged', unit, event_id, station,"
        " site, event_time, text, recall, document, false, 0, 2 FROM alert",
        "INSERT INTO alert_event VALUES"
        " ('old', 1, 'raised', 'open', now(), 'raised e', null, null)",
        "INSERT INTO alert_event VALUES"
        " ('old', 2, 'acknowledged', 'acknowledged', now(), null, 'ada', 'mine')",
        "INSERT INTO rejected (id, source, reason, detail, payload, record_time)"
        " VALUES ('r/0/1#x', 'read', 'unknown_reader', '', '{}', now() - interval '99 days')",
    ):
        site.execute(statement)
    before = all_rows(site)
    assert (await rebuilt(site)).missed == 1
    assert all_rows(site) == before


async def test_who_was_erased_stays_erased_though_the_topics_have_the_name(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    await ask(site, "PUT", "/parties/p", json={"name": "Ada Quuxine", "address": "7 Zyzzyva Road"})
    read = rejected_read("SHIP TO: Ada Quuxine", NOON)
    await site.publish(Topic.READS_REJECTED, "r", encode(read))
    for number in (1, 2):
        raised = alert(site, number)
        text = f"it is held (QA: waits for ada quuxine, {number})"
        await site.publish(Topic.ALERTS, raised.id, encode(replace(raised, text=text)))
    await caught_up(site)
    await ask(site, "POST", f"/alerts/{alert(site, 2).id}/acknowledge", json={"note": "seen to"})
    told = await ask(site, "DELETE", "/parties/p/personal-data")
    assert told["still_in"] == ["topic alerts", "topic reads.rejected"]
    before = all_rows(site, "rejected", "alert")
    assert "quuxine" not in str(before).lower()
    await rebuilt(site)
    assert all_rows(site, "rejected", "alert") == before


# ------------------------------------------------------------------------------------- refused


async def test_a_topic_whose_first_movements_are_gone_is_no_source(site: "Site") -> None:
    await site.start("projector")
    await move_all(site, [f"{n}" for n in range(20)])
    await caught_up(site)
    before = all_rows(site, *TABLES)
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka_bootstrap)
    await admin.start()
    tp = TopicPartition(name_of(site.settings, Topic.MOVEMENTS), 0)
    await admin.delete_records({tp: RecordsToDelete(before_offset=2)})
    await admin.close()
    with pytest.raises(CannotRebuild, match="begins at offset 2: what came before stands in the"):
        await rebuilt(site)
    assert all_rows(site, *TABLES) == before


async def test_a_topic_that_was_made_anew_is_no_source(site: "Site") -> None:
    await site.start("projector")
    await move_all(site, [f"{n}" for n in range(20)])
    await caught_up(site)
    site.execute("UPDATE consumer_offset SET next_offset = next_offset + 100")
    with pytest.raises(CannotRebuild, match="the topic was made anew or lost records"):
        await rebuilt(site)
    assert site.rows("SELECT count(*) FROM unit") == [(20,)]


async def test_what_would_be_in_the_way_at_the_end_is_told_first(site: "Site") -> None:
    site.execute("CREATE VIEW ours AS SELECT unit FROM unit")
    site.execute("CREATE PUBLICATION all_units FOR TABLE unit")
    site.execute("ALTER TABLE unit ENABLE ROW LEVEL SECURITY")
    site.execute("CREATE POLICY some_units ON unit USING (true)")
    site.execute(
        "CREATE TRIGGER tells BEFORE UPDATE ON alert"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    site.execute("CREATE TABLE mine (unit text REFERENCES unit)")
    with pytest.raises(CannotRebuild, match="would stay with the old ones") as refused:
        await rebuilt(site)
    told = str(refused.value)
    assert (
        ": foreign key mine_unit_fkey of mine, policy some_units on unit, publication all_units of"
        " unit, trigger tells on alert, view ours: drop it"
    ) in told
    for statement in (
        "DROP VIEW ours",
        "DROP PUBLICATION all_units",
        "DROP POLICY some_units ON unit",
        "DROP TRIGGER tells ON alert",
        "DROP TABLE mine",
    ):
        site.execute(statement)
    site.execute("UPDATE alembic_version SET version_num = 'other'")
    with pytest.raises(CannotRebuild, match="scantrail db migrate first"):
        await rebuilt(site)


async def test_topics_of_another_installation_are_no_source(site: "Site") -> None:
    await site.start("projector")
    await move_all(site, ["1"])
    await caught_up(site)
    site.execute("INSERT INTO consumer_offset VALUES ('other.movements.v1', 2, 7)")
    told = r"partition 2 of other\.movements\.v1 up to 7, which is not read here .*TOPIC_PREFIX"
    with pytest.raises(CannotRebuild, match=told):
        await rebuilt(site)
    assert site.rows("SELECT count(*) FROM unit") == [(1,)]


@pytest.mark.parametrize(
    ("statements", "stays"),
    [
        # as where PostgreSQL was killed, and the last commit was not on its disk
        (["UPDATE public_rebuild.consumer_offset SET next_offset = next_offset - 1"], False),
        # as where it was started anew, and another rebuild came
        (["DROP SCHEMA public_rebuild CASCADE", "CREATE SCHEMA public_rebuild"], True),
    ],
)
async def test_tables_that_are_not_as_they_were_made_do_not_serve(
    site: "Site", monkeypatch: pytest.MonkeyPatch, statements: list[str], stays: bool
) -> None:
    await site.start("projector")
    await move_all(site, [f"{n}" for n in range(20)])
    await caught_up(site)
    exchange = rebuilding._Rebuild._exchange

    async def damaged_first(*told: Any) -> Rebuilt:
        for statement in statements:
            site.execute(statement)
        return await exchange(*told)

    monkeypatch.setattr(rebuilding._Rebuild, "_exchange", damaged_first)
    before = all_rows(site, *TABLES)
    with pytest.raises(CannotRebuild, match="not as this rebuild left them: PostgreSQL was killed"):
        await rebuilt(site)
    assert all_rows(site, *TABLES) == before
    left = site.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'public_rebuild'")
    assert bool(left) == stays  # what is another's is not removed
    monkeypatch.undo()
    assert (await rebuilt(site)).rows_after["unit"] == 20


async def test_a_full_disk_ends_it_and_what_it_made_is_removed(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.start("projector")
    await move_all(site, ["1"])
    await caught_up(site)
    prepare = rebuilding._Rebuild.prepare

    async def without_room(rebuild: Any) -> None:
        await prepare(rebuild)
        site.execute(
            "CREATE FUNCTION public_rebuild.no_room() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END $$"
        )
        site.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON public_rebuild.movement"
            " FOR EACH ROW EXECUTE FUNCTION public_rebuild.no_room()"
        )

    monkeypatch.setattr(rebuilding._Rebuild, "prepare", without_room)
    with pytest.raises(CannotRebuild, match="disk of PostgreSQL is full, and what was made so far"):
        await asyncio.wait_for(rebuilt(site), 30)
    assert site.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'public_%%'") == []
    assert site.rows("SELECT count(*) FROM unit") == [(1,)]


async def test_active_recalls_are_swept_again(site: "Site") -> None:
    for recall, status in (("r-1", "active"), ("r-2", "closed")):
        document = f'{{"status": "{status}"}}'
        site.execute("INSERT INTO recall VALUES (%s, 1, %s)", recall, document)
        site.execute("INSERT INTO recall_sweep VALUES (%s, 1, now())", recall)
    await rebuilt(site)
    assert site.rows("SELECT recall FROM recall_sweep") == [("r-2",)]


async def test_topics_that_are_not_there_are_told(site: "Site") -> None:
    site.settings = replace(site.settings, topic_prefix="nobody")
    with pytest.raises(SettingsError, match=r"no topic nobody\..*: scantrail topics apply"):
        await rebuilt(site)


async def test_a_table_that_others_hold_is_waited_for_and_then_told_of(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.start("projector")
    await move_all(site, ["1"])
    await caught_up(site)
    monkeypatch.setattr(rebuilding, "_EXCHANGE_S_MAX", 1.0)
    with psycopg.connect(site.settings.database_url) as holding:
        holding.execute("SELECT * FROM unit")  # as a backup does, for as long as it takes
        with pytest.raises(CannotRebuild, match="does a backup or a long query run"):
            await rebuilt(site)
        assert site.rows("SELECT count(*) FROM unit") == [(1,)]
        monkeypatch.setattr(rebuilding, "_EXCHANGE_S_MAX", 30.0)
        running = asyncio.create_task(rebuilt(site))
        blocked = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        await site.until(lambda: site.rows(blocked))
    assert (await running).rows_after["unit"] == 1


async def test_two_rebuilds_at_once_are_one(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "_LOCKED_S_MAX", 0.2)
    with psycopg.connect(site.settings.database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [rebuilding.REBUILD_LOCK])
        with pytest.raises(CannotRebuild, match="another rebuild runs"):
            await rebuilt(site)
    assert (await rebuilt(site)).records == 0
