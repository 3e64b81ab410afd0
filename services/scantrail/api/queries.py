"""What is asked of the query database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, Text, any_, bindparam, case, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.infra.tables import (
    identifier,
    movement,
    movement_removed,
    product,
    rejected,
    scan_void,
    unit,
)

#: More candidates than a person can choose among are cut.
CANDIDATES_MAX = 50

#: As domain.scan.ordered_at: by record_time where the device's clock is off.
HAPPENED_AT = case(
    (movement.c.clock_skew_s.is_(None), movement.c.event_time), else_=movement.c.record_time
)


async def unit_of(connection: AsyncConnection, key: str) -> str:
    """The key to which `key` is linked; itself where it is not."""
    query = select(identifier.c.unit).where(identifier.c.id == key)
    found: str | None = (await connection.execute(query)).scalar()
    return found or key


async def ids_of(connection: AsyncConnection, key: str) -> Sequence[Row[Any]]:
    """The links to `key`, by id."""
    links: Sequence[Row[Any]] = (await connection.execute(_links_to([key]))).all()
    return links


def _links_to(keys: Sequence[str]) -> Select[Any]:
    return (
        select(identifier)
        .where(identifier.c.unit.in_(keys), identifier.c.id != identifier.c.unit)
        .order_by(identifier.c.id)
    )


async def find_by_serial(engine: AsyncEngine, serial: str) -> list[dict[str, Any]]:
    """Every unit that carries this serial under one of its keys, of whatever product; once each.
    Of a product that folds case, whatever the case."""
    folds = select(product.c.id).where(product.c.id == unit.c.product, product.c.fold_case)
    into = func.coalesce(unit.c.joined, unit.c.unit)
    query = (
        select(unit.c.unit, unit.c.product, unit.c.serial)
        .ext(distinct_on(into))
        .where(
            unit.c.serial.in_((serial, serial.upper())),
            or_(unit.c.serial == serial, folds.exists()),
        )
        .order_by(into, unit.c.joined.is_not(None), unit.c.unit)
        .limit(CANDIDATES_MAX)
    )
    async with engine.connect() as connection:
        return [_plain(row) for row in (await connection.execute(query)).all()]


_MOVEMENT = tuple(column.name for column in movement.columns)

_TRAIL = (
    select(movement)
    .where(movement.c.unit == any_(bindparam("keys", type_=ARRAY(Text))))
    .order_by(HAPPENED_AT, movement.c.station, movement.c.sequence, movement.c.event_id)
)


async def find_trail(engine: AsyncEngine, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each accepted scan of the unit that `find_unit` found, in the order in which they happened,
    with the scan that voids it as `corrected_by`, and who did that and why as `voided`.

    What came under a key that was joined into the unit's is there too: once.
    """
    key = found["unit"]
    async with engine.connect() as connection:
        every = (await connection.execute(_TRAIL, {"keys": [key, *found["aliases"]]})).all()
        voids = await _voids(connection, [row.corrects for row in every if row.corrects])
    rows = _each_once(every, key)
    shown = [*reversed(every), *reversed(rows)]  # rather one that stands in the trail
    corrections = {row.corrects: row.event_id for row in shown if row.corrects is not None}
    trail = []
    for row in rows:
        told = dict(zip(_MOVEMENT, row, strict=True))
        # as domain.custody: no correction voids another
        told["corrected_by"] = corrections.get(row.event_id) if not row.corrects else None
        told["voided"] = voids.get(row.event_id) if not row.corrects else None
        told["forwarded_from"] = row.forwarded_from or (row.unit if row.unit != key else None)
        trail.append(told)
    return trail


async def count_removed(
    engine: AsyncEngine, found: Mapping[str, Any], trail: Sequence[Mapping[str, Any]]
) -> int:
    """How many scans were removed of the history of the unit that `find_unit` found; asked for only
    where its trail has fewer than it was scanned."""
    if len(trail) >= found["version"]:
        return 0
    query = select(movement_removed.c.scans).where(movement_removed.c.unit == found["unit"])
    async with engine.connect() as connection:
        return (await connection.execute(query)).scalar() or 0


async def _voids(connection: AsyncConnection, events: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of scans that a person voided: who did it, why, when, and which scan stands for it."""
    if not events:
        return {}
    rows = await connection.execute(select(scan_void).where(scan_void.c.event_id.in_(events)))
    names = ("who", "reason", "at", "replaced_by")
    return {row.event_id: {name: getattr(row, name) for name in names} for row in rows}


def _each_once(rows: Sequence[Row[Any]], key: str) -> list[Row[Any]]:
    """Of each scan the row of the key for which it was made, which has what the reader said; of a
    parent's scan the one that was derived for the unit's own key, `key`. A parent's correction
    voids also what it may never have sent: that is left out."""
    known = {row.event_id for row in rows}

    def rank(row: Row[Any]) -> tuple[bool, bool, bool]:
        is_copy = row.derived_from is None and row.forwarded_from is not None
        is_idle = row.corrects is not None and row.corrects not in known
        return is_copy and row.same_as is None, is_idle, row.unit != key

    chosen: dict[tuple[str | None, str], Row[Any]] = {}
    for row in sorted(rows, key=rank):
        told = (row.derived_from, row.derived_event_id or row.event_id)
        chosen.setdefault(told, row)
    kept = {id(row) for row in chosen.values()}
    return [row for row in rows if id(row) in kept]


async def list_rejected(
    engine: AsyncEngine, *, reader: str | None, reason: str | None, after: str, limit: int
) -> list[dict[str, Any]]:
    """Reads and scans that were set aside, by id, from the one behind `after` on."""
    query = select(rejected).where(rejected.c.id > after).order_by(rejected.c.id).limit(limit)
    for column, wanted in ((rejected.c.reader, reader), (rejected.c.reason, reason)):
        if wanted is not None:
            query = query.where(column == wanted)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    return [_rejected(row) for row in rows]


async def find_rejected(engine: AsyncEngine, row_id: str) -> dict[str, Any] | None:
    """What was set aside under this id."""
    async with engine.connect() as connection:
        query = select(rejected).where(rejected.c.id == row_id)
        row = (await connection.execute(query)).first()
    return None if row is None else _rejected(row)


def _rejected(row: Any) -> dict[str, Any]:
    return {**_plain(row), "payload": row.payload.decode("utf-8", "backslashreplace")}


async def waiting_reads(
    connection: AsyncConnection, *, reader: str, reason: str | None, after: str, limit: int
) -> Sequence[Row[Any]]:
    """Set-aside reads of a reader that were not replayed yet, by id, from behind `after` on."""
    query = (
        select(rejected)
        .where(
            rejected.c.source == "read",
            rejected.c.reader == reader,
            rejected.c.replayed_at.is_(None),
            rejected.c.id > after,
        )
        .order_by(rejected.c.id)
        .limit(limit)
    )
    if reason is not None:
        query = query.where(rejected.c.reason == reason)
    rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return rows


def _plain(row: Any) -> dict[str, Any]:
    return dict(row._mapping)
