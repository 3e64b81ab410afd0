"""Units that a recall may mean, marked so that the desk looks at them."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.projector.rows import UNIT_SERIAL, Row

_MARK = text(
    "INSERT INTO recall_unit (unit, is_stale, partition, position)"
    " SELECT unit, true, partition, position FROM"
    " unnest(CAST(:units AS text[]), CAST(:partitions AS int[]), CAST(:positions AS bigint[]))"
    " AS hit (unit, partition, position) ORDER BY unit"
    " ON CONFLICT (unit) DO UPDATE SET is_stale = true, partition = excluded.partition,"
    " position = greatest(recall_unit.position, excluded.position)"
)


async def mark_recalled(connection: AsyncConnection, hits: Mapping[str, tuple[int, int]]) -> None:
    """Mark these units; of each the partition and offset of the movement that is to be written
    before anybody looks. In their order, so that two writers do not wait for each other."""
    if not hits:
        return
    units = sorted(hits)
    await connection.execute(
        _MARK,
        {
            "units": units,
            "partitions": [hits[unit][0] for unit in units],
            "positions": [hits[unit][1] for unit in units],
        },
    )


_MARK_FOLDED = text(
    "INSERT INTO recall_unit (unit, is_stale) SELECT unit.unit, true FROM unit"
    " JOIN product ON product.id = unit.product AND product.fold_case"
    " WHERE unit.unit = ANY(CAST(:units AS text[])) ORDER BY unit.unit"
    " ON CONFLICT (unit) DO UPDATE SET is_stale = true"
)


async def mark_folded(connection: AsyncConnection, rows: Mapping[str, Row]) -> None:
    """Of these rows just written mark those whose serial is in small letters though their product
    folds case: the alerter may have judged them before it did, when no recall meant them."""
    small = [unit for unit, row in rows.items() if row[UNIT_SERIAL] != row[UNIT_SERIAL].upper()]
    if small:
        await connection.execute(_MARK_FOLDED, {"units": small})
