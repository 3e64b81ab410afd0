"""What a recall means, before it is made active and after: how many units are where, which, and
which serials no scan has told yet."""

from typing import Any

from litestar import get
from litestar.params import FromPath, FromQuery
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import recall_bodies as bodies
from scantrail.api.access import Role
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.recall_counts import (
    Where,
    count_never_seen,
    count_units,
    counting,
    list_units,
    never_seen,
)
from scantrail.api.recall_store import active_since, load_recall, products_of
from scantrail.infra.tables import recall_serial, unit


def build_recall_preview(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/recalls/{recall_id:str}/preview", role=Role.READ, tells=bodies.PREVIEW)
    async def get_preview(recall_id: FromPath[str]) -> dict[str, Any]:
        """How many units a recall means, of whatever status it is: on site and where, shipped when
        and to how many, in transit, gone, for a person to decide, and never seen."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            counts = await count_units(connection, recall)
            unseen = await count_never_seen(connection, recall)
        head = {"recall": recall.id, "version": recall.version, "status": recall.status}
        return {**head, **counts, "never_seen": unseen}

    @get("/recalls/{recall_id:str}/units", role=Role.READ, tells=bodies.UNITS)
    async def list_meant(
        recall_id: FromPath[str],
        where: FromQuery[Where | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """The units of a recall, all or those that are there, by key: where, or with whom since
        when, and how far they were reached."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            since = await active_since(connection, recall_id)
            query = list_units(recall, where, since).where(unit.c.unit > after(cursor, "units"))
            rows = (await connection.execute(query.limit(limit))).all()
        return page("units", [_told(row) for row in rows], limit, key="unit")

    @get("/recalls/{recall_id:str}/never-seen", role=Role.READ, tells=bodies.NEVER_SEEN)
    async def list_never_seen(
        recall_id: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """The listed serials that no scan of the recall's products has told yet."""
        table = recall_serial
        async with counting(engine) as connection:
            products = await products_of(connection, recall_id)
            query = (
                select(table.c.serial, table.c.forms)
                .where(table.c.recall == recall_id, table.c.serial > after(cursor, "never_seen"))
                .where(never_seen(products))
                .order_by(table.c.serial)
                .limit(limit)
            )
            rows = (await connection.execute(query)).all()
        found = [{"serial": row.serial, "forms": row.forms or []} for row in rows]
        return page("never_seen", found, limit, key="serial")

    return [get_preview, list_meant, list_never_seen]


def _told(row: Any) -> dict[str, Any]:
    is_shipped = row.phase == "shipped"
    purchaser = None
    if is_shipped and row.purchaser_id is not None:
        purchaser = {"id": row.purchaser_id, "name": row.name, "address": row.address}
    return {
        "unit": row.unit,
        "product": row.product,
        "serial": row.serial,
        "lot": row.lot,
        "produced_on": row.produced_on,
        "is_undecided": row.is_undecided,
        "phase": row.phase,
        "is_in_transit": row.is_in_transit,
        "site": row.site,
        "location": row.business_location,
        "since": row.since,
        "shipped_at": row.shipped_at,
        "order": row.order_ref,
        "purchaser": purchaser,
        "notified_at": row.notified_at,
        "returned": row.returned,
        "remedied_at": row.remedied_at,
    }
