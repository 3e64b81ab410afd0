"""The query database: what it must be, and which of its failures pass, which lie in the values."""

import secrets

import psycopg
import psycopg.errors as states
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from scantrail.infra import tables
from scantrail.infra.database import is_away, is_refusal, migrate, sqlalchemy_url
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
    ours = [each for each in differences if "alembic_version" not in str(each)]
    assert ours == []
