"""What is inside what, now and before: components of a product, units of a carton or a pallet."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.queries import find_trail
from scantrail.api.whereabouts import find_unit
from scantrail.domain.children import DEPTH_MAX
from scantrail.domain.custody import Outcome, Position, step, visit_of
from scantrail.domain.scan import Origin, Scan, Transaction
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import movement, unit

#: Units whose histories are folded for one answer.
HISTORIES_MAX = 200

#: Movements that tell of no visit to a station.
_NO_VISIT = (Outcome.JOINED, Outcome.RELEASED, Outcome.REFOLDED)


async def parents_of(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, list[str]]:
    """Of each unit, by its key, the units inside which it is now, the nearest first, at any depth
    down to which a parent is followed. Without a parent: an empty list."""
    first = select(
        unit.c.unit.label("of"), unit.c.parent.label("parent"), literal(1).label("depth")
    ).where(unit.c.unit.in_(list(keys)), unit.c.parent.is_not(None))
    found = first.cte("found", recursive=True)
    above = (
        select(found.c.of, unit.c.parent, found.c.depth + 1)
        .join(unit, unit.c.unit == found.c.parent)
        .where(unit.c.parent.is_not(None), found.c.depth < 2 * DEPTH_MAX)
    )
    found = found.union_all(above)
    parents: dict[str, list[str]] = {key: [] for key in keys}
    for row in await connection.execute(select(found).order_by(found.c.of, found.c.depth)):
        if row.parent not in parents[row.of]:
            parents[row.of].append(row.parent)
    return parents


async def find_kinship(engine: AsyncEngine, found: Mapping[str, Any]) -> dict[str, Any]:
    """Of the unit that `find_unit` found: `parents` now, nearest first; `inside`, each unit that is
    or was inside it, and `within`, each that it is or was inside, with when and by which scans."""
    keys = [found["unit"], *found["aliases"]]
    query = (
        select(movement.c.unit)
        .where(movement.c.parent.in_(keys))
        .distinct()
        .order_by(movement.c.unit)
        .limit(HISTORIES_MAX + 1)
    )
    async with engine.connect() as connection:
        parents = (await parents_of(connection, [found["unit"]]))[found["unit"]]
        children = (await connection.execute(query)).scalars().all()
    inside: list[dict[str, Any]] = []
    for key in children[:HISTORIES_MAX]:
        child = await find_unit(engine, key)
        if child is None or child["unit"] in keys:
            continue
        for span in spans_inside(await find_trail(engine, child)):
            if span["parent"] in keys:
                inside.append({"unit": child["unit"], **_without_parent(span)})
    within = [
        {"unit": span["parent"], **_without_parent(span)}
        for span in spans_inside(await find_trail(engine, found))
    ]
    inside.sort(key=lambda span: (span["since"], span["unit"]))
    return {
        "unit": found["unit"],
        "parents": parents,
        "inside": inside,
        "within": within,
        "is_complete": len(children) <= HISTORIES_MAX,
    }


def spans_inside(trail: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """From a trail, in its order: inside which parents the unit was, since when and until when.

    The scans are folded as the tracker folds them; `until` is None where it is inside still.
    """
    position: Position | None = None
    spans: list[dict[str, Any]] = []
    for row in trail:
        if row["corrects"] or row["corrected_by"] or row["outcome"] in _NO_VISIT:
            continue
        before = None if position is None else position.parent
        position, _, _ = step(position, visit_of(_scan(row)))
        after = None if position is None else position.parent
        if before == after:
            continue
        at = _at(row)
        if before is not None:
            spans[-1] |= {"until": at, "taken_out_by": row["event_id"]}
        if after is not None:
            spans.append(
                {
                    "parent": after,
                    "since": at,
                    "put_in_by": row["event_id"],
                    "business_step": row["business_step"],
                    "until": None,
                    "taken_out_by": None,
                }
            )
    return spans


def _scan(row: Mapping[str, Any]) -> Scan:
    """The scan of a trail's row, as far as a fold asks for it."""
    wanted: dict[str, Any] = defaultdict(lambda: None, row)
    origin, order = wanted["derived_from"], wanted["order_ref"]
    return Scan(
        event_id=row["event_id"],
        unit=row["unit"],
        event_time=row["event_time"],
        record_time=row["record_time"],
        clock_skew_s=row["clock_skew_s"],
        reader=row["reader"],
        sequence=row["sequence"],
        station=row["station"],
        site=row["site"],
        read_point=row["read_point"],
        business_step=BusinessStep(row["business_step"]),
        business_location=wanted["business_location"],
        disposition=wanted["disposition"],
        possessing_party=wanted["possessing_party"],
        transactions=(Transaction(type="order", id=order),) if order else (),
        parent=wanted["parent"],
        derived_from=Origin(unit=origin, event_id=wanted["derived_event_id"]) if origin else None,
    )


def _at(row: Mapping[str, Any]) -> datetime:
    at: datetime = row["event_time"] if row["clock_skew_s"] is None else row["record_time"]
    return at


def _without_parent(span: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in span.items() if name != "parent"}
