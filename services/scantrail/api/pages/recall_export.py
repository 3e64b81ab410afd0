"""The units of a recall as CSV, made as a whole before it is sent: a file that breaks off would
look like one that is complete."""

import csv
import io
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.pages.check_many import harmless
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS
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

#: More than that goes to a file.
_MEMORY_BYTES_MAX = 8 << 20
_CHUNK_BYTES = 1 << 16
_ROWS_AT_ONCE = 1_000


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
        kept: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES_MAX)  # noqa: SIM115 (_sent closes)
        try:
            async with counting(engine) as connection:
                recall = await load_recall(connection, recall_id)
                await _write(connection, recall, where, kept)
        except BaseException:
            kept.close()
            raise
        size = kept.tell()
        kept.seek(0)
        headers = {
            **SECURITY_HEADERS,
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="recall-{recall.id}.csv"',
        }
        return Stream(_sent(kept), media_type="text/csv; charset=utf-8", headers=headers)

    return [as_csv]


async def _write(
    connection: AsyncConnection, recall: Recall, where: Where | None, kept: IO[bytes]
) -> None:
    text = io.TextIOWrapper(kept, encoding="utf-8", newline="")
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    since = await active_since(connection, recall.id)
    found = await connection.stream(list_units(recall, where, since))
    async for rows in found.partitions(_ROWS_AT_ONCE):
        lines.writerows(map(_line, rows))
    if where is None:
        table = recall_serial
        query = select(table.c.serial).where(
            table.c.recall == recall.id, never_seen(recall.products)
        )
        unseen = await connection.stream_scalars(query.order_by(table.c.serial))
        async for serials in unseen.partitions(_ROWS_AT_ONCE):
            rest = [""] * (len(COLUMNS) - COLUMNS.index("standing") - 1)
            lines.writerows(
                ["", "", harmless(serial), "", "", "never_seen", *rest] for serial in serials
            )
    text.detach()


def _line(row: Any) -> list[str]:
    is_shipped = row.phase == "shipped"
    standing = "in_transit" if row.is_in_transit else row.phase
    cells = (
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
    return [_cell(cell) for cell in cells]


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else harmless(str(value))


async def _sent(kept: IO[bytes]) -> AsyncIterator[bytes]:
    with kept:
        while chunk := kept.read(_CHUNK_BYTES):
            yield chunk
