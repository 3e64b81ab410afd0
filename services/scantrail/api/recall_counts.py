"""Where the units of a recall are, counted and listed in PostgreSQL.

A row of a key that was joined into another counts for the unit in which it is, once. A unit is
meant where one of its keys is, and undecided where none is and one lacks a mark by which the
notice goes.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    case,
    distinct,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.folding import in_capitals
from scantrail.api.problems import Problem
from scantrail.api.queries import HAPPENED_AT
from scantrail.api.recall_queries import capitals_of, is_in_small_letters, means
from scantrail.contracts.printed import other_clauses
from scantrail.domain.custody import Outcome
from scantrail.domain.party import PURCHASER
from scantrail.domain.recall import (
    Recall,
    Selector,
    SelectorKind,
    goes_by_unread_marks,
    text_range,
)
from scantrail.domain.vocabulary import (
    COUNTING_STEPS,
    LEAVING_STEPS,
    BusinessStep,
    Phase,
)
from scantrail.infra.database import sqlstate_of
from scantrail.infra.tables import (
    movement,
    party,
    recall_reach,
    recall_serial,
    sales_order,
    unit,
)

#: So long the units of one recall may be counted.
COUNT_S_MAX = 30.0

#: Of more ranges than that it is not told how many numbers were never seen.
RANGES_MAX = 50

_QUERY_CANCELED = "57014"

#: Of these outcomes the scan did nothing to the unit.
_IDLE = [
    each.value for each in (Outcome.CORRECTED, Outcome.VOIDED, Outcome.NOT_INSIDE, Outcome.JOINED)
]
_LEAVING = sorted(step.value for step in LEAVING_STEPS)
_COUNTING = sorted(step.value for step in COUNTING_STEPS)


class Where(StrEnum):
    """Where a unit of a recall is. What is in transit is shipped, too."""

    ON_SITE = "on_site"
    SHIPPED = "shipped"
    IN_TRANSIT = "in_transit"
    GONE = "gone"
    UNDECIDED = "undecided"


class Meant(NamedTuple):
    """Conditions on a row of `unit` that is a unit's own."""

    is_meant: ColumnElement[bool]
    is_undecided: ColumnElement[bool]

    @property
    def either(self) -> ColumnElement[bool]:
        return or_(self.is_meant, self.is_undecided)


@contextlib.asynccontextmanager
async def counting(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction whose statements may look at every unit. Raises Problem 503 where one takes
    longer than COUNT_S_MAX."""
    try:
        async with engine.begin() as connection:
            limit_ms = int(COUNT_S_MAX * 1000)
            await connection.execute(text(f"SET LOCAL statement_timeout = {limit_ms}"))
            await connection.execute(text("SET LOCAL jit = off"))  # it costs more than it saves
            await connection.execute(text("SET LOCAL work_mem = '64MB'"))
            yield connection
    except DBAPIError as error:
        if sqlstate_of(error) != _QUERY_CANCELED:
            raise
        raise Problem(
            503,
            "Takes too long",
            f"to count the units of this recall took more than {COUNT_S_MAX:g} s: ask again, or let"
            " it name its products, or fewer serials",
            headers={"Retry-After": "30"},
        ) from error


def meant_by(recall: Recall) -> Meant:
    """Which units a recall means; a row whose scans were all voided is none."""
    own = means(recall)
    joined = _joined(recall)
    is_unit = and_(unit.c.joined.is_(None), unit.c.phase.is_not(None))
    by_other_key = unit.c.unit.in_(select(joined.c.at).where(joined.c.meant))
    is_meant = and_(is_unit, or_(own, by_other_key))
    if not goes_by_unread_marks(recall):
        return Meant(is_meant, false())
    lacking = unit.c.unit.in_(select(joined.c.at).where(joined.c.meant.is_(None)))
    is_undecided = and_(
        is_unit,
        or_(own.is_(None), and_(lacking, own.is_not(true()))),
        unit.c.unit.not_in(select(joined.c.at).where(joined.c.meant)),
    )
    return Meant(is_meant, is_undecided)


def _joined(recall: Recall) -> CTE:
    """The keys into which keys were joined that the recall means, or may mean."""
    own = means(recall)
    first = select(unit.c.joined.label("at"), own.label("meant")).where(
        unit.c.joined.is_not(None),
        own.is_not(false()) if goes_by_unread_marks(recall) else own,
    )
    found = first.cte("joined_keys", recursive=True)
    further = unit.alias("further")
    return found.union(
        select(further.c.joined, found.c.meant)
        .join(further, further.c.unit == found.c.at)
        .where(further.c.joined.is_not(None))
    )


def _is_delivery(row: Any) -> ColumnElement[bool]:
    return and_(row.business_step == BusinessStep.ARRIVING.value, row.possessing_party == PURCHASER)


IS_IN_TRANSIT: ColumnElement[bool] = and_(
    unit.c.phase == Phase.SHIPPED.value,
    unit.c.possessing_party.is_distinct_from(PURCHASER),
    sales_order.c.delivered_at.is_(None),
)

_corrections = movement.alias("corrections")


def _scans(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Scans of the row's unit that moved it and were not voided; counts move nothing."""
    return (
        select(movement.c.business_step)
        .where(
            movement.c.unit == unit.c.unit,
            movement.c.outcome.not_in(_IDLE),
            movement.c.business_step.not_in(_COUNTING),
            ~exists().where(
                _corrections.c.unit == movement.c.unit,
                _corrections.c.corrects == movement.c.event_id,
            ),
            *conditions,
        )
        .correlate(unit)
    )


#: When a shipped unit left: since then it is away, unless its delivery was scanned too.
SHIPPED_AT: ColumnElement[Any] = case(
    (unit.c.phase != Phase.SHIPPED.value, None),
    (unit.c.business_step.in_(_LEAVING), unit.c.since),
    else_=func.coalesce(
        _scans(movement.c.business_step.in_(_LEAVING))
        .with_only_columns(func.max(HAPPENED_AT))
        .scalar_subquery(),
        unit.c.since,
    ),
)


def has_returned(since: datetime | None) -> ColumnElement[bool]:
    """Whether a unit was shipped at that time, and was on site afterwards."""
    if since is None:
        return false()
    is_away = or_(movement.c.business_step.in_(_LEAVING), _is_delivery(movement.c))
    was_shipped = (
        _scans(since >= HAPPENED_AT)
        .with_only_columns(is_away)
        .order_by(HAPPENED_AT.desc(), movement.c.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    came = _scans(
        since < HAPPENED_AT,
        ~is_away,
        movement.c.business_step != BusinessStep.DECOMMISSIONING.value,
    ).exists()
    return and_(unit.c.seen_at > since, func.coalesce(was_shipped, false()), came)


async def count_units(connection: AsyncConnection, recall: Recall) -> dict[str, Any]:
    """How many units of the recall are where."""
    meant = meant_by(recall)
    place = case(
        *([(meant.is_undecided, Where.UNDECIDED.value)] if goes_by_unread_marks(recall) else []),
        (unit.c.phase == Phase.ON_SITE.value, Where.ON_SITE.value),
        (unit.c.phase == Phase.SHIPPED.value, Where.SHIPPED.value),
        else_=Where.GONE.value,
    )
    each = (
        select(
            place.label("place"),
            unit.c.site,
            unit.c.business_location,
            sales_order.c.purchaser,
            IS_IN_TRANSIT.label("is_in_transit"),
            SHIPPED_AT.label("shipped_at"),
        )
        .outerjoin(sales_order, sales_order.c.ref == unit.c.order_ref)
        .where(meant.either)
        .cte("each")
        .prefix_with("MATERIALIZED")  # or what is looked up for a row is looked up twice
    )
    by = (each.c.place, each.c.site, each.c.business_location, each.c.purchaser)
    small = (
        select(
            *by,
            func.count().label("units"),
            func.count().filter(each.c.is_in_transit).label("in_transit"),
            func.min(each.c.shipped_at).label("first"),
            func.max(each.c.shipped_at).label("last"),
        )
        .group_by(*by)
        .subquery()
    )
    by_place = (small.c.place, small.c.site, small.c.business_location)
    query = select(
        *by_place,
        (func.grouping(small.c.site) == 1).label("is_sum"),
        func.sum(small.c.units).label("units"),
        func.sum(small.c.in_transit).label("in_transit"),
        func.count(distinct(small.c.purchaser)).label("purchasers"),
        func.coalesce(func.sum(small.c.units).filter(small.c.purchaser.is_(None)), 0).label(
            "without_order"
        ),
        func.min(small.c.first).label("first"),
        func.max(small.c.last).label("last"),
    ).group_by(func.grouping_sets(tuple_(*by_place), tuple_(small.c.place)))
    rows = (await connection.execute(query)).all()
    sums = {row.place: row for row in rows if row.is_sum}
    units = {where: int(sums[where].units) if where in sums else 0 for where in Where}
    shipped = sums.get(Where.SHIPPED)
    on_site = [row for row in rows if not row.is_sum and row.place == Where.ON_SITE]
    on_site.sort(key=lambda row: (-row.units, row.site or "", row.business_location or ""))
    return {
        "units": sum(units.values()) - units[Where.UNDECIDED],
        "on_site": units[Where.ON_SITE],
        "on_site_at": [
            {"site": row.site, "location": row.business_location, "units": int(row.units)}
            for row in on_site
        ],
        "shipped": {
            "units": units[Where.SHIPPED],
            "purchasers": shipped.purchasers if shipped else 0,
            "without_order": int(shipped.without_order) if shipped else 0,
            "first": shipped.first if shipped else None,
            "last": shipped.last if shipped else None,
        },
        "in_transit": int(shipped.in_transit) if shipped else 0,
        "gone": units[Where.GONE],
        "undecided": units[Where.UNDECIDED],
    }


def list_units(recall: Recall, where: Where | None, since: datetime | None) -> Select[Any]:
    """The units of a recall that are there (None: anywhere, undecided ones too), by key; `since` is
    when it became active."""
    meant = meant_by(recall)
    is_there = {
        None: meant.either,
        Where.ON_SITE: and_(meant.is_meant, unit.c.phase == Phase.ON_SITE.value),
        Where.SHIPPED: and_(meant.is_meant, unit.c.phase == Phase.SHIPPED.value),
        Where.IN_TRANSIT: and_(meant.is_meant, IS_IN_TRANSIT),
        Where.GONE: and_(meant.is_meant, unit.c.phase == Phase.GONE.value),
        Where.UNDECIDED: meant.is_undecided,
    }
    return (
        select(
            unit,
            meant.is_undecided.label("is_undecided"),
            IS_IN_TRANSIT.label("is_in_transit"),
            SHIPPED_AT.label("shipped_at"),
            has_returned(since).label("returned"),
            party.c.id.label("purchaser_id"),
            party.c.name,
            party.c.address,
            recall_reach.c.notified_at,
            recall_reach.c.remedied_at,
        )
        .outerjoin(sales_order, sales_order.c.ref == unit.c.order_ref)
        .outerjoin(party, party.c.id == sales_order.c.purchaser)
        .outerjoin(
            recall_reach,
            and_(recall_reach.c.recall == recall.id, recall_reach.c.unit == unit.c.unit),
        )
        .where(is_there[where])
        .order_by(unit.c.unit)
    )


def never_seen(products: Sequence[str]) -> ColumnElement[bool]:
    """Of a row of `recall_serial`: that no unit of these products (none: any) has that serial."""
    of_recall = [or_(unit.c.phase.is_not(None), unit.c.joined.is_not(None))]
    if products:
        named = bindparam("products", list(products), ARRAY(Text), unique=True)
        of_recall.append(or_(unit.c.product.is_(None), unit.c.product == func.any(named)))
    forms = recall_serial.c.forms
    others = select(capitals_of(unit)).where(is_in_small_letters(unit), *of_recall)
    return and_(
        recall_serial.c.serial.not_in(others),
        ~exists().where(unit.c.serial == recall_serial.c.serial, *of_recall),
        or_(
            forms.is_(None),
            and_(
                ~forms.overlap(func.array(others.scalar_subquery())),
                ~exists().where(unit.c.serial == func.any(forms), *of_recall),
            ),
        ),
    )


async def count_never_seen(connection: AsyncConnection, recall: Recall) -> dict[str, Any]:
    """Of listed serials, and of the numbers of each range, how many no scan has told yet."""
    query = select(func.count()).where(
        recall_serial.c.recall == recall.id, never_seen(recall.products)
    )
    listed = (await connection.execute(query)).scalar_one()
    ranges = []
    for alike in islice(_ranges_of(recall), RANGES_MAX):
        numbers = [text_range(each, "selectors") for each in alike]
        one = replace(recall, selectors=alike)
        serial = case((is_in_small_letters(unit), capitals_of(unit)), else_=unit.c.serial)
        seen = select(func.count(distinct(serial))).where(
            means(one), or_(unit.c.phase.is_not(None), unit.c.joined.is_not(None))
        )
        size = min(each.high - each.low + 1 for each in numbers)
        unseen = size - (await connection.execute(seen)).scalar_one()
        ranges.append(
            {
                "low": alike[0].low,
                "high": alike[0].high,
                "numbers": size,
                "never_seen": max(unseen, 0),
            }
        )
    return {"listed": listed, "ranges": ranges}


def _ranges_of(recall: Recall) -> Iterator[tuple[Selector, ...]]:
    """The ranges of a recall, each with those that mean the same units in other spellings."""
    left = dict.fromkeys(each for each in recall.selectors if each.kind == SelectorKind.RANGE)
    while left:
        first = next(iter(left))
        alike = (first, *other_clauses(first))
        same = dict.fromkeys((*alike, *(each for one in alike for each in in_capitals(one))))
        found = tuple(each for each in same if each in left)
        for each in found:
            del left[each]
        yield found


async def count_reach(
    connection: AsyncConnection, recall: Recall, since: datetime | None
) -> dict[str, int]:
    """Of units that are shipped, or came back since then, how many were reached, and how."""
    meant = meant_by(recall)
    each = (
        select(
            has_returned(since).label("returned"),
            (unit.c.phase == Phase.SHIPPED.value).label("is_shipped"),
            recall_reach.c.notified_at,
            recall_reach.c.remedied_at,
        )
        .outerjoin(
            recall_reach,
            and_(recall_reach.c.recall == literal(recall.id), recall_reach.c.unit == unit.c.unit),
        )
        .where(meant.is_meant)
        .cte("each")
        .prefix_with("MATERIALIZED")
    )
    is_out = or_(each.c.is_shipped, each.c.returned)
    is_remedied = each.c.remedied_at.is_not(None)
    query = select(
        func.count().filter(is_out).label("to_reach"),
        func.count().filter(is_out, each.c.notified_at.is_not(None)).label("notified"),
        func.count().filter(each.c.returned).label("returned"),
        func.count().filter(is_out, is_remedied).label("remedied"),
        func.count().filter(~is_out, is_remedied).label("remedied_here"),
    )
    return dict((await connection.execute(query)).one()._mapping)
