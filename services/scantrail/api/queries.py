"""What is asked of the query database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, case, exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.possession import possession_of
from scantrail.infra.tables import (
    alert,
    identifier,
    movement,
    party,
    product,
    rejected,
    replacement,
    sales_order,
    unit,
    warranty_term,
)

#: More candidates than a person can choose among are cut.
CANDIDATES_MAX = 50

#: More of what is inside a unit is cut: as many as a parent knows.
CHILDREN_MAX = 2_000


#: As domain.scan.ordered_at: by record_time where the device's clock is off.
HAPPENED_AT = case(
    (movement.c.clock_skew_s.is_(None), movement.c.event_time), else_=movement.c.record_time
)

#: A unit on one of whose scans the tracker failed, before or after the newest that is told of.
_HELD = or_(
    unit.c.held,
    exists().where(rejected.c.unit == unit.c.unit, rejected.c.unit_version >= unit.c.version),
).label("is_held")


#: Whether more is to be told of the unit's warranty: most units have none.
_HAS_WARRANTY = or_(
    exists().where(warranty_term.c.product == unit.c.product),
    exists().where(
        or_(replacement.c.unit == unit.c.unit, replacement.c.replaced_by == unit.c.unit)
    ),
).label("has_warranty")


async def find_unit(engine: AsyncEngine, key: str) -> dict[str, Any] | None:
    """Where the unit is and who has it, with what is open under any of its keys; None where it was
    never scanned. Of a key that is linked to another, or was joined into it, that one's unit."""
    async with engine.connect() as connection:
        row = await _find_linked_row(connection, key)
        followed = {key}
        while row is not None and row.joined is not None and row.joined not in followed:
            followed.add(row.joined)
            row = await _find_row(connection, row.joined) or row
        if row is None:
            return None
        aliases = (await connection.execute(_aliases_of(row.unit))).all()
        others = {await unit_of(connection, row.unit), *(found.unit for found in aliases)}
        links = (await connection.execute(_links_to([row.unit, *others]))).all()
        others.update(link.id for link in links)
        keys = [row.unit, *sorted(others - {row.unit})]
        open_alerts = (
            select(alert)
            .where(alert.c.unit.in_(keys), alert.c.status.in_(("open", "acknowledged")))
            .order_by(alert.c.event_time, alert.c.id)
        )
        children = (
            select(unit.c.unit)
            .where(unit.c.parent.in_(keys), unit.c.joined.is_(None))
            .order_by(unit.c.unit)
            .limit(CHILDREN_MAX)
        )
        alerts = (await connection.execute(open_alerts)).all()
        inside = (await connection.execute(children)).scalars().all()
        possession = await possession_of(connection, row)
    return {
        **_unit(row),
        **possession,
        "held": row.is_held or any(found.is_held for found in aliases),
        "aliases": keys[1:],
        # another id may tell the product
        "has_warranty": row.has_warranty or len(keys) > 1,
        "children": list(inside),
        "alerts": [_plain(found) for found in alerts],
    }


async def _find_linked_row(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """Of the key to which `key` is linked; where that was not scanned yet, and the tracker has not
    been told of its links, of the first of its other ids that was."""
    linked_to = await unit_of(connection, key)
    if (row := await _find_row(connection, linked_to)) is not None:
        return row
    ids = [key, *(link.id for link in await ids_of(connection, linked_to))]
    for each in dict.fromkeys(ids):
        if (row := await _find_row(connection, each)) is not None:
            return row
    return None


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


async def _find_row(connection: AsyncConnection, key: str) -> Row[Any] | None:
    query = (
        select(
            unit,
            party.c.id.label("purchaser_id"),
            party.c.name,
            party.c.address,
            _HELD,
            _HAS_WARRANTY,
        )
        .outerjoin(sales_order, sales_order.c.ref == unit.c.order_ref)
        .outerjoin(party, party.c.id == sales_order.c.purchaser)
        .where(unit.c.unit == key)
    )
    return (await connection.execute(query)).first()


def _aliases_of(key: str) -> Select[Any]:
    """The keys that were joined into `key`, one after another, with whether each is held."""
    first = select(unit.c.unit, _HELD).where(unit.c.joined == key)
    found = first.cte("found", recursive=True)
    found = found.union(select(unit.c.unit, _HELD).where(unit.c.joined == found.c.unit))
    return select(found).where(found.c.unit != key).order_by(found.c.unit)


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


async def find_trail(engine: AsyncEngine, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each accepted scan of the unit that `find_unit` found, in the order in which they happened,
    with the scan that voids it as `corrected_by`.

    What came under a key that was joined into the unit's is there too: once.
    """
    query = (
        select(movement)
        .where(movement.c.unit.in_((found["unit"], *found["aliases"])))
        .order_by(
            HAPPENED_AT,
            movement.c.station,
            movement.c.sequence,
            movement.c.event_id,
        )
    )
    async with engine.connect() as connection:
        every = (await connection.execute(query)).all()
    key = found["unit"]
    rows = _each_once(every, key)
    shown = [*reversed(every), *reversed(rows)]  # rather one that stands in the trail
    corrections = {row.corrects: row.event_id for row in shown if row.corrects is not None}
    return [
        {
            **_plain(row),
            # as domain.custody: no correction voids another
            "corrected_by": corrections.get(row.event_id) if not row.corrects else None,
            "forwarded_from": row.forwarded_from or (row.unit if row.unit != key else None),
        }
        for row in rows
    ]


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
    return [
        {**_plain(row), "payload": row.payload.decode("utf-8", "backslashreplace")} for row in rows
    ]


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


def _unit(row: Any) -> dict[str, Any]:
    shipped = row.phase == "shipped"
    purchaser = None
    if shipped and row.purchaser_id is not None:
        purchaser = {"id": row.purchaser_id, "name": row.name, "address": row.address}
    return {
        "unit": row.unit,
        "product": row.product,
        "serial": row.serial,
        "version": row.version,
        "phase": row.phase,
        "site": row.site,
        "location": row.business_location,
        "parent": row.parent,
        "read_point": row.read_point,
        "station": row.station,
        "business_step": row.business_step,
        "disposition": row.disposition,
        "custody": row.possessing_party,
        "order": row.order_ref,
        "purchaser": purchaser,
        "since": row.since,
        "seen_at": row.seen_at,
        "event_id": row.event_id,
    }


def _plain(row: Any) -> dict[str, Any]:
    return dict(row._mapping)
