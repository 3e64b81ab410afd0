"""`scantrail db scrub`: PostgreSQL's files let go of what was erased.

PostgreSQL leaves the bytes of a row that is gone where they were, until something is written over
them: in the table's file, in the statistics that it keeps of a column, and in its log (WAL).
"""

from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from scantrail.infra.database import owner_connection, sqlstate_of
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.tables import metadata

SCRUB_HELP = """\
Write anew each table in which people's names can have been, with its indexes and its statistics,
so that PostgreSQL's files have nothing of what was erased; then its log (WAL), of which files wait
to be used again with what they had. Run it after the last erasure of a day.

Each table is locked for as long as that takes: 0.3 s for 100,000 parties. It needs the
tables' owner, and for the statistics and the log a superuser; what it may not it says. Backups,
archived WAL and replicas' logs are not reached: they go with their own time.
"""

#: What comes of scans and is large; no name of a purchaser is ever in it. In the text of an alert,
#: what webhooks are told of it and a note on it there may have been one, as a person typed it.
_OF_SCANS = frozenset(
    {
        "audit",
        "consumer_offset",
        "count_session_unit",
        "identifier",
        "minted_serial",
        "movement",
        "outbox",
        "reader_status",
        "recall_serial",
        "recall_unit",
        "register_change",
        "register_unit",
        "unit",
    }
)

#: So long a table is waited for; whoever asks for it meanwhile waits too.
LOCK_S_MAX = 10

_NOT_OURS = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    " AND relname = ANY(:tables) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname"
)
_MAY_ALL = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")

_FILES = text("SELECT count(*) FROM pg_ls_waldir()")
_BEGIN_ANOTHER = text("SELECT pg_walfile_name(pg_switch_wal() + 1)")
_WRITE_LITTLE = text("SELECT pg_logical_emit_message(false, 'scantrail', 'scrub')")
_HELD_BACK = text(
    "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name < :first"
)


def scrub(settings: Settings, say: Callable[[str], None]) -> int:
    """Tell what was done; 1 where something stays as it was."""
    with owner_connection(settings) as owner:
        connection = owner.execution_options(isolation_level="AUTOCOMMIT")
        tables = sorted(metadata.tables.keys() - _OF_SCANS)
        _check_owner(connection, tables)
        connection.execute(text(f"SET lock_timeout = '{LOCK_S_MAX}s'"))
        for name in tables:
            _vacuum(connection, name)
        say(f"{len(tables)} tables are written anew")
        if not connection.execute(_MAY_ALL).scalar_one():
            say(
                "the statistics (pg_statistic) and the log (WAL) still have what they had: name a"
                " superuser in SCANTRAIL_DATABASE_URL, and run it again"
            )
            return 1
        _vacuum(connection, "pg_statistic")
        say("the statistics are written anew")
        return _scrub_log(connection, say)


def _check_owner(connection: Connection, tables: list[str]) -> None:
    """Raises SettingsError: PostgreSQL itself would only leave out what is not ours."""
    not_ours = connection.execute(_NOT_OURS, {"tables": tables}).scalars().all()
    if not_ours:
        raise SettingsError(
            f"SCANTRAIL_DATABASE_URL: its user does not own {', '.join(not_ours)}: name the owner"
            " of the tables, who runs `scantrail db migrate`"
        )


def _vacuum(connection: Connection, name: str) -> None:
    """Raises SettingsError where others hold the table for long."""
    try:
        connection.execute(text(f"VACUUM (FULL, ANALYZE) {name}"))
    except OperationalError as error:
        if sqlstate_of(error) != "55P03":
            raise
        raise SettingsError(
            f"{name} was held by others for {LOCK_S_MAX} s, as by a backup: run it again after that"
        ) from error


def _scrub_log(connection: Connection, say: Callable[[str], None]) -> int:
    """After a checkpoint no earlier file is needed, and those that are kept to be used again come
    next: a file that is left early is filled with zeros."""
    connection.execute(_WRITE_LITTLE)
    first = connection.execute(_BEGIN_ANOTHER).scalar_one()
    connection.execute(_WRITE_LITTLE)
    connection.execute(text("CHECKPOINT"))
    files = int(connection.execute(_FILES).scalar_one())
    for _ in range(files):
        connection.execute(_WRITE_LITTLE)
        connection.execute(_BEGIN_ANOTHER)
    connection.execute(_WRITE_LITTLE)
    connection.execute(text("CHECKPOINT"))
    held_back = int(connection.execute(_HELD_BACK, {"first": first}).scalar_one())
    say(f"the log is written anew: {files} files")
    if held_back:
        say(
            f"{held_back} older files of it are held back: by a replication slot, an archive that"
            " is behind, or wal_keep_size"
        )
    return 1 if held_back else 0
