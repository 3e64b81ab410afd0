"""Lot and day of production of units of which a scan was voided: what other scans tell of them."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: With the keys that were joined into them: a correction goes to the unit, its scan may have gone
#: to such a key before.
_TELL_ANEW = text(
    """
    WITH RECURSIVE named (unit, main) AS (
        SELECT unit, unit FROM unit WHERE unit = ANY(:units)
        UNION SELECT unit.unit, named.main FROM unit JOIN named ON unit.joined = named.unit
    ), standing AS (
        SELECT m.unit, m.version, m.lot, m.produced_on
        FROM movement m JOIN named ON m.unit = named.unit
        WHERE (m.lot IS NOT NULL OR m.produced_on IS NOT NULL) AND m.outcome <> 'voided'
        AND NOT EXISTS (SELECT 1 FROM movement c
            WHERE c.unit IN (named.unit, named.main) AND c.corrects = m.event_id)
    ), told AS (
        SELECT DISTINCT unit,
            (SELECT lot FROM standing s WHERE s.unit = named.unit AND lot IS NOT NULL
                ORDER BY version DESC LIMIT 1) AS lot,
            (SELECT produced_on FROM standing s WHERE s.unit = named.unit
                AND produced_on IS NOT NULL ORDER BY version DESC LIMIT 1) AS produced_on
        FROM named
    )
    UPDATE unit SET lot = told.lot, produced_on = told.produced_on FROM told
    WHERE unit.unit = told.unit
    AND (unit.lot, unit.produced_on) IS DISTINCT FROM (told.lot, told.produced_on)
    """
)


async def tell_marks_anew(connection: AsyncConnection, units: Collection[str]) -> None:
    """Let these units, whose movements are written, have the marks that standing scans tell."""
    if units:
        await connection.execute(_TELL_ANEW, {"units": sorted(units)})
