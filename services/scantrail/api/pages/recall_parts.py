"""What a recall means and how far it reached: counted while its screen is shown already."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Template
from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.recall_words import effects
from scantrail.api.recall_counts import (
    IS_IN_TRANSIT,
    Where,
    count_never_seen,
    count_reach,
    count_units,
    counting,
    list_units,
    meant_by,
    never_seen,
)
from scantrail.api.recall_store import active_since, load_recall, products_of
from scantrail.domain.recall import Recall, goes_by_unread_marks
from scantrail.domain.vocabulary import Phase
from scantrail.infra.tables import party, recall_cleared, recall_serial, sales_order, unit

AnyRequest = Request[Any, Any, Any]

#: Rows of a list, and of each part of the preview.
SHOWN_MAX = 100
PLACES_MAX = 50

#: As purchaser: nobody entered the order. No party's id is this.
NOBODY = "-"

#: The picture's width in its own measure, and that of the thinnest part.
_WIDTH, _THIN = 1000, 6


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the picture."""

    where: Where
    words: str
    units: int
    x: int = 0
    width: int = 0


def build_recall_parts(engine: AsyncEngine) -> list[Any]:
    """The route handlers. They count, so they ask no engine of short questions."""

    @get(
        "/page/recalls/{recall_id:str}/preview",
        role=Role.READ,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def show_preview(request: AnyRequest, recall_id: FromPath[str]) -> Template:
        """Where its units are, as a picture and a table, and what making it active does."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            counts = await count_units(connection, recall)
            unseen = await count_never_seen(connection, recall)
            purchasers = (await connection.execute(_by_purchaser(recall))).all()
            undecided = await _undecided(connection, recall)
            cleared = await _count_cleared(connection, recall) if undecided else 0
            times = Times(await Days.read(connection))
        return screen(
            request,
            "recall_preview.html",
            recall=recall,
            counts=counts,
            unseen=unseen,
            purchasers=purchasers[:PLACES_MAX],
            more_purchasers=len(purchasers) > PLACES_MAX,
            places_max=PLACES_MAX,
            undecided=undecided,
            cleared=cleared,
            parts=picture(counts),
            effects=effects(
                counts,
                undecided,
                goes_by_marks=goes_by_unread_marks(recall),
                has_products=bool(recall.products),
            ),
            nobody=NOBODY,
            times=times,
            now=datetime.now(UTC),
        )

    @get("/page/recalls/{recall_id:str}/reach", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_reach(request: AnyRequest, recall_id: FromPath[str]) -> Template:
        """How far it reached."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            since = await active_since(connection, recall_id)
            counts = await count_reach(connection, recall, since)
            times = Times(await Days.read(connection))
        return screen(
            request,
            "recall_reach.html",
            recall=recall,
            since=since,
            counts=counts,
            times=times,
            now=datetime.now(UTC),
        )

    @get("/page/recalls/{recall_id:str}/units", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_units(
        request: AnyRequest,
        recall_id: FromPath[str],
        where: FromQuery[Where | None] = None,
        site: FromQuery[str | None] = None,
        location: FromQuery[str | None] = None,
        purchaser: FromQuery[str | None] = None,
        after: FromQuery[str] = "",
    ) -> Template:
        """Its units, those in one place or with one purchaser, page by page."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            since = await active_since(connection, recall_id)
            query = list_units(recall, where, since).where(unit.c.unit > after)
            # An empty name is of a place that nobody told.
            if site is not None:
                query = query.where(unit.c.site.is_not_distinct_from(site or None))
            if location is not None:
                query = query.where(unit.c.business_location.is_not_distinct_from(location or None))
            if purchaser is not None:
                whose = None if purchaser == NOBODY else purchaser
                query = query.where(sales_order.c.purchaser.is_not_distinct_from(whose))
            rows = (await connection.execute(query.limit(SHOWN_MAX + 1))).all()
            is_cleared = _cleared(recall).where(
                recall_cleared.c.unit.in_([row.unit for row in rows])
            )
            cleared = set((await connection.execute(is_cleared)).scalars())
            times = Times(await Days.read(connection))
        wanted = {"where": where, "site": site, "location": location, "purchaser": purchaser}
        return screen(
            request,
            "recall_units.html",
            recall=recall,
            units=rows[:SHOWN_MAX],
            cleared=cleared,
            following=rows[SHOWN_MAX - 1].unit if len(rows) > SHOWN_MAX else None,
            wanted={name: told for name, told in wanted.items() if told is not None},
            places=[each.value for each in Where],
            times=times,
        )

    @get(
        "/page/recalls/{recall_id:str}/never-seen",
        role=Role.READ,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def show_never_seen(
        request: AnyRequest, recall_id: FromPath[str], after: FromQuery[str] = ""
    ) -> Template:
        """Its listed serials that no scan has told yet, page by page."""
        table = recall_serial
        async with counting(engine) as connection:
            products = await products_of(connection, recall_id)
            query = (
                select(table.c.serial)
                .where(table.c.recall == recall_id, table.c.serial > after)
                .where(never_seen(products))
                .order_by(table.c.serial)
                .limit(SHOWN_MAX + 1)
            )
            serials = (await connection.execute(query)).scalars().all()
        return screen(
            request,
            "recall_never_seen.html",
            recall_id=recall_id,
            serials=serials[:SHOWN_MAX],
            following=serials[SHOWN_MAX - 1] if len(serials) > SHOWN_MAX else None,
        )

    return [show_preview, show_reach, show_units, show_never_seen]


def _by_purchaser(recall: Recall) -> Select[Any]:
    """Shipped units by purchaser, who has most first; one row more than is shown."""
    is_shipped = and_(meant_by(recall).is_meant, unit.c.phase == Phase.SHIPPED.value)
    small = (
        select(
            sales_order.c.purchaser,
            func.count().label("units"),
            func.count().filter(IS_IN_TRANSIT).label("in_transit"),
        )
        .select_from(unit)
        .outerjoin(sales_order, sales_order.c.ref == unit.c.order_ref)
        .where(is_shipped)
        .group_by(sales_order.c.purchaser)
        .order_by(func.count().desc(), sales_order.c.purchaser)
        .limit(PLACES_MAX + 1)
        .subquery()
    )
    return (
        select(small, party.c.name, party.c.address)
        .outerjoin(party, party.c.id == small.c.purchaser)
        .order_by(small.c.units.desc(), small.c.purchaser)
    )


async def _undecided(connection: AsyncConnection, recall: Recall) -> dict[str, int]:
    """How many units it leaves open, by whether they are here."""
    if not goes_by_unread_marks(recall):
        return {}
    query = (
        select(unit.c.phase, func.count())
        .where(meant_by(recall).is_undecided)
        .group_by(unit.c.phase)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


def _cleared(recall: Recall) -> Select[Any]:
    """The units that a person cleared of this version."""
    of = recall_cleared.c
    return select(of.unit).where(of.recall == recall.id, of.version == recall.version)


async def _count_cleared(connection: AsyncConnection, recall: Recall) -> int:
    query = select(func.count()).select_from(_cleared(recall).subquery())
    return int((await connection.execute(query)).scalar_one())


def picture(counts: dict[str, Any]) -> list[Part]:
    """A bar of all units that are meant, or may be; what is there is seen, however few they are."""
    in_transit = counts["in_transit"]
    told = [
        Part(Where.ON_SITE, "on site", counts["on_site"]),
        Part(Where.SHIPPED, "shipped and delivered", counts["shipped"]["units"] - in_transit),
        Part(Where.IN_TRANSIT, "in transit", in_transit),
        Part(Where.GONE, "gone", counts["gone"]),
        Part(Where.UNDECIDED, "undecided", counts["undecided"]),
    ]
    there = [part for part in told if part.units]
    every = sum(part.units for part in there)
    free = _WIDTH - _THIN * len(there)
    placed, x = list[Part](), 0
    for part in there:
        width = _THIN + free * part.units // every
        placed.append(Part(part.where, part.words, part.units, x, width))
        x += width
    return placed
