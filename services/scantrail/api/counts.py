"""Counts of a location: opened with what should stand there, compared while it is scanned, closed.

What counts are scans with step cycle_counting that name the location, made while the count is open.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import Text

from scantrail.api import receiving_answers as answers
from scantrail.api.access import Role
from scantrail.api.bodies import CountBody, checked_id, decode_body, short_text
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.problems import Problem
from scantrail.domain.counting import (
    Counted,
    CountedUnit,
    CountStatus,
    compare_count,
    count_statuses,
)
from scantrail.infra.tables import count_session

AnyRequest = Request[Any, Any, Any]

#: What a person has to look for.
DIFFERENT = (CountStatus.MISSING, CountStatus.SURPLUS)

_SNAPSHOT = text(
    "INSERT INTO count_session_unit (unit, session, expected) SELECT unit, :session, true"
    " FROM unit WHERE phase = 'on_site' AND site = :site AND business_location = :location"
    " AND joined IS NULL"
)

#: Under the key into which a unit was joined since.
_EXPECTED = text(
    "SELECT DISTINCT coalesce(u.joined, c.unit) AS unit FROM count_session_unit c"
    " LEFT JOIN unit u ON u.unit = c.unit WHERE c.session = :session AND c.expected"
)

#: As domain.scan.ordered_at; clocks may be behind by some minutes.
_AT = "CASE WHEN m.clock_skew_s IS NULL THEN m.event_time ELSE m.record_time END"
_SINCE = f"{_AT} >= CAST(:since AS timestamptz) - interval '5 minutes'"

#: Scans of the count, under the unit's own key where another was joined into it; none that was
#: voided, or is of a carton in which the unit was not.
_COUNTED = text(
    f"""
    SELECT coalesce(u.joined, m.unit) AS unit, m.event_id, {_AT} AS at
    FROM movement m JOIN unit u ON u.unit = m.unit
    WHERE m.record_time >= :since AND {_SINCE}
    AND (CAST(:until AS timestamptz) IS NULL OR m.record_time <= :until)
    AND m.business_step = 'cycle_counting' AND m.site = :site AND m.business_location = :location
    AND m.corrects IS NULL AND m.same_as IS NULL AND m.outcome NOT IN ('voided', 'not_inside')
    AND NOT EXISTS (SELECT FROM movement c WHERE c.unit = m.unit AND c.corrects = m.event_id)
    """
)

#: Of units that other scans moved meanwhile: whether the last of these left it here.
_MOVED = text(
    f"""
    SELECT DISTINCT ON (m.unit) m.unit,
        m.site = :site AND coalesce(m.business_location = :location, false)
        AND m.business_step NOT IN ('shipping', 'departing', 'decommissioning') AS is_here
    FROM movement m
    WHERE m.unit = ANY(:units) AND {_AT} >= :since
    AND (CAST(:until AS timestamptz) IS NULL OR m.record_time <= :until)
    AND m.business_step <> 'cycle_counting' AND m.corrects IS NULL AND m.same_as IS NULL
    AND m.outcome NOT IN ('voided', 'not_inside')
    AND (m.business_location IS NOT NULL
        OR m.business_step IN ('shipping', 'departing', 'decommissioning'))
    AND NOT EXISTS (SELECT FROM movement c WHERE c.unit = m.unit AND c.corrects = m.event_id)
    ORDER BY m.unit, {_AT} DESC, m.sequence DESC
    """
).bindparams(bindparam("units", type_=ARRAY(Text)))

_RESULT = text(
    "SELECT unit, status, event_id, counted_at FROM count_session_unit WHERE session = :session"
)

_CLEAR = text("DELETE FROM count_session_unit WHERE session = :session")

_STORE = text(
    "INSERT INTO count_session_unit (unit, session, expected, status, event_id, counted_at)"
    " SELECT told.unit, :session, told.expected, told.status, told.event_id, told.counted_at"
    " FROM unnest(:units, CAST(:expected AS boolean[]), :statuses, :ids,"
    " CAST(:times AS timestamptz[])) AS told(unit, expected, status, event_id, counted_at)"
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("units", "statuses", "ids")))


def build_counts(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @put(
        "/counts/{count_id:str}",
        role=Role.OPERATE,
        takes=answers.TAKES_COUNT,
        tells=answers.COUNT_OPENED,
    )
    async def open_count(count_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Begin to count a location: what stands there now is expected. Once more is the same."""
        session = checked_id(count_id, "id")
        body = decode_body(await request.body(), CountBody)
        site, location = checked_id(body.site, "site"), short_text(body.location, "location")
        told = {"session": session, "site": site, "location": location}

        async def write(change: Change) -> Answer:
            change.caller.check_site(site)
            connection = change.connection
            new = await connection.execute(
                text(
                    "INSERT INTO count_session (id, version, site, location, opened_at)"
                    " VALUES (:session, 1, :site, :location, now()) ON CONFLICT DO NOTHING"
                ),
                told,
            )
            row = await find_count(connection, session)
            change.expect(0 if new.rowcount else row.version)
            change.version = row.version
            if new.rowcount:
                await connection.execute(_SNAPSHOT, told)
                change.note("count", session, old=0, new=1)
            if (row.site, row.location) != (site, location):
                detail = f"count {session} is of {row.location} at {row.site}: take another id"
                raise Problem(409, "Exists", detail, field="id")
            expected = (await connection.execute(_EXPECTED, told)).all()
            return Answer({**_plain(row), "expected": len(expected)})

        return await changes.make(request, write)

    @get("/counts", role=Role.READ, tells=answers.COUNTS)
    async def list_counts(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """Counts by id."""
        query = select(count_session).where(count_session.c.id > after(cursor, "counts"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(count_session.c.id).limit(limit))
            found = [_plain(row) for row in rows]
        return page("counts", found, limit)

    @get("/counts/{count_id:str}", role=Role.READ, tells=answers.COUNT)
    async def get_count(
        count_id: FromPath[str],
        status: FromQuery[list[CountStatus] | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """How it stands, and the units of the named statuses: missing and surplus where none is
        named."""
        async with engine.connect() as connection:
            row = await find_count(connection, count_id)
            units = await units_of_count(connection, row)
        wanted, behind = frozenset(status or DIFFERENT), after(cursor, "units")
        listed = [
            {
                "unit": each.unit,
                "status": each.status,
                "event_id": each.counted and each.counted.event_id,
                "counted_at": each.counted and each.counted.at,
            }
            for each in units
            if each.status in wanted and each.unit > behind
        ][:limit]
        return page("units", listed, limit, key="unit", **_summed(row, units))

    @post(
        "/counts/{count_id:str}/close",
        status_code=200,
        role=Role.OPERATE,
        tells=answers.COUNT_CLOSED,
    )
    async def close_count(count_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """End the count and keep how each unit stands. Closed once more, it is compared once more:
        scans from before its end may have come late."""

        async def write(change: Change) -> Answer:
            connection = change.connection
            before = await find_count(connection, count_id, lock=True)
            change.caller.check_site(before.site)
            change.expect(before.version)
            if before.closed_at is not None:
                units = await units_of_count(connection, before)
                if await _compared(connection, before) == units:
                    return Answer(_summed(before, units))
            await connection.execute(
                text(
                    "UPDATE count_session SET closed_at = coalesce(closed_at, now()),"
                    " version = version + 1 WHERE id = :session"
                ),
                {"session": count_id},
            )
            row = await find_count(connection, count_id)
            change.note("count", count_id, old=before.version, new=row.version)
            units = await _compared(connection, row)
            await _store(connection, row.id, units)
            return Answer(_summed(row, units))

        return await changes.make(request, write)

    return [open_count, list_counts, get_count, close_count]


async def find_count(connection: AsyncConnection, session: str, *, lock: bool = False) -> Row[Any]:
    """The count. Raises Problem 404."""
    query = select(count_session).where(count_session.c.id == session)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no count {session!r}")
    return row


async def units_of_count(connection: AsyncConnection, row: Row[Any]) -> Sequence[CountedUnit]:
    """As it stands, or as it stood when it was closed."""
    if row.closed_at is None:
        return await _compared(connection, row)
    stored = (await connection.execute(_RESULT, {"session": row.id})).all()
    return sorted(
        CountedUnit(
            each.unit,
            CountStatus(each.status),
            Counted(each.unit, each.event_id, each.counted_at) if each.event_id else None,
        )
        for each in stored
    )


async def _store(connection: AsyncConnection, session: str, units: Sequence[CountedUnit]) -> None:
    """Keep how each unit stands, and which of them were expected."""
    expected = set((await connection.execute(_EXPECTED, {"session": session})).scalars())
    await connection.execute(_CLEAR, {"session": session})
    scans = [each.counted for each in units]
    told = {
        "session": session,
        "units": [each.unit for each in units],
        "expected": [each.unit in expected for each in units],
        "statuses": [each.status.value for each in units],
        "ids": [scan and scan.event_id for scan in scans],
        "times": [scan and scan.at for scan in scans],
    }
    await connection.execute(_STORE, told)


async def _compared(connection: AsyncConnection, row: Row[Any]) -> Sequence[CountedUnit]:
    when: dict[str, str | datetime] = {
        "site": row.site,
        "location": row.location,
        "since": row.opened_at,
        "until": row.closed_at,
    }
    expected = (await connection.execute(_EXPECTED, {"session": row.id})).scalars().all()
    counted = [Counted(*each) for each in await connection.execute(_COUNTED, when)]
    units = list({*expected, *(scan.unit for scan in counted)})
    moved = (await connection.execute(_MOVED, {"units": units, **when})).all()
    return compare_count(expected, counted, {each.unit: each.is_here for each in moved})


def _summed(row: Row[Any], units: Sequence[CountedUnit]) -> dict[str, Any]:
    return {**_plain(row), "counts": count_statuses(units)}


def _plain(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
