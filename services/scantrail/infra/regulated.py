"""Which regulated units the desk has yet to look at: whoever writes units tells, the desk takes.

A unit that changes is told of in the transaction that changes it. A product that is regulated from
now on has all its units told of; REGULATING keeps the two apart, or a unit that is written at that
moment would be told of by neither.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Held by whoever writes units, together with others, and alone by whoever regulates a product.
REGULATING: Final = 7_264_513

#: Two statements: the second must see what was committed while the first waited.
_TELL_WRITTEN = text(
    f"SELECT pg_advisory_xact_lock_shared({REGULATING});"
    " INSERT INTO register_change (unit, version) SELECT written.unit, written.version"
    " FROM staging_unit AS written JOIN regulation ON regulation.id = written.product"
    " ON CONFLICT DO NOTHING"
)

_TELL_PRODUCT = text(
    "INSERT INTO register_change (unit, version) SELECT unit, version FROM unit"
    " WHERE product = :product ON CONFLICT DO NOTHING"
)

_TELL_DIFFERING = text(
    "INSERT INTO register_change (unit, version) SELECT unit.unit, unit.version FROM unit"
    " JOIN regulation ON regulation.id = unit.product"
    " LEFT JOIN register_unit AS entered ON entered.unit = unit.unit"
    " WHERE entered.version IS DISTINCT FROM unit.version ON CONFLICT DO NOTHING"
)


async def tell_written(connection: AsyncConnection) -> None:
    """Tell of units that this transaction wrote from `staging_unit`."""
    await connection.execute(_TELL_WRITTEN)


async def tell_product(connection: AsyncConnection, product: str) -> None:
    """Tell of all units of a product; until this transaction ends, no units are written."""
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({REGULATING})"))
    await connection.execute(_TELL_PRODUCT, {"product": product})


async def tell_differing(connection: AsyncConnection) -> None:
    """Tell of each regulated unit that has another version than the one entered: it reads all."""
    await connection.execute(_TELL_DIFFERING)
