"""Roles in PostgreSQL, made as infra.rights says, by the owner of the tables."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from scantrail.infra.database import owner_connection
from scantrail.infra.rights import FUNCTIONS, GRANTS, ROLES, role_of
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.tables import metadata

#: Two that do so at once wait for each other on this advisory lock.
_LOCK = 7_264_531


def apply_roles(settings: Settings, passwords: Mapping[str, str]) -> None:
    """Give each of ROLES its rights, no other, and those of `passwords` their passwords; the tables
    are there, and `settings` are their owner's. SettingsError where PostgreSQL refuses."""
    with owner_connection(settings) as connection:
        try:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            for name in ROLES:
                _make(connection, role_of(name))
            _grant_all(connection)
            for name, password in passwords.items():
                _set_password(connection, role_of(name), password)
            connection.commit()
        except DBAPIError as error:
            raise SettingsError(
                "SCANTRAIL_DATABASE_URL: its user may not make roles or give rights"
                f" ({str(error.orig).splitlines()[0]}): it must own the tables, and have CREATEROLE"
            ) from error


def set_role_password(settings: Settings, name: str, password: str) -> None:
    """From now on only who has this password may connect as `name`; open connections go on."""
    with owner_connection(settings) as connection:
        _set_password(connection, role_of(name), password)
        connection.commit()


def set_owner_password(settings: Settings, password: str) -> None:
    """As set_role_password, for the user of these settings."""
    with owner_connection(settings) as connection:
        user = str(connection.execute(text("SELECT current_user")).scalar_one())
        _set_password(connection, user, password)
        connection.commit()


def _make(connection: Connection, role: str) -> None:
    asked = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
    if connection.execute(asked, {"role": role}).scalar() is None:
        connection.execute(text(f"CREATE ROLE {role}"))
    connection.execute(text(f"ALTER ROLE {role} LOGIN NOINHERIT"))


def _grant_all(connection: Connection) -> None:
    """In one transaction: nobody sees a role with less than it needs."""
    database = connection.dialect.identifier_preparer.quote(
        str(connection.execute(text("SELECT current_database()")).scalar_one())
    )
    connection.execute(text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
    for name in ROLES:
        role = role_of(name)
        connection.execute(text(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}"))
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            connection.execute(text(f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {role}"))
        for table, columns in _columns(connection, role):
            connection.execute(text(f"REVOKE ALL ({', '.join(columns)}) ON {table} FROM {role}"))
        for granted in GRANTS[name]:
            some = f" ({', '.join(granted.columns)})" if granted.columns else ""
            rights = ", ".join(f"{privilege}{some}" for privilege in granted.privileges)
            connection.execute(text(f"GRANT {rights} ON {granted.table} TO {role}"))
            if "INSERT" in granted.privileges:
                for sequence in _sequences(connection, granted.table):
                    connection.execute(text(f"GRANT USAGE ON SEQUENCE {sequence} TO {role}"))
        for function in FUNCTIONS[name]:
            # whoever may call it has the owner's rights: a restore without rights lets everybody
            connection.execute(text(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC"))
            connection.execute(text(f"GRANT EXECUTE ON FUNCTION {function} TO {role}"))


def _columns(connection: Connection, role: str) -> list[tuple[str, list[str]]]:
    """Where the role has rights to columns, which are not among those of the table."""
    rows = connection.execute(
        text(
            "SELECT c.relname, array_agg(DISTINCT a.attname::text) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) told"
            " WHERE c.relnamespace = 'public'::regnamespace AND told.grantee = CAST(:role AS"
            " regrole) GROUP BY 1"
        ),
        {"role": role},
    )
    return [(table, list(columns)) for table, columns in rows]


def _sequences(connection: Connection, table: str) -> list[str]:
    columns = [column.name for column in metadata.tables[table].primary_key]
    asked = text("SELECT pg_get_serial_sequence(:table, :column)")
    told = [
        connection.execute(asked, {"table": table, "column": column}).scalar() for column in columns
    ]
    return [str(sequence) for sequence in told if sequence is not None]


def _set_password(connection: Connection, role: str, password: str) -> None:
    """PostgreSQL is told what it keeps, not the password: that would stand in its log."""
    driver: Any = connection.connection.driver_connection
    pgconn = driver.pgconn
    kept = pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    quoted = connection.dialect.identifier_preparer.quote(role)
    connection.exec_driver_sql(f"ALTER ROLE {quoted} PASSWORD '{kept}'")
