"""Where one unit is and who has it: asked of PostgreSQL at once, for people wait for the answer."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import column, exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.possession import possession_of
from scantrail.domain.identifiers import product_and_serial
from scantrail.infra.tables import alert, unit, warranty_term

#: More of what is inside a unit is cut: as many as a parent knows.
CHILDREN_MAX = 2_000

#: A chain of keys, each joined into the next, that is longer is followed no further.
_STEPS_MAX = 50

#: `first`: the unit of the key to which the one asked for is linked; where that was not scanned
#: yet, and the tracker has not been told of its links, of the first of its other ids that was.
#: `chain`: up to the key into which it was joined. `alias`: down to all that were joined into it.
#: `is_held`: on one of whose scans the tracker failed, before or after the newest that is told of.
_UNIT = text(f"""
WITH RECURSIVE own AS (
    SELECT coalesce((SELECT unit FROM identifier WHERE id = :key), :key) AS unit
), first AS (
    (SELECT unit.unit, joined FROM unit WHERE unit = (SELECT unit FROM own))
    UNION ALL
    (SELECT unit.unit, joined FROM (
        SELECT :key AS id, 0 AS rank
        UNION ALL
        SELECT id, 1 FROM identifier WHERE unit = (SELECT unit FROM own) AND id <> unit
    ) AS other JOIN unit ON unit.unit = other.id ORDER BY rank, id LIMIT 1)
    LIMIT 1
), chain AS (
    SELECT unit, joined, ARRAY[:key] AS followed FROM first
    UNION ALL
    SELECT unit.unit, unit.joined, followed || unit.unit
    FROM chain JOIN unit ON unit.unit = chain.joined
    WHERE chain.joined <> ALL (followed) AND cardinality(followed) <= {_STEPS_MAX}
), found AS (
    SELECT unit.* FROM unit WHERE unit = (
        SELECT unit FROM chain ORDER BY cardinality(followed) DESC LIMIT 1
    )
), alias AS (
    SELECT unit.unit, unit.held, unit.version FROM found JOIN unit ON unit.joined = found.unit
    UNION
    SELECT unit.unit, unit.held, unit.version FROM alias JOIN unit ON unit.joined = alias.unit
), scanned AS (
    SELECT unit, held, version FROM found UNION SELECT * FROM alias
), told AS (
    SELECT unit FROM scanned
    UNION
    SELECT identifier.unit FROM identifier JOIN found ON identifier.id = found.unit
), keys AS MATERIALIZED (
    SELECT array(
        SELECT unit FROM told
        UNION
        SELECT id FROM identifier
        WHERE unit = ANY (array(SELECT unit FROM told)) AND id <> unit
    ) AS every
)
SELECT
    {", ".join(f"found.{each.name}" for each in unit.columns)},
    keys.every AS keys,
    EXISTS (
        SELECT FROM scanned WHERE held OR EXISTS (
            SELECT FROM rejected
            WHERE rejected.unit = scanned.unit AND unit_version >= scanned.version
        )
    ) AS is_held,
    EXISTS (SELECT FROM warranty_term WHERE warranty_term.product = found.product) OR EXISTS (
        SELECT FROM replacement
        WHERE replacement.unit = ANY (keys.every) OR replaced_by = ANY (keys.every)
    ) AS has_warranty,
    EXISTS (
        SELECT FROM alert
        WHERE alert.unit = ANY (keys.every) AND status IN ('open', 'acknowledged')
    ) AS has_alerts,
    array(
        SELECT unit FROM unit AS inside
        WHERE inside.parent = ANY (keys.every) AND inside.joined IS NULL
        ORDER BY unit LIMIT {CHILDREN_MAX}
    ) AS children,
    purchaser, ship_to, end_customer, carrier, owning_party, loan_due, delivered_at,
    (
        SELECT jsonb_agg(jsonb_build_object('id', id, 'name', name, 'address', address))
        FROM party
        WHERE id IN (purchaser, ship_to, end_customer, carrier, owning_party, possessing_party)
    ) AS people
FROM found CROSS JOIN keys LEFT JOIN sales_order ON ref = order_ref
""").columns(
    *(column(each.name) for each in unit.columns),
    *map(column, ("keys", "is_held", "has_warranty", "has_alerts", "children")),
    *map(column, ("purchaser", "ship_to", "end_customer", "carrier", "owning_party")),
    *map(column, ("loan_due", "delivered_at", "people")),
)


async def find_unit(engine: AsyncEngine, key: str) -> dict[str, Any] | None:
    """Where the unit is and who has it, with what is open under any of its keys; None where it was
    never scanned. Of a key that is linked to another, or was joined into it, that one's unit."""
    async with engine.connect() as connection:
        row = (await connection.execute(_UNIT, {"key": key})).first()
        if row is None:
            return None
        others = sorted(each for each in row.keys if each != row.unit)
        alerts = await _open_alerts(connection, [row.unit, *others]) if row.has_alerts else []
        has_warranty = row.has_warranty or await _have_terms(connection, others)
    people = {each["id"]: each for each in row.people or ()}
    return {
        **_unit(row, people),
        **possession_of(row, people),
        "held": row.is_held,
        "aliases": others,
        "has_warranty": has_warranty,
        "children": row.children,
        "alerts": alerts,
    }


async def _open_alerts(connection: AsyncConnection, keys: Sequence[str]) -> list[dict[str, Any]]:
    query = (
        select(alert)
        .where(alert.c.unit.in_(keys), alert.c.status.in_(("open", "acknowledged")))
        .order_by(alert.c.event_time, alert.c.id)
    )
    return [dict(row._mapping) for row in await connection.execute(query)]


async def _have_terms(connection: AsyncConnection, keys: Sequence[str]) -> bool:
    """Whether one of a unit's other keys tells a product with which something is promised."""
    products = {product for product, _ in map(product_and_serial, keys) if product is not None}
    if not products:
        return False
    query = select(exists().where(warranty_term.c.product.in_(products)))
    return bool((await connection.execute(query)).scalar())


def _unit(row: Any, people: dict[str, dict[str, Any]]) -> dict[str, Any]:
    is_sold = row.phase == "shipped" and row.purchaser is not None
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
        "purchaser": people.get(row.purchaser) if is_sold else None,
        "since": row.since,
        "seen_at": row.seen_at,
        "event_id": row.event_id,
    }
