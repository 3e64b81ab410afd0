"""Units that a recall may mean, marked so that the desk looks at them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.infra.database import keep_folding
from scantrail.projector.rows import UNIT_SERIAL, Row

#: In their order, so that two writers do not wait for each other.
_MARK = text(
    "INSERT INTO recall_unit (unit, is_stale, partition, position)"
    " SELECT unit, true, partition, position FROM"
    " unnest(CAST(:units AS text[]), CAST(:partitions AS int[]), CAST(:positions AS bigint[]))"
    " AS hit (unit, partition, position) ORDER BY unit"
    " ON CONFLICT (unit) DO UPDATE SET is_stale = true,"
    " partition = coalesce(excluded.partition, recall_unit.partition),"
    " position = greatest(recall_unit.position, excluded.position)"
)

_FOLDED = text(
    "SELECT unit.unit FROM unit JOIN product ON product.id = unit.product AND product.fold_case"
    " WHERE unit.unit = ANY(CAST(:units AS text[]))"
)


async def mark_recalled(
    connection: AsyncConnection, hits: Mapping[str, tuple[int, int]], rows: Mapping[str, Row]
) -> None:
    """Mark units that a recall may mean: `hits`, of each the partition and offset of the movement
    that is to be written before anybody looks, and of `rows`, which are just written, those in
    small letters though their product folds case. The alerter may have judged these before it did,
    when no recall meant them."""
    folded = await _folded(connection, rows)
    marked: dict[str, tuple[int | None, int | None]]
    marked = {**dict.fromkeys(folded, (None, None)), **hits}
    if not marked:
        return
    units = sorted(marked)
    await connection.execute(
        _MARK,
        {
            "units": units,
            "partitions": [marked[unit][0] for unit in units],
            "positions": [marked[unit][1] for unit in units],
        },
    )


async def _folded(connection: AsyncConnection, rows: Mapping[str, Row]) -> Sequence[str]:
    small = [unit for unit, row in rows.items() if row[UNIT_SERIAL] != row[UNIT_SERIAL].upper()]
    if not small:
        return ()
    # Whoever lets a product fold case from now on finds these units, or did it before.
    await keep_folding(connection)
    return (await connection.execute(_FOLDED, {"units": small})).scalars().all()
