"""History by month: the table that was becomes its first part, and months to come are others.

1. a bound is set for the table that serves, and it is looked through: nobody waits for that.
2. it takes its place as the first part of a new table, by names alone.
"""

import sqlalchemy as sa
from alembic import op

from scantrail.infra.database import LOCK_WAIT_MS, QUIET_LOCK_WAIT_MS, lock_table
from scantrail.infra.months import (
    AHEAD,
    ANALYZE_FUNCTION,
    FIRST,
    MONTHS_FUNCTION,
    OTHER,
    hanging_on,
)
from scantrail.infra.settings import SettingsError

revision = "0030"
down_revision = "0029"

#: As PostgreSQL names those of the other parts.
_INDEXES = {
    "pkey": "pkey",
    "by_parent": "parent_idx",
    "by_rma": "rma_idx",
    "by_record_time": "record_time_idx",
}

#: The start of a month that no row reaches while this runs. A clock that is ahead by less than a
#: year moves it; rows of a later one go to the part for all that has no month.
_UNTIL = sa.text(
    """
    SELECT date_trunc('month', greatest(
        CAST(now() AS timestamp) + interval '1 month 7 days',
        max(CAST(record_time AS timestamp)) FILTER (
            WHERE record_time < now() + interval '1 year') + interval '1 month'
    )) FROM movement
    """
)

#: The bound, where it was set and looked through before this was broken off, not long ago.
_BOUND = sa.text(
    """
    SELECT until FROM pg_constraint,
        substring(pg_get_constraintdef(oid) FROM '''([^'']+)''') AS until
    WHERE conrelid = CAST('movement' AS regclass) AND conname = 'movement_until' AND convalidated
    AND CAST(until AS timestamptz) > now() + interval '1 day'
    """
)
_ASTRAY = sa.text("SELECT to_regclass('movement_astray') IS NOT NULL")


def upgrade() -> None:
    connection = op.get_bind()
    if hangs := hanging_on(connection, ["movement"]):
        raise SettingsError(
            "on table movement hangs what would stay with its first part alone:"
            f" {', '.join(hangs)}: drop it, and make it again after the migration"
        )
    with op.get_context().autocommit_block():
        op.execute("SET timezone = 'UTC'")
        until = connection.execute(_BOUND).scalar()
        if until is None:
            until = _set_bound(connection)
    lock_table(connection, "movement")
    op.execute(f"ALTER TABLE movement RENAME TO {FIRST}")
    for index, of_part in _INDEXES.items():
        op.execute(f"ALTER INDEX movement_{index} RENAME TO {FIRST}_{of_part}")
    op.execute(
        f"CREATE TABLE movement (LIKE {FIRST} INCLUDING DEFAULTS) PARTITION BY RANGE (record_time)"
    )
    op.execute("ALTER TABLE movement ADD PRIMARY KEY (unit, event_id, record_time)")
    for column in ("parent", "rma"):
        op.execute(
            f"CREATE INDEX movement_by_{column} ON movement ({column}) WHERE {column} IS NOT NULL"
        )
    op.execute("CREATE INDEX movement_by_record_time ON movement USING brin (record_time)")
    op.execute(
        f"ALTER TABLE movement ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ('{until}')"
    )
    op.execute(f"ALTER TABLE {FIRST} DROP CONSTRAINT movement_until")
    op.execute(f"CREATE TABLE {OTHER} PARTITION OF movement DEFAULT")
    if connection.execute(_ASTRAY).scalar():
        op.execute("INSERT INTO movement SELECT * FROM movement_astray")
        op.execute("DROP TABLE movement_astray")
    _keep_rights(connection)
    op.create_table(
        "movement_removed",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("scans", sa.BigInteger(), nullable=False),
    )
    schema = connection.dialect.identifier_preparer.quote(
        connection.execute(sa.text("SELECT current_schema()")).scalar_one()
    )
    for function in (MONTHS_FUNCTION, ANALYZE_FUNCTION):
        op.execute(sa.text(function.replace("{schema}", schema).replace(":", "\\:")))
    op.execute("REVOKE ALL ON FUNCTION movement_months_ahead, movement_analyze FROM PUBLIC")
    op.execute(f"SELECT movement_months_ahead({AHEAD})")


def _set_bound(connection: sa.Connection) -> str:
    """Bind the table that serves to what comes before a month, and look through it."""
    until = f"{connection.execute(_UNTIL).scalar_one():%Y-%m-%d} 00:00:00+00"
    op.execute("BEGIN")
    try:
        lock_table(connection, "movement")
        op.execute("ALTER TABLE movement DROP CONSTRAINT IF EXISTS movement_until")
        op.execute(
            "ALTER TABLE movement ADD CONSTRAINT movement_until"
            f" CHECK (record_time < '{until}') NOT VALID"
        )
    except BaseException:
        op.execute("ROLLBACK")
        raise
    op.execute("COMMIT")
    beyond = sa.text(f"SELECT EXISTS (SELECT FROM movement WHERE record_time >= '{until}')")
    if connection.execute(beyond).scalar():
        op.execute("CREATE TABLE IF NOT EXISTS movement_astray (LIKE movement)")
        op.execute(
            f"WITH astray AS (DELETE FROM movement WHERE record_time >= '{until}' RETURNING *)"
            " INSERT INTO movement_astray SELECT * FROM astray"
        )
    op.execute(f"SET lock_timeout = {QUIET_LOCK_WAIT_MS}")
    op.execute("ALTER TABLE movement VALIDATE CONSTRAINT movement_until")
    op.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
    return until


def _keep_rights(connection: sa.Connection) -> None:
    """Whoever owned the table, or might do something with it, does so still."""
    preparer = connection.dialect.identifier_preparer
    owner = connection.execute(
        sa.text(
            "SELECT pg_get_userbyid(o.relowner) FROM pg_class o, pg_class n"
            " WHERE o.oid = CAST(:old AS regclass) AND n.oid = CAST('movement' AS regclass)"
            " AND o.relowner <> n.relowner"
        ),
        {"old": FIRST},
    ).scalar()
    if owner is not None:
        op.execute(f"ALTER TABLE movement OWNER TO {preparer.quote(owner)}")
        op.execute(f"ALTER TABLE {OTHER} OWNER TO {preparer.quote(owner)}")
    grants = connection.execute(
        sa.text(
            "SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee,"
            " a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
            " WHERE c.oid = CAST(:old AS regclass) AND a.grantee <> c.relowner"
        ),
        {"old": FIRST},
    ).all()
    for grant in grants:
        to = "PUBLIC" if grant.grantee is None else preparer.quote(grant.grantee)
        op.execute(f"GRANT {grant.privilege_type} ON movement TO {to}")
