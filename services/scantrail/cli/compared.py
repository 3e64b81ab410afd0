"""The database held against the tracker's states and against itself, in SQL: units may be many."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row as DatabaseRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.infra import tables
from scantrail.infra.months import INNER_STEPS
from scantrail.projector.rows import Row
from scantrail.projector.writing import TOLD_ONCE

#: More differences than a person reads are not told.
DIFFERENCES_MAX = 1_000

_COLUMNS = [column.name for column in tables.unit.columns]
#: What the tracker's state does not have: the lot and day of production of the last scan that told
#: them.
_NOT_TOLD = {"held", *TOLD_ONCE}
_COMPARED = [
    name for name in _COLUMNS if name not in ("unit", "product", "serial") and name not in _NOT_TOLD
]
_VERSION = _COLUMNS.index("version")

#: What a person at a dock calls the columns.
_WORDS = {
    "business_location": "place",
    "possessing_party": "custody",
    "order_ref": "order",
    "event_id": "last event",
    "is_held": "hold",
}

#: As api.queries tells it: also where the tracker failed on a scan and made no movement of it.
_IS_HELD = (
    "(u.held OR EXISTS (SELECT FROM rejected r"
    " WHERE r.unit = u.unit AND r.unit_version >= u.version))"
)


class Difference(NamedTuple):
    """What is told otherwise of a unit."""

    unit: str
    what: str
    #: both sides, to see whether anything moved since
    seen: Any
    #: whether the database has scans of it that the tracker's state has not
    is_ahead: bool = False


async def keep_told(connection: AsyncConnection, rows: Iterable[Row]) -> None:
    """Take over what the tracker says of units, in place of what it said before."""
    await connection.execute(
        text("CREATE TEMP TABLE IF NOT EXISTS told_unit (LIKE unit, PRIMARY KEY (unit))")
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    names = ", ".join(_COLUMNS)
    await connection.execute(
        text("CREATE TEMP TABLE IF NOT EXISTS told_now (LIKE unit) ON COMMIT DELETE ROWS")
    )
    async with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY told_now ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            await copy.write_row(row)
    update = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
    await connection.execute(
        text(
            f"INSERT INTO told_unit ({names}) SELECT {names} FROM told_now"
            f" ON CONFLICT (unit) DO UPDATE SET {update}"
        )
    )
    await connection.commit()


async def unit_differences(
    connection: AsyncConnection, units: Sequence[str] | None = None
) -> list[Difference]:
    """Units, of these or of all, that the database has otherwise than the tracker told."""
    told, ours = (", ".join(f"{side}.{name}" for name in _COMPARED) for side in "tu")
    both = ", ".join(
        f"{side}.{name} AS {word}_{name}"
        for side, word in (("t", "told"), ("u", "ours"))
        for name in _COMPARED
    )
    query = text(
        f"SELECT coalesce(t.unit, u.unit) AS unit, {both}, t.held AS told_is_held,"
        f" {_IS_HELD} AS ours_is_held"
        " FROM told_unit t FULL JOIN unit u ON u.unit = t.unit"
        f" WHERE (t.unit IS NULL OR u.unit IS NULL OR ({told}) IS DISTINCT FROM ({ours})"
        f" OR t.held IS DISTINCT FROM {_IS_HELD})"
        + (" AND coalesce(t.unit, u.unit) = ANY(:units)" if units is not None else "")
        + f" ORDER BY 1 LIMIT {DIFFERENCES_MAX}"
    )
    rows = await connection.execute(query, {} if units is None else {"units": list(units)})
    found = [_difference(row) for row in rows]
    await connection.commit()
    return found


def _difference(row: DatabaseRow[Any]) -> Difference:
    told = {name: getattr(row, f"told_{name}") for name in (*_COMPARED, "is_held")}
    ours = {name: getattr(row, f"ours_{name}") for name in (*_COMPARED, "is_held")}
    seen = (tuple(told.values()), tuple(ours.values()))
    if ours["version"] is None:
        what = f"the database has no row of it, the changelog version {told['version']}"
        return Difference(row.unit, what, seen)
    if told["version"] is None:
        what = f"the database has version {ours['version']} of it, the changelog nothing"
        return Difference(row.unit, what, seen, is_ahead=True)
    if ours["version"] != told["version"]:
        what = f"the database has version {ours['version']}, the changelog {told['version']}"
        return Difference(row.unit, what, seen, is_ahead=ours["version"] > told["version"])
    names = [name for name in told if told[name] != ours[name]]
    what = "; ".join(
        f"{_WORDS.get(name, name)} is {_shown(ours[name])} in the database,"
        f" {_shown(told[name])} in the changelog"
        for name in names
    )
    return Difference(row.unit, what, seen)


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


async def history_differences(connection: AsyncConnection) -> list[Difference]:
    """Units whose history does not have each version from 1 to the unit's own once, but for what
    was removed of it, and each event once (I1, I7)."""
    query = text(
        "SELECT coalesce(m.unit, u.unit) AS unit, u.version, coalesce(m.rows, 0) AS rows,"
        " coalesce(m.versions, 0) AS versions, coalesce(m.events, 0) AS events, m.last,"
        " coalesce(r.scans, 0) AS removed"
        " FROM (SELECT unit, count(*) AS rows, count(DISTINCT version) AS versions,"
        "   count(DISTINCT event_id) AS events, max(version) AS last"
        "   FROM movement GROUP BY unit) m FULL JOIN unit u ON u.unit = m.unit"
        " LEFT JOIN movement_removed r ON r.unit = u.unit"
        " WHERE u.unit IS NULL OR m.unit IS NULL OR m.last <> u.version"
        " OR m.versions + coalesce(r.scans, 0) <> u.version"
        " OR m.rows <> m.versions OR m.events <> m.rows"
        f" ORDER BY 1 LIMIT {DIFFERENCES_MAX}"
    )
    rows = (await connection.execute(query)).all()
    found = []
    for row in rows:
        if row.version is None:
            what = f"its history has {row.rows} movements, and the unit has no row"
        elif row.versions + row.removed == row.version == row.last:
            what = f"its history tells an event twice: {row.rows} movements of {row.events} events"
        else:
            missing = text(
                "SELECT array(SELECT n FROM generate_series(1, :version) n WHERE NOT EXISTS"
                " (SELECT FROM movement WHERE unit = :unit AND version = n) LIMIT 5)"
            )
            gone = (
                await connection.execute(missing, {"unit": row.unit, "version": row.version})
            ).scalar_one()
            lacks = f", without version {', '.join(map(str, gone))}" if gone else ""
            removed = f", {row.removed} of which were removed" if row.removed else ""
            what = f"its history has {row.rows} movements of {row.version}{removed}{lacks}"
        found.append(Difference(row.unit, what, tuple(row)))
    await connection.commit()
    return found


async def movement_differences(
    connection: AsyncConnection, rows: Sequence[Row]
) -> list[Difference]:
    """Those of these movements, as topics tell them, that history has otherwise or not at all."""
    names = [column.name for column in tables.movement.columns]
    columns = ", ".join(names)
    await connection.execute(
        text("CREATE TEMP TABLE IF NOT EXISTS told_movement (LIKE movement) ON COMMIT DELETE ROWS")
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY told_movement ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            await copy.write_row(row)
    told, ours = (", ".join(f"{side}.{name}" for name in names) for side in "tm")
    query = text(
        "SELECT t.unit, t.version, m.version IS NULL AS is_missing, m.version AS other"
        " FROM told_movement t LEFT JOIN movement m"
        " ON (m.unit, m.event_id, m.record_time) = (t.unit, t.event_id, t.record_time)"
        " WHERE (m.version IS NULL AND NOT (t.business_step = ANY(:inner_steps)"
        "   AND EXISTS (SELECT FROM movement_removed r WHERE r.unit = t.unit)))"
        " OR m.version < t.version"
        f" OR (m.version = t.version AND ({told}) IS DISTINCT FROM ({ours})) ORDER BY 1, 2"
    )
    found = []
    inner_steps = {"inner_steps": sorted(INNER_STEPS)}
    for row in (await connection.execute(query, inner_steps)).all():
        what = (
            f"its history lacks the movement of version {row.version}"
            if row.is_missing
            else f"its history has the movement of version {row.version} otherwise than the topic"
        )
        found.append(Difference(row.unit, what, tuple(row)))
    await connection.commit()
    return found


async def has_row(connection: AsyncConnection, row: Row) -> bool:
    """Whether the database has a unit so, but for what the tracker does not tell."""
    named = [(name, value) for name, value in zip(_COLUMNS, row, strict=True)]
    wanted = [(name, value) for name, value in named if name not in TOLD_ONCE]
    names = ", ".join(name for name, _ in wanted)
    query = text(f"SELECT {names} FROM unit WHERE unit = :unit")
    found = (await connection.execute(query, {"unit": row[0]})).first()
    await connection.commit()
    return found is not None and list(found) == [value for _, value in wanted]


def version_in(row: Row) -> int:
    """The version of a unit's row."""
    version: int = row[_VERSION]
    return version
