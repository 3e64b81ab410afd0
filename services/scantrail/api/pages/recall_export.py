"""The units of a recall as CSV."""

from typing import Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.csv_file import ROWS_AT_ONCE, Lines, csv_file, write_rows
from scantrail.api.pages.frame import SCREEN
from scantrail.api.recall_counts import Where, counting, list_units, never_seen
from scantrail.api.recall_store import active_since, load_recall
from scantrail.domain.recall import Recall
from scantrail.infra.tables import recall_serial

AnyRequest = Request[Any, Any, Any]

COLUMNS = (
    "unit",
    "product",
    "serial",
    "lot",
    "produced_on",
    "standing",
    "site",
    "location",
    "since",
    "shipped_at",
    "order",
    "purchaser",
    "name",
    "address",
    "notified_at",
    "returned",
    "remedied_at",
)


def build_recall_export(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get(
        "/page/recalls/{recall_id:str}/units.csv",
        role=Role.READ,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def as_csv(
        request: AnyRequest, recall_id: FromPath[str], where: FromQuery[Where | None] = None
    ) -> Stream:
        """All units of a recall, undecided ones too, and its listed serials that were never seen;
        with `where`, the units that are there."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            return await csv_file(
                f"recall-{recall.id}",
                COLUMNS,
                lambda lines: _write(connection, recall, where, lines),
            )

    return [as_csv]


async def _write(
    connection: AsyncConnection, recall: Recall, where: Where | None, lines: Lines
) -> None:
    since = await active_since(connection, recall.id)
    await write_rows(connection, list_units(recall, where, since), _line, lines)
    if where is None:
        table = recall_serial
        query = select(table.c.serial).where(
            table.c.recall == recall.id, never_seen(recall.products)
        )
        unseen = await connection.stream_scalars(query.order_by(table.c.serial))
        async for serials in unseen.partitions(ROWS_AT_ONCE):
            rest = [None] * (len(COLUMNS) - COLUMNS.index("standing") - 1)
            lines([(None, None, serial, None, None, "never_seen", *rest) for serial in serials])


def _line(row: Any) -> tuple[Any, ...]:
    is_shipped = row.phase == "shipped"
    standing = "in_transit" if row.is_in_transit else row.phase
    return (
        row.unit,
        row.product,
        row.serial,
        row.lot,
        row.produced_on,
        f"undecided, {standing}" if row.is_undecided else standing,
        row.site,
        row.business_location,
        row.since,
        row.shipped_at,
        row.order_ref,
        row.purchaser_id if is_shipped else None,
        row.name if is_shipped else None,
        row.address if is_shipped else None,
        row.notified_at,
        "yes" if row.returned else "no",
        row.remedied_at,
    )
