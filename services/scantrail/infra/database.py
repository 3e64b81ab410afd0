"""The query database: engines for SQLAlchemy over psycopg, and its migrations."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings, SettingsError

if TYPE_CHECKING:
    from alembic.config import Config

log = logger(__name__)

T = TypeVar("T")

WAIT_S = 30.0
RETRY_S = 0.5

#: Questions that are asked of PostgreSQL at once.
READERS_MAX = 4

#: What SQLAlchemy raises, and within COPY psycopg itself.
DATABASE_ERRORS = (DBAPIError, psycopg.Error)

#: Classes of SQLSTATE that pass: connection, read-only standby, deadlock, resources, locks,
#: an operator's or a timeout's end, the server's disk.
_PASSING = frozenset({"08", "25", "40", "53", "55", "57", "58"})

#: Classes that lie in the values: they are not of their column's kind, or too large for an index.
_REFUSED = frozenset({"22", "54"})

#: Two processes that migrate at once wait for each other on this advisory lock.
MIGRATION_LOCK = 7_264_501

#: As much for two that make the tables anew, which are exchanged, or exchange parts of them.
REBUILD_LOCK = 7_264_505

#: Held by whoever changes anything in which units are named, and alone by whoever has a product
#: fold case: neither misses the other.
FOLDING_LOCK = 0x5CA17041

#: So long whoever changes a table's shape waits for it, as all who come after wait behind him: then
#: he lets them go first, and tries again.
LOCK_WAIT_MS = 500
_LOCK_RETRY_S = 0.5

#: A lock that keeps neither readers nor writers away may be waited for so long: PostgreSQL ends its
#: own vacuum after a second for whoever waits.
QUIET_LOCK_WAIT_MS = 60_000

#: Held by others for longer, a lock is given up.
LOCK_LIMIT_S = 600.0


def sqlalchemy_url(database_url: str) -> str:
    """A `postgresql://` URL as SQLAlchemy wants it for psycopg 3."""
    try:
        url = make_url(database_url)
    except Exception as error:
        raise SettingsError(
            "SCANTRAIL_DATABASE_URL: give postgresql://user:password@host:port/name"
        ) from error
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def address_of(database_url: str) -> tuple[str, int]:
    """Host and port of a database's address."""
    url = make_url(sqlalchemy_url(database_url))
    return url.host or "localhost", url.port or 5432


def _url(settings: Settings) -> str:
    return sqlalchemy_url(settings.secret("database_url"))


def _with_password(engine: Engine, settings: Settings) -> Engine:
    """Each connection is opened with the password as it is by then: it may have been exchanged."""
    if settings.database_password or settings.database_password_file:

        @event.listens_for(engine, "do_connect")
        def tell(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
            options["password"] = settings.secret("database_password")

    return engine


def connect_database(
    settings: Settings, *, statement_timeout_s: float = 30.0, more_options: str = ""
) -> AsyncEngine:
    """An engine of few connections; nothing is connected yet. Statements are bounded in time (0:
    not at all). `more_options` is for the server, such as `-c search_path=other`."""
    engine = create_async_engine(
        _url(settings),
        pool_size=8,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # names and addresses are among them, and errors are logged
        connect_args=_connect_args(statement_timeout_s, more_options),
    )
    _with_password(engine.sync_engine, settings)
    return engine


def connect_reader(settings: Settings, *, statement_timeout_s: float) -> AsyncEngine:
    """An engine for questions of one statement that people wait for: no transaction around it, and
    no connection tried before it is used. So after a restart of PostgreSQL a question may fail by a
    connection of before: ask it once more where the error says `connection_invalidated`.

    Each statement is planned once, for whatever values: to plan it for each anew takes longer than
    to answer it where the history has many months, and all are of a few keys, by index."""
    engine = create_async_engine(
        _url(settings),
        isolation_level="AUTOCOMMIT",
        pool_size=READERS_MAX,
        max_overflow=0,
        hide_parameters=True,
        connect_args=_connect_args(statement_timeout_s, "-c plan_cache_mode=force_generic_plan"),
    )
    _with_password(engine.sync_engine, settings)
    return engine


def _connect_args(statement_timeout_s: float, more_options: str = "") -> dict[str, Any]:
    return {
        "connect_timeout": 5,
        "options": f"-c statement_timeout={int(statement_timeout_s * 1000)} -c timezone=UTC"
        f" {more_options}",
    }


def is_away(error: DBAPIError | psycopg.Error) -> bool:
    """Whether the same statement may succeed later: wait, and ask again."""
    state = sqlstate_of(error)
    if state is None:  # nobody answered at all
        return isinstance(_cause(error), psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _PASSING


def is_full(error: DBAPIError | psycopg.Error) -> bool:
    """Whether the server's disk has no more room."""
    return sqlstate_of(error) == "53100"


def is_refusal(error: DBAPIError | psycopg.Error) -> bool:
    """Whether PostgreSQL will never take these values, and would take others."""
    state = sqlstate_of(error)
    if state is None:
        return isinstance(_cause(error), psycopg.DataError)
    return state[:2] in _REFUSED


def is_lock(error: DBAPIError | psycopg.Error) -> bool:
    """Whether others held a lock, for longer than it was waited, or in a circle."""
    return sqlstate_of(error) in ("55P03", "40P01")


def sqlstate_of(error: DBAPIError | psycopg.Error) -> str | None:
    """PostgreSQL's code of five characters; None where it was not PostgreSQL that failed."""
    return getattr(_cause(error), "sqlstate", None)


def _cause(error: DBAPIError | psycopg.Error) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


async def keep_folding(connection: AsyncConnection) -> None:
    """Until the transaction ends no product comes to fold case, or not to."""
    lock = text("SELECT pg_advisory_xact_lock_shared(:lock)")
    await connection.execute(lock, {"lock": FOLDING_LOCK})


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


@contextmanager
def owner_connection(settings: Settings) -> Iterator[Connection]:
    """A connection for whoever sets up. SettingsError where no PostgreSQL answers in time."""
    engine = _with_password(
        create_engine(_url(settings), connect_args={"connect_timeout": 5}), settings
    )
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
            yield connection
    finally:
        engine.dispose()


def migrate(settings: Settings) -> None:
    """Bring the database to the newest shape. SettingsError where none answers in time."""
    with owner_connection(settings) as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise SettingsError(
                f"SCANTRAIL_DATABASE_URL: database {connection.engine.url.database} has encoding"
                f" {encoding}: create one with ENCODING 'UTF8'"
            )
        connection.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        connection.execute(text(f"SET lock_timeout = {LOCK_WAIT_MS}"))
        # Locks last to the end of a commit, which is not to wait for the disk; what was lost with a
        # server is migrated anew.
        connection.execute(text("SET synchronous_commit = off"))
        connection.commit()
        try:
            again_while_held(lambda: _make_or_nothing(connection))
        except DBAPIError as error:
            if not is_lock(error):
                raise
            raise SettingsError(
                f"the database was not migrated: others hold its tables for"
                f" {LOCK_LIMIT_S:.0f} s: does a backup or a long query run? Try again after it"
            ) from error
        connection.execute(text("SET synchronous_commit = on"))
        connection.execute(text("SELECT pg_current_xact_id()"))  # all of it is on the disk
        connection.commit()


def again_while_held(act: Callable[[], T]) -> T:
    """What `act` returns; it is done again, and again, where others hold a lock that it needs. It
    leaves nothing behind where it fails. Where they hold it for LOCK_LIMIT_S, the last error."""
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            return act()
        except DBAPIError as error:
            if not is_lock(error) or time.monotonic() > deadline:
                raise
            log.info("others hold a table: it is tried again", reason=str(error.orig))
            time.sleep(_LOCK_RETRY_S)


def _make_or_nothing(connection: Connection) -> None:
    """A migration that others keep from its tables is rolled back; those before it are there."""
    try:
        make_tables(connection)
        connection.commit()
    except DBAPIError:
        connection.rollback()
        raise


def lock_table(connection: Connection, table: str) -> None:
    """Have `table` alone for what is left of the transaction, without letting others wait for long:
    migrations call it before they change a table that is written. Once no vacuum is under way nor
    begins, it is tried again and again. Where that is for too long, the last try's error."""
    connection.execute(text(f"SET LOCAL lock_timeout = {QUIET_LOCK_WAIT_MS}"))
    connection.execute(text(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))
    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))

    def lock() -> None:
        connection.execute(text("SAVEPOINT before_lock"))
        try:
            connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        except DBAPIError as error:
            if is_lock(error):
                connection.execute(text("ROLLBACK TO SAVEPOINT before_lock"))
            raise

    again_while_held(lock)


def make_tables(connection: Connection, *, shape: str = "head") -> None:
    """Bring the first schema of the connection's search path to the newest shape, or an older."""
    import alembic.command  # here, for no process that serves needs it

    config = _migrations()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, shape)


def newest_shape() -> str:
    """The revision to which `migrate` brings a database."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_migrations()).get_current_head()
    assert head is not None
    return head


def _migrations() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
