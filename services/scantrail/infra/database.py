"""The query database: engines for SQLAlchemy over psycopg, and its migrations."""

import asyncio
import time
from pathlib import Path

import alembic.command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings, SettingsError

log = logger(__name__)

WAIT_S = 30.0
RETRY_S = 0.5

#: Two processes that migrate at once wait for each other on this advisory lock.
_MIGRATION_LOCK = 7_264_501


def sqlalchemy_url(database_url: str) -> str:
    """A `postgresql://` URL as SQLAlchemy wants it for psycopg 3."""
    try:
        url = make_url(database_url)
    except Exception as error:
        raise SettingsError(
            "SCANTRAIL_DATABASE_URL: give postgresql://user:password@host:port/name"
        ) from error
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def connect_database(settings: Settings, *, statement_timeout_s: float = 30.0) -> AsyncEngine:
    """An engine of few connections; nothing is connected yet. Statements are bounded in time."""
    return create_async_engine(
        sqlalchemy_url(settings.database_url),
        pool_size=8,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": f"-c statement_timeout={int(statement_timeout_s * 1000)} -c timezone=UTC",
        },
    )


async def until_answers(engine: AsyncEngine) -> None:
    """Wait for as long as PostgreSQL is away."""
    while True:
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            return
        except DBAPIError as error:
            log.warning("database is away", reason=str(error.orig))
            await asyncio.sleep(RETRY_S)


def migrate(settings: Settings) -> None:
    """Bring the database to the newest shape. SettingsError where none answers in time."""
    engine = create_engine(
        sqlalchemy_url(settings.database_url), connect_args={"connect_timeout": 5}
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    deadline = time.monotonic() + WAIT_S
    try:
        while True:
            try:
                connection = engine.connect()
                break
            except OperationalError as error:
                if time.monotonic() > deadline:
                    raise SettingsError(
                        f"SCANTRAIL_DATABASE_URL: no PostgreSQL answers at"
                        f" {engine.url.host}:{engine.url.port}: {error.orig}"
                    ) from error
                time.sleep(0.3)
        with connection:
            connection.execute(text(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})"))
            connection.commit()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()
