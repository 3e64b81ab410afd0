"""What an EPCIS query finds: accepted scans in the order in which they came, as events.

Nothing is written for it: events are made of movements when they are asked for. The table has no
index by time but BRIN on `record_time`, in whose order it is written, so that a page goes along
that in slices, larger ones while nothing fits; it ends after PAGE_S_MAX with what there is, and its
cursor goes on from there. By units it needs no slices: they lead the key.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Text,
    and_,
    any_,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.days import Days
from scantrail.api.queries import HAPPENED_AT
from scantrail.contracts.epcis_events import (
    DID_NOT_OCCUR,
    INCORRECT_DATA,
    Declared,
    Observed,
    event_of,
)
from scantrail.contracts.epcis_uris import Uris, is_uri
from scantrail.domain.custody import Outcome
from scantrail.domain.scan import CLOCK_AHEAD_MAX, CLOCK_BEHIND_MAX
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import identifier, movement, scan_void, unit

#: After so long a page ends, full or not.
PAGE_S_MAX: Final = 3.0

#: The first slice, and by how much the next one grows or shrinks.
SLICE: Final = timedelta(minutes=1)
GROWTH: Final = 4

#: A slice that took less lets the next one grow; one that took more, shrink.
_QUICK_S: Final = 0.25
_SLOW_S: Final = 1.0

#: Events that are made before others have their turn.
YIELD_EVERY: Final = 50

#: Movements that are no observation: they say what became of a unit's record.
_NO_OBSERVATION: Final = tuple(
    each.value for each in (Outcome.JOINED, Outcome.RELEASED, Outcome.REFOLDED)
)

#: Further than this nothing is told: where a walk begins and ends that nobody bounds.
EVER: Final = datetime(1, 1, 2, tzinfo=UTC)
FOR_EVER: Final = datetime(9999, 12, 30, tzinfo=UTC)


class Place(NamedTuple):
    """Behind which movement a page begins. Copies of one scan have one place."""

    record_time: datetime
    event_id: str


FIRST: Final = Place(EVER, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a query asks for; None: whatever it is. Times are aware; the later of two is excluded.
    `units` are all keys of the units that are asked for."""

    units: tuple[str, ...] | None = None
    event_from: datetime | None = None
    event_until: datetime | None = None
    record_from: datetime | None = None
    record_until: datetime | None = None
    steps: tuple[BusinessStep, ...] | None = None
    locations: tuple[str, ...] | None = None


class Found(NamedTuple):
    """A page of events, and behind which place the next one begins; None: it was the last."""

    events: list[dict[str, Any]]
    next: Place | None


async def find_events(
    engine: AsyncEngine, uris: Uris, asked: Asked, *, behind: Place, limit: int
) -> Found:
    """Events of at most `limit` movements, each scan's once.

    A scan that is void has its error declaration. Where `record_from` is told, scans from before it
    that were voided since are there too, at the place of what voids them.
    """
    async with engine.connect() as connection:
        if asked.units is not None:
            rows = await _rows(connection, asked, behind, FOR_EVER, limit)
            following = _place(rows[-1]) if len(rows) == limit else None
        else:
            rows, following = await _along(connection, asked, behind, limit)
        return Found(await _events(connection, uris, asked, rows), following)


async def _along(
    connection: AsyncConnection, asked: Asked, behind: Place, limit: int
) -> tuple[list[Row[Any]], Place | None]:
    """A page along the time of recording, and where the next one begins."""
    begun = time.monotonic()
    last = _latest(asked)
    low = _least(asked, behind)
    if low == EVER:
        low = await _earliest(connection) or last
    until = min(last, _off(low, SLICE))
    now = datetime.now(UTC)
    size = SLICE
    rows: list[Row[Any]] = []
    while True:
        # What is ahead of the clock is little: it comes with the last slice.
        until = last if until > now else until
        slice_begun = time.monotonic()
        rows += await _rows(connection, asked, behind, until, limit - len(rows))
        if len(rows) == limit:
            return rows, _place(rows[-1])
        if until >= last:
            return rows, None
        behind = Place(until, "")
        if time.monotonic() - begun > PAGE_S_MAX:
            return rows, behind
        took_s = time.monotonic() - slice_begun
        size = size * GROWTH if took_s < _QUICK_S else size / GROWTH if took_s > _SLOW_S else size
        until = min(last, _off(until, size))


async def _earliest(connection: AsyncConnection) -> datetime | None:
    """About when the first movements were recorded: of the first that is stored, since no index
    tells the least. What is before it comes with the first slice."""
    query = select(movement.c.record_time).limit(1)
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


def _latest(asked: Asked) -> datetime:
    """Before which time a scan was recorded that is asked for."""
    bounds = [FOR_EVER]
    if asked.record_until is not None:
        bounds.append(asked.record_until)
    if asked.event_until is not None and asked.record_from is None:
        # a device keeps a scan for no longer; what is older is ordered by its record_time
        bounds.append(_off(asked.event_until, CLOCK_BEHIND_MAX))
    return min(bounds)


def _least(asked: Asked, behind: Place) -> datetime:
    """From when on a scan was recorded that is asked for."""
    bounds = [behind.record_time]
    if asked.record_from is not None:
        bounds.append(asked.record_from)
    if asked.event_from is not None:
        # no clock is further ahead, or the scan is ordered by its record_time
        bounds.append(_off(asked.event_from, -CLOCK_AHEAD_MAX))
    return max(bounds)


def _off(moment: datetime, by: timedelta) -> datetime:
    """A moment moved, as far as the calendar goes."""
    try:
        return moment + by
    except OverflowError:
        return EVER if by < timedelta() else FOR_EVER


async def _rows(
    connection: AsyncConnection, asked: Asked, behind: Place, until: datetime, limit: int
) -> list[Row[Any]]:
    """Movements behind a place and recorded before `until`, in order, each scan's once."""
    m = movement.c
    place = tuple_(m.record_time, m.event_id)
    wanted = [
        m.record_time >= _least(asked, behind),
        m.record_time < until,
        place > tuple_(behind.record_time, behind.event_id),
        m.derived_from.is_(None),
        m.same_as.is_(None),
        m.outcome.not_in(_NO_OBSERVATION),
    ]
    if asked.record_until is not None:
        wanted.append(m.record_time < asked.record_until)
    scans = and_(m.corrects.is_(None), *_told(asked))
    wanted.append(scans if asked.record_from is None else or_(scans, _corrections(asked)))
    query = (
        select(movement, HAPPENED_AT.label("happened_at"))
        .ext(distinct_on(m.record_time, m.event_id))
        .where(*wanted)
        # of a scan that was forwarded, as it was read
        .order_by(m.record_time, m.event_id, m.forwarded_from.is_not(None), m.unit)
        .limit(limit)
    )
    return list((await connection.execute(query)).all())


def _corrections(asked: Asked) -> ColumnElement[bool]:
    """Of movements: whether they void one that may be asked for."""
    m, children = movement.c, movement.alias().c
    if asked.units is None:
        return m.corrects.is_not(None)
    inside = select(children.unit).where(children.parent.in_(asked.units))
    return and_(m.corrects.is_not(None), or_(m.unit.in_(asked.units), m.unit.in_(inside)))


def _told(asked: Asked) -> list[ColumnElement[bool]]:
    """What scans have to say."""
    m = movement.c
    wanted: list[ColumnElement[bool]] = []
    if asked.units is not None:
        wanted.append(or_(m.unit.in_(asked.units), m.parent.in_(asked.units)))
    if asked.event_from is not None:
        wanted.append(asked.event_from <= HAPPENED_AT)
    if asked.event_until is not None:
        wanted.append(asked.event_until > HAPPENED_AT)
    if asked.steps is not None:
        wanted.append(m.business_step.in_([step.value for step in asked.steps]))
    if asked.locations is not None:
        wanted.append(m.business_location.in_(asked.locations))
    return wanted


def _among(column: Column[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """As `in_`, with one parameter however many there are."""
    return column == any_(literal(list(values), ARRAY(Text)))


def _place(row: Row[Any]) -> Place:
    return Place(row.record_time, row.event_id)


class _Told(NamedTuple):
    """A scan and when it, or what voids it, was recorded."""

    row: Row[Any]
    recorded_at: datetime


async def _events(
    connection: AsyncConnection, uris: Uris, asked: Asked, rows: Sequence[Row[Any]]
) -> list[dict[str, Any]]:
    """The events of movements, in their order."""
    voided = await _voided_before(connection, asked, [row for row in rows if row.corrects])
    told: list[_Told] = []
    for row in rows:
        if row.corrects is None:
            told.append(_Told(row, row.record_time))
        elif (scan := voided.get((row.unit, row.corrects))) is not None:
            told.append(_Told(scan, row.record_time))
    days = await Days.read(connection)
    declared = await _declared(connection, uris, days, [each.row for each in told])
    return [event_of(_observed(each, days, declared.get(each.row.event_id)), uris) for each in told]


def _observed(told: _Told, days: Days, declared: Declared | None) -> Observed:
    row = told.row
    return Observed(
        unit=row.unit,
        at=row.happened_at,
        offset=days.local(row.happened_at, row.site).utcoffset() or timedelta(),
        recorded_at=told.recorded_at,
        business_step=BusinessStep(row.business_step),
        read_point=row.read_point,
        business_location=row.business_location,
        disposition=row.disposition,
        order=row.order_ref,
        rma=row.rma,
        parent=row.parent,
        declared=declared,
    )


async def _voided_before(
    connection: AsyncConnection, asked: Asked, corrections: Sequence[Row[Any]]
) -> dict[tuple[str, str], Row[Any]]:
    """The scans that corrections void, of those that were recorded before what is asked for."""
    if not corrections or asked.record_from is None:
        return {}
    m = movement.c
    named = [(row.unit, row.corrects) for row in corrections]
    query = select(movement, HAPPENED_AT.label("happened_at")).where(
        tuple_(m.unit, m.event_id).in_(named),
        m.record_time < asked.record_from,
        m.derived_from.is_(None),
        m.same_as.is_(None),
        m.corrects.is_(None),
        *_told(asked),
    )
    return {(row.unit, row.event_id): row for row in await connection.execute(query)}


async def _declared(
    connection: AsyncConnection, uris: Uris, days: Days, rows: Sequence[Row[Any]]
) -> dict[str, Declared]:
    """Of scans that are void, by their event id: since when, why, and what stands for them."""
    if not rows:
        return {}
    m = movement.c
    keys = await _all_keys(connection, {row.unit for row in rows})
    query = (
        select(
            m.corrects,
            func.min(m.record_time).label("recorded_at"),
            scan_void.c.at,
            scan_void.c.reason,
            scan_void.c.replaced_by,
            func.coalesce(scan_void.c.replaced_unit, scan_void.c.unit).label("replaced_unit"),
        )
        .outerjoin(scan_void, scan_void.c.event_id == m.corrects)
        .where(_among(m.unit, keys), _among(m.corrects, [row.event_id for row in rows]))
        .group_by(m.corrects, scan_void.c.event_id)
    )
    voids: Sequence[Any] = (await connection.execute(query)).all()
    corrective = await _corrective(connection, uris, days, voids)
    return {
        row.corrects: Declared(
            at=row.at or row.recorded_at,
            reason=_reason(row),
            corrective=corrective.get(row.replaced_by, ()),
        )
        for row in voids
    }


def _reason(row: Row[Any]) -> str | None:
    """Why, as CBV has it: what a person typed stays here. None: a reader voided it, and tells no
    reason."""
    if row.reason is None:
        return None
    if row.reason in (DID_NOT_OCCUR, INCORRECT_DATA) or is_uri(row.reason):
        return str(row.reason)
    return DID_NOT_OCCUR if row.replaced_by is None else INCORRECT_DATA


async def _corrective(
    connection: AsyncConnection, uris: Uris, days: Days, voids: Iterable[Row[Any]]
) -> dict[str, tuple[str, ...]]:
    """The ids of the events of scans that stand for voided ones, by their event ids; of those that
    have come yet."""
    named = {row.replaced_by: row.replaced_unit for row in voids if row.replaced_by}
    if not named:
        return {}
    keys = await _all_keys(connection, set(named.values()))
    query = select(movement, HAPPENED_AT.label("happened_at")).where(
        _among(movement.c.unit, keys), _among(movement.c.event_id, named)
    )
    found = await connection.execute(query.order_by(movement.c.forwarded_from.is_(None)))
    return {
        row.event_id: (
            event_of(_observed(_Told(row, row.record_time), days, None), uris)["eventID"],
        )
        for row in found
    }


async def _all_keys(connection: AsyncConnection, keys: Collection[str]) -> list[str]:
    """The keys, with those to which they are linked, into which they were joined, and that were
    joined into them."""
    links = select(identifier.c.unit).where(_among(identifier.c.id, keys))
    into = select(unit.c.joined).where(_among(unit.c.unit, keys), unit.c.joined.is_not(None))
    of = select(unit.c.unit).where(_among(unit.c.joined, keys))
    found = (await connection.execute(links.union(into, of))).scalars()
    return sorted({*keys, *found})
