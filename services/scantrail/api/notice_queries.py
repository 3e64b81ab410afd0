"""Advance notices in PostgreSQL: what was announced, and the receiving scans it is compared with.

A scan names no notice: a scanner at a dock cannot know it. What was received is found by the
announced units, under all their ids, and by what else came to the notice's stations or in its
cartons meanwhile.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from scantrail.domain.receiving import Announced, Comparison, Quantity, Received, compare
from scantrail.domain.register import Announcement
from scantrail.infra.tables import advance_notice


def _typed(query: str, **kinds: Any) -> TextClause:
    return text(query).bindparams(*(bindparam(name, type_=kind) for name, kind in kinds.items()))


#: Each query looks for a list of keys, which PostgreSQL does by index or in one pass, whatever it
#: knows of the tables: of a join with rows that have just come in it thinks they are few.
_UNITS = {"units": ARRAY(Text)}

#: Scans that brought a unit in, and what voids them: none of a parent in which it was not.
_SCANS = """
    SELECT m.unit, m.event_id, m.station, m.corrects, m.outcome = 'voided' AS is_voided,
        coalesce(m.parent, m.derived_from) AS parent, m.derived_from IS NOT NULL AS is_derived,
        CASE WHEN m.clock_skew_s IS NULL THEN m.event_time ELSE m.record_time END AS at
    FROM movement m
"""

_BROUGHT_IN = """
    m.business_step = 'receiving' AND m.site = :site AND m.outcome <> 'not_inside'
    AND m.same_as IS NULL
    AND CASE WHEN m.clock_skew_s IS NULL THEN m.event_time ELSE m.record_time END >= :since
"""

_OF_UNITS = _typed(
    f"{_SCANS} WHERE m.unit = ANY(:units) AND (m.corrects IS NOT NULL OR ({_BROUGHT_IN}))",
    **_UNITS,
)

#: What came to its stations or in its cartons meanwhile; clocks may be ahead by some minutes.
_MEANWHILE = _typed(
    f"""{_SCANS}
    WHERE m.record_time >= CAST(:since AS timestamptz) - interval '5 minutes'
    AND (CAST(:until AS timestamptz) IS NULL OR m.record_time <= :until)
    AND m.corrects IS NULL AND {_BROUGHT_IN}
    AND (m.station = ANY(:stations) OR coalesce(m.parent, m.derived_from) = ANY(:cartons))
    """,
    stations=ARRAY(Text),
    cartons=ARRAY(Text),
)

_CORRECTIONS = _typed(
    "SELECT corrects FROM movement WHERE unit = ANY(:units) AND corrects IS NOT NULL", **_UNITS
)

#: The key of the unit of an id, and every id of a key.
_KEYS = _typed(
    "SELECT id, unit FROM identifier WHERE id = ANY(:units) UNION ALL"
    " SELECT unit, joined FROM unit WHERE unit = ANY(:units) AND joined IS NOT NULL",
    **_UNITS,
)

_IDS = _typed(
    "SELECT id, unit FROM identifier WHERE unit = ANY(:units) UNION ALL"
    " SELECT unit, joined FROM unit WHERE joined = ANY(:units)",
    **_UNITS,
)

_ANNOUNCED = text(
    "SELECT unit, line, parent, kit FROM advance_notice_unit WHERE notice = :notice"
    " ORDER BY line DESC, unit"
)

#: Of units those that another open notice of the site announces.
_ANNOUNCED_ELSEWHERE = _typed(
    """
    SELECT a.unit FROM advance_notice_unit a JOIN advance_notice n ON n.id = a.notice
    WHERE a.unit = ANY(:units) AND a.notice <> :notice AND n.site = :site AND n.closed_at IS NULL
    """,
    **_UNITS,
)

#: Notices of a unit whose supplier is a known party.
_SUPPLIERS = _typed(
    """
    SELECT DISTINCT n.supplier, n.site, n.since
    FROM advance_notice_unit a JOIN advance_notice n ON n.id = a.notice
    JOIN party p ON p.id = n.supplier
    WHERE a.unit = ANY(:units)
    OR a.unit IN (SELECT id FROM identifier WHERE unit = ANY(:units))
    """,
    **_UNITS,
)

_QUANTITIES = text(
    "SELECT product, announced, received FROM advance_notice_quantity WHERE notice = :notice"
    " ORDER BY product"
)


class NoticeHead(NamedTuple):
    """Who announced it, and where and when it is unloaded."""

    supplier: str
    site: str
    stations: Sequence[str]
    #: None: as it was, or now
    since: datetime | None


async def find_notice(
    connection: AsyncConnection, notice: str, *, lock: bool = False
) -> Row[Any] | None:
    """The notice without its units; `lock` keeps others from changing it meanwhile."""
    query = select(advance_notice).where(advance_notice.c.id == notice)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).first()


async def announcements_of(connection: AsyncConnection, keys: Sequence[str]) -> list[Announcement]:
    """The notices that announce the unit of these keys, by any of its ids."""
    rows = await connection.execute(_SUPPLIERS, {"units": list(keys)})
    return [Announcement(supplier=row.supplier, site=row.site, since=row.since) for row in rows]


async def compare_notice(connection: AsyncConnection, notice: Row[Any]) -> Comparison:
    """The notice against what was received up to now."""
    of_notice = {"notice": notice.id}
    rows = (await connection.execute(_ANNOUNCED, of_notice)).all()
    key_of = await _keys(connection, [row.unit for row in rows])
    announced = {key_of[row.unit]: Announced(key_of[row.unit], *row[1:]) for row in rows}
    others = await connection.execute(_IDS, {"units": list(announced)})
    key_of |= {row.id: row.unit for row in others} | {key: key for key in announced}
    when = {"site": notice.site, "since": notice.since}
    scans = (await connection.execute(_OF_UNITS, {"units": list(key_of), **when})).all()
    void = {row.corrects for row in scans if row.corrects is not None}
    received = [
        _received(key_of[row.unit], row)
        for row in scans
        if row.corrects is None and not row.is_voided and row.event_id not in void
    ]
    received += await _meanwhile(connection, notice, announced, key_of)
    quantities = [
        Quantity(row.product, row.announced, row.received)
        for row in (await connection.execute(_QUANTITIES, of_notice)).all()
    ]
    is_closed = notice.closed_at is not None
    return compare(list(announced.values()), received, quantities, is_closed=is_closed)


async def _meanwhile(
    connection: AsyncConnection,
    notice: Row[Any],
    announced: Mapping[str, Announced],
    key_of: Mapping[str, str],
) -> list[Received]:
    """What nobody announced and came to the notice's stations or in its cartons while it was open.
    What another open notice of the site announces is that one's."""
    cartons = [unit for unit in announced if unit.startswith("sscc:")]
    if not cartons and not notice.stations:
        return []
    asked = {
        "site": notice.site,
        "since": notice.since,
        "until": notice.closed_at,
        "stations": list(notice.stations),
        "cartons": cartons,
    }
    found = (await connection.execute(_MEANWHILE, asked)).all()
    scans = [row for row in found if row.unit not in key_of and not row.is_voided]
    units = list({row.unit for row in scans})
    if not units:
        return []
    keys = await _keys(connection, units)
    void = set((await connection.execute(_CORRECTIONS, {"units": units})).scalars())
    named = {"units": [*keys, *keys.values()], "notice": notice.id, "site": notice.site}
    elsewhere = set((await connection.execute(_ANNOUNCED_ELSEWHERE, named)).scalars())
    return [
        _received(keys[row.unit], row)
        for row in scans
        if row.event_id not in void and elsewhere.isdisjoint((row.unit, keys[row.unit]))
    ]


def _received(key: str, row: Row[Any]) -> Received:
    return Received(key, row.event_id, row.at, row.station, row.parent, row.is_derived)


async def _keys(connection: AsyncConnection, units: Sequence[str]) -> dict[str, str]:
    """The key of each unit of which only some id is known; itself where it has no other."""
    known = {row.id: row.unit for row in await connection.execute(_KEYS, {"units": units})}
    return {unit: known.get(unit, unit) for unit in units}


async def store_notice(
    connection: AsyncConnection,
    notice: str,
    head: NoticeHead,
    announced: Sequence[Announced],
    quantities: Sequence[Quantity],
) -> int | None:
    """Replace a notice as a whole; its version, or None where it is closed.

    What a person counted stays. Units go in by COPY: row by row, ten thousand take seconds.
    """
    stored = await connection.execute(
        text(
            "INSERT INTO advance_notice AS n (id, version, supplier, site, stations, since,"
            " entered_at) VALUES (:id, 1, :supplier, :site, :stations,"
            " coalesce(CAST(:since AS timestamptz), now()), now()) ON CONFLICT (id) DO UPDATE SET"
            " version = n.version + 1, supplier = :supplier, site = :site, stations = :stations,"
            " since = coalesce(CAST(:since AS timestamptz), n.since) WHERE n.closed_at IS NULL"
            " RETURNING version"
        ).bindparams(bindparam("stations", type_=ARRAY(Text))),
        {"id": notice, **head._asdict(), "stations": list(head.stations)},
    )
    version: int | None = stored.scalar()
    if version is None:
        return None
    await connection.execute(
        text("DELETE FROM advance_notice_unit WHERE notice = :notice"), {"notice": notice}
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with (
        driver.cursor() as cursor,
        cursor.copy(
            "COPY advance_notice_unit (unit, notice, line, parent, kit) FROM STDIN"
        ) as copy,
    ):
        for each in sorted(announced):
            await copy.write_row((each.unit, notice, each.line, each.parent, each.kit))
    await connection.execute(
        text(
            "DELETE FROM advance_notice_quantity WHERE notice = :notice"
            " AND product <> ALL(:products)"
        ).bindparams(bindparam("products", type_=ARRAY(Text))),
        {"notice": notice, "products": [each.product for each in quantities]},
    )
    for counted in quantities:
        await connection.execute(
            text(
                "INSERT INTO advance_notice_quantity (notice, product, announced)"
                " VALUES (:notice, :product, :announced)"
                " ON CONFLICT (notice, product) DO UPDATE SET announced = :announced"
            ),
            {"notice": notice, "product": counted.product, "announced": counted.announced},
        )
    return version
