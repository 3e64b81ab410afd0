"""History by month: the parts of `movement`, those to come, and what is removed of old ones.

`movement_first` has all that came before there were months, `movement_2027_01` a month of
record_time, in UTC, and `movement_other` what has no month: a clock that was years ahead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import (
    LOCK_LIMIT_S,
    LOCK_WAIT_MS,
    MIGRATION_LOCK,
    REBUILD_LOCK,
    again_while_held,
    is_lock,
    owner_connection,
)
from scantrail.infra.settings import Settings
from scantrail.infra.tables import movement

FIRST: Final = "movement_first"
OTHER: Final = "movement_other"

#: So many months after the current one are there.
AHEAD: Final = 3

#: What a thinned part has as its comment.
_THINNED: Final = "thinned"

#: Steps inside the house: of units that left, and that nobody scanned since, these may go.
INNER_STEPS: Final = frozenset(
    {
        BusinessStep.INSPECTING,
        BusinessStep.STORING,
        BusinessStep.PICKING,
        BusinessStep.PACKING,
        BusinessStep.UNPACKING,
        BusinessStep.REPAIRING,
        BusinessStep.HOLDING,
        BusinessStep.STAGING_OUTBOUND,
        BusinessStep.CYCLE_COUNTING,
        BusinessStep.STOCK_TAKING,
    }
)

#: Makes the months up to so many after the current one, and returns how many it made. Whoever calls
#: it has the rights of the tables' owner for this alone. What waits for a month in the part for all
#: others goes into its own.
MONTHS_FUNCTION: Final = f"""
CREATE OR REPLACE FUNCTION movement_months_ahead(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp
SET lock_timeout = '{LOCK_WAIT_MS}ms' SET timezone = 'UTC' AS $$
DECLARE
    since timestamp;
    until timestamp;
    name text;
    made integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7264506) THEN
        RETURN 0;
    END IF;
    SELECT max(CAST(CAST(substring(pg_get_expr(c.relpartbound, c.oid)
            FROM $re$TO \\('([^']+)'\\)$re$) AS timestamptz) AS timestamp))
        INTO since
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = CAST('movement' AS regclass);
    until := date_trunc('month', CAST(now() AS timestamp)) + make_interval(months => months + 1);
    WHILE since < until LOOP
        name := to_char(since, '"movement_"YYYY"_"MM');
        EXECUTE format('CREATE TABLE %I (LIKE movement INCLUDING DEFAULTS INCLUDING INDEXES)',
            name);
        EXECUTE format('WITH found AS (DELETE FROM {OTHER} WHERE record_time >= %L'
            ' AND record_time < %L RETURNING *) INSERT INTO %I SELECT * FROM found',
            since, since + interval '1 month', name);
        EXECUTE format('ALTER TABLE movement ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name, since, since + interval '1 month');
        since := since + interval '1 month';
        made := made + 1;
    END LOOP;
    RETURN made;
END $$
"""

#: PostgreSQL does not look by itself at a table that has parts: its plans would be guesses.
ANALYZE_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION movement_analyze(again boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF again OR NOT EXISTS (SELECT FROM pg_statistic
        WHERE starelid = CAST('movement' AS regclass) AND stainherit)
    THEN
        ANALYZE movement;
    END IF;
END $$
"""

#: How both are asked: by how many months ahead, and whether it is to look although it did before.
MAKE_MONTHS: Final = text("SELECT movement_months_ahead(:months)")
ANALYZE: Final = text("SELECT movement_analyze(:again)")

#: What stays with a table when another takes its place, of some tables by name.
_HANGING = text(
    """
    WITH wanted AS (
        SELECT to_regclass(name)::oid AS id FROM unnest(CAST(:names AS text[])) AS name
    )
    SELECT 'view ' || r.ev_class::regclass FROM pg_depend d
        JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        JOIN wanted ON wanted.id = d.refobjid
    UNION SELECT format('trigger %I on %s', t.tgname, t.tgrelid::regclass) FROM pg_trigger t
        JOIN wanted ON wanted.id = t.tgrelid WHERE NOT t.tgisinternal
    UNION SELECT format('policy %I on %s', p.polname, p.polrelid::regclass) FROM pg_policy p
        JOIN wanted ON wanted.id = p.polrelid
    UNION SELECT format('publication %I of %s', p.pubname, r.prrelid::regclass)
        FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        JOIN wanted ON wanted.id = r.prrelid
    UNION SELECT format('foreign key %I of %s', c.conname, c.conrelid::regclass)
        FROM pg_constraint c JOIN wanted ON wanted.id = c.confrelid WHERE c.contype = 'f'
    ORDER BY 1
    """
)

#: The parts of a table by name, in order.
PARTS: Final = text(
    """
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
        CAST(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''([^'']+)') AS timestamptz)
            AS since,
        CAST(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)') AS timestamptz)
            AS until,
        coalesce(obj_description(c.oid, 'pg_class') = 'thinned', false) AS is_thinned
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST(:table AS regclass)
    ORDER BY until NULLS LAST
    """
)

#: Of a part what stays: all of a unit that is here, held, was scanned since, is regulated, is meant
#: by a recall, or has other keys; of others how they came and went, what was told of them, and the
#: last scan.
_KEPT: Final = """
    m.business_step <> ALL(:inner_steps) OR m.corrects IS NOT NULL OR m.same_as IS NOT NULL
    OR m.rma IS NOT NULL OR m.lot IS NOT NULL OR m.produced_on IS NOT NULL
    OR NOT EXISTS (
        SELECT FROM unit u WHERE u.unit = m.unit AND u.phase IN ('shipped', 'gone') AND NOT u.held
        AND u.seen_at < :before AND u.joined IS NULL
        AND u.version <> m.version AND u.event_id IS DISTINCT FROM m.event_id
        AND NOT EXISTS (SELECT FROM regulation r WHERE r.id = u.product)
        AND NOT EXISTS (SELECT FROM register_unit r WHERE r.unit = u.unit)
        AND NOT EXISTS (SELECT FROM recall_unit r WHERE r.unit = u.unit)
        AND NOT EXISTS (SELECT FROM recall_parent r WHERE r.unit = u.unit OR r.parent = u.unit)
        AND NOT EXISTS (SELECT FROM unit j WHERE j.joined = u.unit)
    )
"""

#: Some pages of a part: what stays of them, and what is counted.
_THIN_PAGES: Final = """
    WITH looked_at AS MATERIALIZED (
        SELECT m.*, {stays} AS stays FROM {part} m
        WHERE m.ctid >= CAST(:first AS tid) AND m.ctid < CAST(:behind AS tid)
    ), kept AS (
        INSERT INTO {kept} ({names}) SELECT {names} FROM looked_at WHERE stays
    ), gone AS (
        INSERT INTO movement_removed AS known (unit, scans)
        SELECT unit, count(*) FROM looked_at WHERE NOT stays GROUP BY unit
        ON CONFLICT (unit) DO UPDATE SET scans = known.scans + excluded.scans
    )
    SELECT count(*), count(*) FILTER (WHERE stays) FROM looked_at
"""

#: So many pages are copied at once: a second or less, for which a writer waits.
_PAGES: Final = 2_000

_IS_WAITED_FOR: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    " AND relation = CAST(:part AS regclass))"
)

T = TypeVar("T")


class CannotThin(Exception):
    """The text says why, and the mend. History is as it was."""


@dataclass(frozen=True, slots=True)
class Thinned:
    """A part of history of which scans were removed."""

    name: str
    scans_before: int
    scans_after: int


def hanging_on(connection: Connection, names: Sequence[str]) -> list[str]:
    """What of an owner's own hangs on these tables, and would not follow a new one of the name."""
    return list(connection.execute(_HANGING, {"names": list(names)}).scalars())


def make_months(settings: Settings) -> int:
    """Make those that are missing; how many. Raises CannotThin where others hold the tables."""
    with owner_connection(settings) as connection:
        made = _patiently(lambda: _months_ahead(connection))
        connection.execute(ANALYZE, {"again": made > 0})
        connection.commit()
        return made


def _months_ahead(connection: Connection) -> int:
    with connection.begin():
        return int(connection.execute(MAKE_MONTHS, {"months": AHEAD}).scalar_one())


def thin_history(settings: Settings, say: Callable[[str], None]) -> list[Thinned]:
    """Remove what may go of each part that ended `settings.history_months` months ago or earlier.
    Nothing where that is 0. Raises CannotThin."""
    if not settings.history_months:
        return []
    done: list[Thinned] = []
    with owner_connection(settings) as connection, _alone(connection):
        before = connection.execute(
            text(
                "SELECT date_trunc('month', CAST(now() AS timestamp)"
                " - make_interval(months => :months)) AT TIME ZONE 'UTC'"
            ),
            {"months": settings.history_months},
        ).scalar_one()
        parts = connection.execute(PARTS, {"table": "movement"}).all()
        connection.commit()
        for part in parts:
            if part.until is None or part.until > before or part.is_thinned:
                continue
            done.append(_thin(connection, part.name, part.bound, before))
            say(
                f"{part.name}: {done[-1].scans_before:,} scans, of which"
                f" {done[-1].scans_after:,} stay"
            )
        if done:
            connection.execute(ANALYZE, {"again": True})
            connection.commit()
    return done


def _thin(connection: Connection, part: str, bound: str, before: datetime) -> Thinned:
    """In one transaction: what stays is copied beside the part, and takes its place. Died before
    the commit, nothing has happened. Readers go on; for a writer it is given up."""
    kept = f"{part}_thinned"
    connection.execute(text("SET LOCAL timezone = 'UTC'"))
    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
    _patiently(lambda: _nested(connection, f"LOCK TABLE {part} IN SHARE MODE"))
    connection.execute(text(f"CREATE TABLE {kept} (LIKE movement INCLUDING ALL)"))
    constraint = text("SELECT pg_get_partition_constraintdef(CAST(:part AS regclass))")
    check = connection.execute(constraint, {"part": part}).scalar_one()
    connection.execute(text(f"ALTER TABLE {kept} ADD CONSTRAINT {kept}_month CHECK ({check})"))
    names = ", ".join(column.name for column in movement.columns)
    some = text(_THIN_PAGES.format(part=part, kept=kept, names=names, stays=f"({_KEPT})"))
    pages = text("SELECT pg_relation_size(CAST(:part AS regclass)) / 8192")
    total = connection.execute(pages, {"part": part}).scalar_one()
    scans_before = scans_after = 0
    for page in range(0, total, _PAGES):
        read, stays = connection.execute(
            some,
            {
                "first": f"({page},0)",
                "behind": f"({page + _PAGES},0)",
                "inner_steps": sorted(INNER_STEPS),
                "before": before,
            },
        ).one()
        scans_before, scans_after = scans_before + read, scans_after + stays
        _give_way(connection, part)
    connection.execute(text(f"ANALYZE {kept}"))
    _take_over(connection, part, kept, bound)
    connection.commit()
    return Thinned(part, scans_before, scans_after)


def _give_way(connection: Connection, part: str) -> None:
    """Raises CannotThin where somebody waits to write into the part."""
    if connection.execute(_IS_WAITED_FOR, {"part": part}).scalar_one():
        connection.rollback()
        raise CannotThin(f"scans of {part} are written just now: nothing was removed, try again")


def _take_over(connection: Connection, part: str, kept: str, bound: str) -> None:
    """Waits for the lock by and by, so that nobody waits behind it for long."""

    def exchange() -> None:
        _give_way(connection, part)
        _nested(
            connection,
            "LOCK TABLE ONLY movement IN ACCESS EXCLUSIVE MODE",
            f"ALTER TABLE movement DETACH PARTITION {part}",
            f"DROP TABLE {part}",
            f"ALTER TABLE {kept} RENAME TO {part}",
            f"ALTER TABLE movement ATTACH PARTITION {part} {bound}",
            f"COMMENT ON TABLE {part} IS '{_THINNED}'",
        )

    _patiently(exchange)


def _nested(connection: Connection, *statements: str) -> None:
    """All of them, or none, within the transaction that goes on."""
    with connection.begin_nested():
        for statement in statements:
            connection.execute(text(statement))


def _patiently(act: Callable[[], T]) -> T:
    """Act; again where others hold what it needs. Raises CannotThin where they do for long."""
    try:
        return again_while_held(act)
    except DBAPIError as error:
        if not is_lock(error):
            raise
        raise CannotThin(
            f"others hold the table movement for {LOCK_LIMIT_S:.0f} s: does a backup or a long"
            " query run? Try again after it"
        ) from error


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """No migration and no rebuild meanwhile; the locks go with the session."""
    for lock, what in ((MIGRATION_LOCK, "a migration"), (REBUILD_LOCK, "a rebuild")):
        query = text("SELECT pg_try_advisory_lock(:lock)")
        if not connection.execute(query, {"lock": lock}).scalar_one():
            raise CannotThin(f"{what} runs: wait until it is done")
    connection.commit()
    try:
        yield
    finally:
        connection.invalidate()
