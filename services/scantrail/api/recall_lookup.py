"""The active recalls that mean one unit: asked of what is short of each, and of the serials row by
row, so that a recall of a million serials costs a look-up no more than one of ten."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, cast, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.folding import every_spelling
from scantrail.api.histories import Keys
from scantrail.api.recall_store import short_part
from scantrail.contracts.notices import LISTED_MAX, clause_of
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.recall import Marks, Recall, RecallStatus, Selector, SelectorKind
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.tables import recall, recall_serial, unit

#: Clauses of which a summary has all.
_OTHERS = cast(f'$.selectors[*] ? (@.kind != "{SelectorKind.LIST}")', JSONPATH)
#: Lots of which it has the beginning.
_CUT = cast(
    f'$.selectors[*] ? (@.kind == "{SelectorKind.LOT}" && @.count > {LISTED_MAX})', JSONPATH
)


async def recalls_of(connection: AsyncConnection, keys: Keys) -> list[str]:
    """The ids of the active recalls that have the unit under any of its keys."""
    return (await recalls_of_each(connection, [keys.every]))[0]


async def recalls_of_each(
    connection: AsyncConnection, units: Sequence[Sequence[str]]
) -> list[list[str]]:
    """The same of each of several units, all keys of which are given, in as many questions."""
    units = await every_spelling(connection, units)
    told = {key: product_and_serial(key) for keys in units for key in keys}
    products = sorted({name for name, _ in told.values() if name is not None})
    is_of_any = any(name is None for name, _ in told.values())
    of_products = short_part("products")
    source = case(
        (recall.c.summary.is_(None), recall.c.document),
        (func.jsonb_path_exists(recall.c.summary, _CUT), recall.c.document),
        else_=recall.c.summary,
    )
    query = select(
        recall.c.id,
        of_products.label("products"),
        func.jsonb_path_query_array(source, _OTHERS).label("clauses"),
    ).where(
        recall.c.version > 0,
        short_part("status") == cast(literal(f'"{RecallStatus.ACTIVE}"'), JSONB),
        or_(
            func.jsonb_array_length(of_products) == 0,
            *(of_products.contains([name]) for name in products),
            *([true()] if is_of_any else []),
        ),
    )
    rows = (await connection.execute(query)).all()
    if not rows:
        return [[] for _ in units]
    serials = sorted({serial for _, serial in told.values()})
    listed = await _listed(connection, [row.id for row in rows], serials)
    of_units = select(unit.c.unit, unit.c.lot, unit.c.produced_on).where(
        unit.c.unit == func.any(list(told))
    )
    marked = {row.unit: (row.lot, row.produced_on) for row in await connection.execute(of_units)}
    marks = [
        [
            Marks(*told[key], *mark)
            for mark in {marked[key] for key in keys if key in marked} or {(None, None)}
            for key in keys
        ]
        for keys in units
    ]
    return await asyncio.to_thread(_matching, rows, listed, marks)


async def _listed(
    connection: AsyncConnection, recalls: Sequence[str], serials: Sequence[str]
) -> dict[str, set[str]]:
    """Which of the serials each of the recalls lists."""
    table = recall_serial
    query = select(table.c.recall, table.c.serial, table.c.forms).where(
        table.c.recall == func.any(list(recalls)),
        or_(
            table.c.serial == func.any(list(serials)),
            table.c.forms.is_not(None) & table.c.forms.overlap(list(serials)),
        ),
    )
    found = dict[str, set[str]]()
    for row in await connection.execute(query):
        found.setdefault(row.recall, set()).update({row.serial, *(row.forms or ())} & {*serials})
    return found


def _matching(
    rows: Sequence[Any], listed: Mapping[str, set[str]], units: Sequence[Sequence[Marks]]
) -> list[list[str]]:
    matcher = RecallMatcher()
    for row in rows:
        clauses = [clause_of(told) for told in row.clauses]
        if row.id in listed:
            clauses.append(Selector(kind=SelectorKind.LIST, serials=tuple(listed[row.id])))
        if clauses:
            matcher.put(
                Recall(
                    id=row.id,
                    title="",
                    reason="",
                    selectors=tuple(clauses),
                    products=tuple(row.products),
                )
            )
    found = [[matcher.match(each) for each in marks] for marks in units]
    return [
        sorted({each.id for some in of_unit for each in (*some.recalled, *some.likely)})
        for of_unit in found
    ]
