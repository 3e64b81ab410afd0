"""History by month: the migration, months to come, and what is removed of old ones."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.errors
import pytest
from sqlalchemy import text

from integration.conftest import database_of_shape
from scantrail.cli.commands import run
from scantrail.cli.compared import history_differences, movement_differences
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra import months
from scantrail.infra.database import connect_database, migrate
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.months import AHEAD, thin_history
from scantrail.infra.settings import Settings, SettingsError
from scantrail.projector.rebuilding import rebuild_database
from scantrail.projector.rows import Rows, add_records

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
NOW = datetime.now(UTC)
SCAN = (
    "INSERT INTO movement (unit, event_id, record_time, version, outcome, event_time, reader,"
    " sequence, station, site, read_point, business_step)"
    " VALUES (%(unit)s, %(event)s, %(at)s, %(version)s, 'moved', %(at)s, 'r', 1, 's', 'n', 'p',"
    " %(step)s) ON CONFLICT (unit, event_id, record_time) DO UPDATE SET"
    " version = excluded.version, business_step = excluded.business_step"
    " WHERE excluded.version > movement.version"
)
PARTS = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
    " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'movement'::regclass ORDER BY 1"
)


def month(after: int) -> datetime:
    """The beginning of the month that is so many after the current one."""
    months = NOW.year * 12 + NOW.month - 1 + after
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def scan(
    database: psycopg.Connection, unit: str, event: str, at: datetime, version: int, step: str
) -> int:
    told = {"unit": unit, "event": event, "at": at, "version": version, "step": step}
    return database.execute(SCAN, told).rowcount


@pytest.fixture
def old(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The address of a database of before there were months."""
    with database_of_shape(postgres.address, "0029") as address:
        yield address


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def shape(database: psycopg.Connection) -> list[tuple[object, ...]]:
    """Columns, indexes and constraints of the history and its parts."""
    found: list[tuple[object, ...]] = []
    for query in (
        "SELECT relname, attname, attnum, format_type(atttypid, atttypmod), attnotnull,"
        " pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attnum > 0 AND relkind IN ('r', 'p') AND relname LIKE 'movement%' ORDER BY 1, 3",
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'movement%' ORDER BY 1",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated"
        " FROM pg_constraint WHERE conrelid::regclass::text LIKE 'movement%' ORDER BY 1, 2",
        "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits ORDER BY 1",
        PARTS,
    ):
        found += database.execute(query).fetchall()
    return found


def test_history_that_was_there_is_the_first_part(old: str, database: psycopg.Connection) -> None:
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON movement TO scantrail_api")
        for number, at in enumerate((month(-30), NOW, month(1), NOW.replace(year=2099))):
            scan(connection, "u", f"e{number}", at, number + 1, "storing")
        before = connection.execute("SELECT * FROM movement ORDER BY version").fetchall()
        migrate(Settings(database_url=old))
        assert connection.execute("SELECT * FROM movement ORDER BY version").fetchall() == before
        where = connection.execute("SELECT tableoid::regclass::text FROM movement ORDER BY version")
        names = [name for (name,) in where]
        assert names == [*["movement_first"] * 3, "movement_other"]
        granted = "SELECT has_table_privilege('scantrail_api', 'movement', 'SELECT')"
        assert connection.execute(granted).fetchone() == (True,)
        # a database that was empty has come to the same, but for where its months begin
        ours, fresh = dict(connection.execute(PARTS)), dict(database.execute(PARTS))
        assert len(ours) == len(fresh)
        assert ours.keys() ^ fresh.keys() <= {"movement_first"}
        assert shape(connection) == shape(database)


def test_what_hangs_on_the_table_is_named_and_nothing_is_done(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("CREATE VIEW mine AS SELECT unit FROM movement")
        with pytest.raises(SettingsError, match="view mine: drop it"):
            migrate(Settings(database_url=old))
        connection.execute("DROP VIEW mine")
        migrate(Settings(database_url=old))
        assert len(connection.execute(PARTS).fetchall()) >= 2 + AHEAD - 1


def test_a_migration_lets_others_go_first(old: str) -> None:
    """It waits for whoever reads, and nobody waits behind it for as long as that one reads."""
    with (
        psycopg.connect(old) as reading,
        psycopg.connect(old, autocommit=True, options="-c statement_timeout=5s") as asking,
        ThreadPoolExecutor(1) as pool,
    ):
        reading.execute("SELECT count(*) FROM movement").fetchall()
        migrating = pool.submit(migrate, Settings(database_url=old))
        query = (
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'movement'::regclass"
        )
        deadline = time.monotonic() + 20
        while asking.execute(query).fetchone() == (0,):
            assert time.monotonic() < deadline, "the migration does not want the table"
        started = time.monotonic()
        asking.execute("SELECT count(*) FROM movement")
        assert time.monotonic() - started < 1.0
        assert not migrating.done()
        reading.rollback()
        migrating.result(timeout=30)
        assert asking.execute(PARTS).fetchall()


def test_a_movement_that_comes_again_changes_nothing_across_months(
    database: psycopg.Connection,
) -> None:
    """The log fixes a scan's record_time: one event is in one month, however often it comes."""
    for at in (month(0), month(AHEAD), NOW.replace(year=2099)):
        assert scan(database, "u", f"e{at}", at, 2, "storing") == 1
        assert scan(database, "u", f"e{at}", at, 2, "storing") == 0
        assert scan(database, "u", f"e{at}", at, 1, "picking") == 0
        assert scan(database, "u", f"e{at}", at, 3, "packing") == 1
    rows = database.execute("SELECT version, business_step FROM movement").fetchall()
    assert rows == [(3, "packing")] * 3


def test_months_are_made_also_where_rows_wait_for_them(
    database: psycopg.Connection,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCANTRAIL_DATABASE_URL", database_url)
    last = month(AHEAD)
    name = f"movement_{last:%Y_%m}"
    database.execute(f"DROP TABLE {name}")
    scan(database, "u", "e1", last, 1, "storing")
    scan(database, "u", "e2", NOW.replace(year=2099), 2, "storing")
    assert run(["db", "months"]) == 0
    assert run(["db", "months"]) == 0
    told = capsys.readouterr().out.splitlines()
    for_ever = "history is kept for ever (SCANTRAIL_HISTORY_MONTHS)"
    assert told == ["1 months made", for_ever, "the months to come are there", for_ever]
    where = database.execute("SELECT tableoid::regclass::text FROM movement ORDER BY version")
    assert [name for (name,) in where] == [name, "movement_other"]


def test_the_projector_makes_months_and_may_do_no_more(
    database: psycopg.Connection, as_role: Callable[[str], str]
) -> None:
    name = f"movement_{month(AHEAD):%Y_%m}"
    database.execute(f"DROP TABLE {name}")
    with (
        psycopg.connect(as_role("api"), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT movement_months_ahead(3)")
    with psycopg.connect(as_role("projector"), autocommit=True) as connection:
        assert connection.execute("SELECT movement_months_ahead(3)").fetchone() == (1,)
        connection.execute("SELECT movement_analyze(true)")
        for refused in (f"DROP TABLE {name}", f"SELECT * FROM {name}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)


def end_first(database: psycopg.Connection) -> None:
    """Let the first part have ended long ago."""
    database.execute("ALTER TABLE movement DETACH PARTITION movement_first")
    database.execute(
        "ALTER TABLE movement ATTACH PARTITION movement_first FOR VALUES FROM (MINVALUE)"
        f" TO ('{month(-24):%Y-%m-%d}')"
    )


#: Of each unit the phase, and the steps of its scans.
STORY = {
    "left": ("shipped", ("receiving", "storing", "picking", "shipping")),
    "counted": ("shipped", ("receiving", "shipping", "storing", "cycle_counting")),
    "here": ("on_site", ("receiving", "storing", "picking")),
    "regulated": ("shipped", ("receiving", "storing", "shipping")),
    "recalled": ("shipped", ("receiving", "storing", "shipping")),
    "held": ("shipped", ("receiving", "storing", "shipping")),
    "other_key": ("shipped", ("receiving", "storing", "shipping")),
    "ended": ("gone", ("storing", "decommissioning")),
    "back": ("shipped", ("receiving", "storing", "shipping")),
}
STAY = {
    **STORY,
    "left": ("shipped", ("receiving", "shipping")),
    "counted": ("shipped", ("receiving", "shipping", "cycle_counting")),
    "ended": ("gone", ("decommissioning",)),
}


def test_what_may_go_is_removed_and_all_else_stays(
    database: psycopg.Connection, database_url: str
) -> None:
    database.execute("INSERT INTO regulation VALUES ('p', 1, '{}')")
    for unit, (phase, steps) in STORY.items():
        for version, step in enumerate(steps, 1):
            scan(database, unit, f"{unit}{version}", month(-30), version, step)
        database.execute(
            "INSERT INTO unit (unit, product, serial, version, phase, event_id, seen_at, held)"
            " VALUES (%s, %s, '1', %s, %s, %s, %s, %s)",
            [
                unit,
                "p" if unit == "regulated" else "q",
                len(steps),
                phase,
                f"{unit}{len(steps)}",
                NOW if unit == "back" else month(-30),
                unit == "held",
            ],
        )
    database.execute(
        "INSERT INTO unit (unit, serial, version, joined) VALUES ('k', '1', 1, 'other_key')"
    )
    database.execute("INSERT INTO recall_unit (unit) VALUES ('recalled')")
    end_first(database)
    settings = Settings(database_url=database_url, history_months=25)
    assert thin_history(settings, print) == []
    told: list[str] = []
    (done,) = thin_history(replace(settings, history_months=12), told.append)
    assert (done.scans_before - done.scans_after, told) == (
        4,
        [f"movement_first: {done.scans_before} scans, of which {done.scans_after} stay"],
    )
    rows = database.execute(
        "SELECT unit, array_agg(business_step ORDER BY version) FROM movement GROUP BY 1"
    )
    assert {unit: tuple(steps) for unit, steps in rows} == {
        unit: steps for unit, (_, steps) in STAY.items()
    }
    removed = database.execute("SELECT unit, scans FROM movement_removed ORDER BY 1").fetchall()
    assert removed == [("counted", 1), ("ended", 1), ("left", 2)]
    # a month is done once; what comes late finds its part
    assert thin_history(replace(settings, history_months=12), told.append) == []
    scan(database, "left", "late", month(-30), 5, "storing")
    where = database.execute("SELECT DISTINCT tableoid::regclass::text FROM movement").fetchall()
    assert where == [("movement_first",)]


@pytest.mark.parametrize("when", ["copying", "exchanging"])
def test_whoever_writes_into_a_month_goes_first(
    database: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    end_first(database)
    for number in range(1, 50):
        scan(database, "u", f"e{number}", month(-30), number, "storing")
    settings = Settings(database_url=database_url, history_months=12)
    waits = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'movement_first'::regclass"
    )
    with (
        psycopg.connect(database_url, options="-c statement_timeout=10s") as writing,
        psycopg.connect(database_url) as reading,
        ThreadPoolExecutor(1) as pool,
    ):
        if when == "exchanging":
            reading.execute("SELECT count(*) FROM movement").fetchall()
        told, calls = [], []

        def write_now(connection: Any, part: str) -> None:
            """As soon as it was copied, or is to be exchanged, somebody wants to write."""
            calls.append(part)
            if len(calls) == (1 if when == "copying" else 2):
                told.append(pool.submit(scan, writing, "u", "late", month(-30), 50, "storing"))
                deadline = time.monotonic() + 10
                while database.execute(waits).fetchone() == (0,):
                    assert time.monotonic() < deadline
            give_way(connection, part)

        give_way = months._give_way
        monkeypatch.setattr(months, "_give_way", write_now)
        with pytest.raises(months.CannotThin, match="nothing was removed, try again"):
            thin_history(settings, print)
        assert told[0].result(timeout=10) == 1
        writing.commit()
        reading.rollback()
    assert database.execute("SELECT count(*) FROM movement").fetchone() == (50,)
    assert database.execute("SELECT count(*) FROM movement_removed").fetchone() == (0,)


OLD = -30 * 31 * 24 * 60  # minutes
PATH = ("receiving", "storing", "picking", "packing", "staging_outbound", "shipping")


async def test_who_asks_has_the_same_answers_after_it(
    site: "Site", database: psycopg.Connection
) -> None:
    """Where a unit is, its warranty, and a recall that comes later; a rebuild brings all back."""
    settings = replace(site.settings, history_months=12)
    site.settings = settings
    end_first(database)
    for name in ("api", "projector", "alerter"):
        await site.start(name)
    await asked(site, "PUT", "/sites/north", json={"time_zone": "Etc/UTC"})
    await asked(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    term = {"months": 240, "valid_from": "2020-01-01"}
    await asked(site, "PUT", f"/products/{GTIN}/warranty", json=term)
    ada = {"id": "p-1", "name": "Ada Byron", "address": "1 Dock Road, York"}
    lines = [{"product": GTIN, "quantity": 1}]
    await asked(site, "PUT", "/orders/SO-1", json={"purchaser": ada, "lines": lines})
    for serial in ("1", "2"):
        path = PATH if serial == "1" else PATH[:-1]
        scans = [
            site.scan(
                serial,
                OLD + minute,
                business_step=BusinessStep(step),
                order="SO-1" if step == "shipping" else None,
                business_location=None if step == "shipping" else "Hall A",
            )
            for minute, step in enumerate(path)
        ]
        for movement in site.movements(*scans):
            await site.put_movement(movement, site.unit(serial))
    count = "SELECT count(*) FROM movement"
    await site.until(lambda: site.rows(count) == [(11,)])
    addresses = [
        f"/units/{site.barcode(serial)}{what}" for serial in "12" for what in ("", "/warranty")
    ]
    before = [await asked(site, "GET", address) for address in addresses]
    assert before[1]["purchaser"] == ada

    (done,) = await asyncio.to_thread(thin_history, settings, print)
    assert (done.scans_before, done.scans_after) == (11, 7)
    assert [await asked(site, "GET", address) for address in addresses] == before
    for serial, removed in (("1", "4"), ("2", None)):
        answer = await site.ask("GET", f"/units/{site.barcode(serial)}/trail")
        assert answer.headers.get("Scans-Removed") == removed
        assert len(answer.json()) == (2 if removed else 5)
    engine = connect_database(settings)
    async with engine.connect() as connection:
        assert await history_differences(connection) == []
        told = Rows()
        log = await site.log(Topic.MOVEMENTS)
        add_records(told, Topic.MOVEMENTS, await log.records())
        assert await movement_differences(connection, list(told.movements.values())) == []
        # what is missing besides is a difference
        await connection.execute(text("DELETE FROM movement WHERE business_step = 'receiving'"))
        await connection.commit()
        assert len(await history_differences(connection)) == 2
        assert len(await movement_differences(connection, list(told.movements.values()))) == 2
    await engine.dispose()

    notice = {"title": "Battery", "reason": "hot", "products": [GTIN]}
    notice |= {"selectors": [{"kind": "all"}]}
    await asked(site, "PUT", "/recalls/R-1", json=notice)
    query = "SELECT unit, event_id, kind FROM alert"
    shipping = f"1-{OLD + len(PATH) - 1}"
    raised = [(site.unit("1"), shipping, "recalled_already_shipped")]
    await site.until(lambda: site.rows(query), 30.0)
    assert site.rows(query) == raised

    await rebuild_database(settings, lambda told: None)
    assert site.rows(count) == [(11,)]
    assert site.rows("SELECT count(*) FROM movement_removed") == [(0,)]
    parts = dict(site.rows(PARTS))
    assert f"TO ('{month(-24):%Y-%m-%d}" in parts["movement_first"]
    # now both are meant by a recall
    (done,) = await asyncio.to_thread(thin_history, settings, print)
    assert (done.scans_before, done.scans_after) == (11, 11)


async def asked(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.is_success, answer.text
    return answer.json()
