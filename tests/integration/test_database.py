"""The query database: what it must be, and which of its failures pass, which lie in the values."""

import re
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import psycopg.errors as states
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from scantrail.cli.commands import run
from scantrail.cli.rotating import exchange, take_up_owner_password
from scantrail.infra import tables
from scantrail.infra.database import is_away, is_refusal, make_tables, migrate, sqlalchemy_url
from scantrail.infra.database_roles import set_owner_password
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings, SettingsError

PASSING = [
    psycopg.OperationalError("connection refused"),
    psycopg.InterfaceError("the connection is closed"),
    states.AdminShutdown(),
    states.DeadlockDetected(),
    states.DiskFull(),
    states.LockNotAvailable(),
    states.QueryCanceled(),
    states.ReadOnlySqlTransaction(),
    states.ConnectionFailure(),
    states.IoError(),
]
REFUSED = [
    psycopg.DataError("PostgreSQL text fields cannot contain NUL"),
    states.NumericValueOutOfRange(),
    states.ProgramLimitExceeded(),
    states.UntranslatableCharacter(),
]
NEITHER = [
    psycopg.ProgrammingError("the query has 0 placeholders"),
    states.UndefinedTable(),
    states.InsufficientPrivilege(),
    states.CheckViolation(),
    states.InvalidPassword(),
]


@pytest.mark.parametrize(
    ("error", "away", "refusal"),
    [
        *((error, True, False) for error in PASSING),
        *((error, False, True) for error in REFUSED),
        *((error, False, False) for error in NEITHER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure(error: psycopg.Error, away: bool, refusal: bool) -> None:
    wrapped = DBAPIError("SELECT 1", {}, error)
    for told in (error, wrapped):
        assert (is_away(told), is_refusal(told)) == (away, refusal)


def test_a_database_that_cannot_hold_every_letter_is_refused(postgres: EmbeddedPostgres) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
    address = postgres.address.rpartition("/")[0] + f"/{name}"
    with pytest.raises(SettingsError, match=f"database {name} has encoding LATIN1: create one"):
        migrate(Settings(database_url=address))


def test_the_migrations_make_the_tables_that_the_code_describes(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    # the parts of the history are made by the month (test_months_edge)
    ours = [
        each
        for each in differences
        if "alembic_version" not in str(each)
        and not re.search(r"movement_(first|other|\d{4}_\d\d)", str(each))
    ]
    assert ours == []


def test_a_lot_that_a_voided_scan_told_is_taken_back_where_it_was_kept(
    postgres: EmbeddedPostgres,
) -> None:
    """Up to shape 26 it stayed; recalls look at such units once more."""
    name = f"old_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address = postgres.address.rpartition("/")[0] + f"/{name}"
    engine = create_engine(sqlalchemy_url(address))
    with engine.connect() as connection:
        make_tables(connection, shape="0026")
        connection.commit()
    engine.dispose()
    scan = (
        "INSERT INTO movement (unit, event_id, record_time, version, outcome, event_time, reader,"
        " sequence, station, site, read_point, business_step, corrects, lot)"
        " VALUES (%s, %s, now(), %s, 'moved', now(), 'r', 1, 's', 'n', 'p', 'storing', %s, %s)"
    )
    units = {"a": "L8", "b": "L8", "c": "L1"}
    with psycopg.connect(address, autocommit=True) as connection:
        for unit, lot in units.items():
            connection.execute(
                "INSERT INTO unit (unit, serial, version, lot, joined) VALUES (%s, '1', 3, %s, %s)",
                [unit, lot, "a" if unit == "b" else None],
            )
        for told in (
            ("a", "right", 1, None, "L7"),
            ("a", "wrong", 2, None, "L8"),
            ("a", "void", 3, "wrong", None),
            ("b", "wrong", 1, None, "L8"),  # of a key that was joined into it since
            ("c", "right", 1, None, "L1"),
        ):
            connection.execute(scan, told)
        migrate(Settings(database_url=address))
        lots = connection.execute("SELECT unit, lot FROM unit ORDER BY unit").fetchall()
        marked = connection.execute("SELECT unit, is_stale FROM recall_unit ORDER BY 1").fetchall()
    assert lots == [("a", "L7"), ("b", None), ("c", "L1")]
    assert marked == [("a", True), ("b", True)]


def test_roles_are_given_their_rights_and_no_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCANTRAIL_DATABASE_URL", database_url)
    has = "SELECT has_table_privilege(%s, %s, %s)"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("REVOKE SELECT ON unit FROM scantrail_api")
        owner.execute("GRANT SELECT ON party TO scantrail_projector")
        owner.execute("GRANT EXECUTE ON FUNCTION movement_months_ahead TO PUBLIC")  # as a restore
        assert run(["db", "roles"]) == 0
        for role, table, right, expected in (
            ("scantrail_api", "unit", "SELECT", True),
            ("scantrail_projector", "party", "SELECT", False),
            ("scantrail_projector", "movement", "INSERT", True),
        ):
            row = owner.execute(has, [role, table, right]).fetchone()
            assert row == (expected,), (role, table)
        for role, expected in (("scantrail_api", False), ("scantrail_projector", True)):
            may = owner.execute(
                "SELECT has_function_privilege(%s, 'movement_months_ahead(integer)', 'EXECUTE')",
                [role],
            ).fetchone()
            assert may == (expected,), role
    told = capsys.readouterr().out
    assert told == "roles have their rights: scantrail_projector, scantrail_api\n"


# ------------------------------------------------------------------------ the owner's password


@pytest.fixture
def own_role(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a user of this test alone, whose password is in a file."""
    name = f"owner_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'first'")
    file = tmp_path / "password"
    file.write_text("first")
    url = urlsplit(postgres.address)
    bare = url._replace(netloc=f"{name}@{url.netloc.rpartition('@')[2]}")
    yield Settings(database_url=urlunsplit(bare), database_password_file=str(file))
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {name}")


def connects(settings: Settings) -> bool:
    """With the password as it is in the file by now."""
    try:
        psycopg.connect(
            settings.secret("database_url"), password=settings.secret("database_password")
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def test_an_exchange_that_died_before_postgresql_had_the_password_is_begun_anew(
    own_role: Settings,
) -> None:
    path = Path(own_role.database_password_file)
    with pytest.raises(KeyboardInterrupt):
        exchange(path, died)
    take_up_owner_password(own_role, path)
    assert connects(own_role)
    exchange(path, partial(set_owner_password, own_role))
    assert connects(own_role)
    assert path.read_text() != "first"


def test_an_exchange_that_died_when_postgresql_had_the_password_is_ended(
    own_role: Settings,
) -> None:
    def die_after(password: str) -> None:
        set_owner_password(own_role, password)
        died(password)

    path = Path(own_role.database_password_file)
    with pytest.raises(KeyboardInterrupt):
        exchange(path, die_after)
    assert not connects(own_role)
    take_up_owner_password(own_role, path)
    assert connects(own_role)
    assert [each.name for each in path.parent.iterdir() if each.name != path.name] == []


def test_where_postgresql_takes_neither_password_both_are_kept(own_role: Settings) -> None:
    path = Path(own_role.database_password_file)
    path.write_text("wrong")
    path.with_name("password.next").write_text("wrong too")
    with pytest.raises(SettingsError, match="neither the password of"):
        take_up_owner_password(own_role, path)
    assert (path.read_text(), path.with_name("password.next").exists()) == ("wrong", True)


def died(*_: object) -> None:
    """As by Ctrl-C."""
    raise KeyboardInterrupt
